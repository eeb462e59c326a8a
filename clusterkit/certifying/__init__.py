"""A certificate for one batch: images drawn at random, and what people's answers to them prove."""
