"""The official automatic masks of SAM 2, sooner: see docs/fast-masks.md for what is saved and why it is exact."""
