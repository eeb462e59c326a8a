"""Mathematics on arrays, each module a method of the literature: no files, no tables, no run."""
