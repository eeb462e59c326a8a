"""Near duplicates: signatures of images, an index to find them by, and their groups."""
