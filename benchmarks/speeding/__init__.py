"""How fast `clusterkit` is, and how it grows: the parts of `benchmarks/speed.py`."""
