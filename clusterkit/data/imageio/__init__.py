"""Image files: any format and bit depth read to 8-bit RGB."""
