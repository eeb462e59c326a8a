"""fastai lives here and nowhere else: transforms, pairs, learners."""
