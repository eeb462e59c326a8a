"""Data: from files to a manifest (one row per image), and from a file to an array."""
