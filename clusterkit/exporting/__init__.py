"""Hands assignments on: Label Studio, FiftyOne, class folders, COCO-style JSON."""
