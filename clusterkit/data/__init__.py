"""From files to a manifest (one row an image) and from a file to an array."""
