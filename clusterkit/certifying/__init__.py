"""`certify`: a random check of one batch by a person, and what it proves."""
