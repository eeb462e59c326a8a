"""Trainable parts in plain torch, and the run bundle that stores them."""
