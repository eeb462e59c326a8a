"""Progress of long work: a callable, by default a bar where a person is there to see it."""

import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

# What a stage counts, if not images.
_UNITS = {"fit": " models", "headers": " files"}


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


class Bar:
    """Turns (stage, done, total) into a tqdm bar with speed and time left, one for each stage.

    Parameters
    ----------
    shown : bool
        False: nothing is.
    also : Progress
        Is told the same.
    """

    def __init__(self, shown: bool, also: Progress = silent) -> None:
        self.shown, self.also, self.stage = shown, also, ""
        self.bar: tqdm[Any] | None = None

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note of it."""
        self.also(stage, done, total)
        if not self.shown:
            return
        # A stage comes again for another fold: it has a speed of its own.
        if self.bar is None or stage != self.stage or done < self.bar.n:
            self.close()
            unit = _UNITS.get(stage, " images")
            self.bar = _tqdm()(total=total, desc=stage, unit=unit, file=sys.stderr)
            self.stage = stage
        # Training that ends early has fewer images than it began with.
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Leave the bar as it stands; the next call begins another."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None


def with_bar(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Give a function that takes `progress` a bar where none is given and a person is there."""

    @wraps(function)
    def wrapped(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        if kwargs.get("progress") is not None:
            return function(*args, **kwargs)
        bar = Bar(in_notebook() or (sys.stderr is not None and sys.stderr.isatty()))
        kwargs["progress"] = bar
        try:
            return function(*args, **kwargs)
        finally:
            bar.close()

    return wrapped


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _tqdm() -> Any:
    # Its notebook's bar needs this, and warns where it is not there.
    if in_notebook() and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm_notebook

        return tqdm_notebook
    from tqdm import tqdm

    return tqdm
