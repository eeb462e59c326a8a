"""An actor that counts, in a module of its own: it is there at once, as it imports nothing."""


class Attempts:
    """Counts how often each batch was begun: one that ended its process is read with more care."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Return how often a batch has been begun before."""
        before = self._counts.get(number, 0)
        self._counts[number] = before + 1
        return before
