"""Faults of a data set, found without training: scan, findings, page."""
