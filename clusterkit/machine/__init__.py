"""What a machine can do, and what would fail on it: the facts of `clusterkit doctor`."""
