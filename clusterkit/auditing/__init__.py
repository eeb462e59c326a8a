"""Evidence that a person can check: CAMs, plots, one HTML page."""
