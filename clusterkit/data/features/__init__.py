"""Features from elsewhere: files of vectors, one an image, and their look-up by image."""
