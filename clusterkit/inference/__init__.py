"""The run-time path: from the images of a batch to the rows of assignments.csv."""
