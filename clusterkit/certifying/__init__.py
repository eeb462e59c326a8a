"""A certificate for one batch: images drawn at random, asked of people, and what their answers prove."""
