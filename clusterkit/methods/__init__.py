"""Mathematics on arrays: no files, no tables, no run."""
