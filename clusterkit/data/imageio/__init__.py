"""Reading image files: any format and bit depth to 8-bit RGB."""
