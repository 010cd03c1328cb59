"""What stage 2 learns from: one target per view, the cache that keeps them, and statistics by level."""
