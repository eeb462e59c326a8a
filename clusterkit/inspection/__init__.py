"""What is wrong with a data set, found without training: scan, findings, page."""
