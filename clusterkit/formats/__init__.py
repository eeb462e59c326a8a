"""The files of the contract: a run, assignments, reviews, Label Studio's JSON."""
