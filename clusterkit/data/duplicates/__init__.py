"""Near duplicates: signatures of pictures, and an index to find them by."""
