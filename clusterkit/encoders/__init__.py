"""Encoders: networks that turn an image into feature maps, and where their weights come from."""
