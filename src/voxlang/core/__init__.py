"""What every room may use: errors, levels, digests, files and run directories. Imports no sibling."""
