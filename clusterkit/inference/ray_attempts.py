"""An actor that counts, in a module of its own: it is there at once, as it imports nothing."""


class Attempts:
    """Counts how often each partition was begun: one that ended its process is read with care."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Return how often a partition has been begun before; it is told by its first batch."""
        before = self._counts.get(number, 0)
        self._counts[number] = before + 1
        return before
