"""Encoders: networks that turn an image into feature maps, and where their weights come from."""

# Entry points of a user's own encoders.
GROUP = "clusterkit.encoders"
