"""Progress of long work: a callable that the command line turns into a bar."""

from typing import Protocol


class Progress(Protocol):
    """Takes the stage's name, and how many of its images (or models) are done of how many."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note of it."""


class StageProgress(Protocol):
    """A `Progress` within one stage."""

    def __call__(self, done: int, total: int, /) -> None:
        """Take note of it."""


def silent(stage: str, done: int, total: int, /) -> None:
    """Do nothing: the `Progress` of whoever wants none."""


def within(progress: Progress, stage: str) -> StageProgress:
    """Return the progress of one stage.

    >>> within(lambda *said: print(said), "embed")(3, 10)
    ('embed', 3, 10)
    """
    return lambda done, total: progress(stage, done, total)
