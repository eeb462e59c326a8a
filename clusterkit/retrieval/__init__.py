"""Search among labelled images and patients: the article's finder, similar patients."""
