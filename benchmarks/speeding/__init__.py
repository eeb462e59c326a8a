"""What each part of `python -m benchmarks.speed` measures."""
