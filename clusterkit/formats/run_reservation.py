"""The place of a run to come: reserved before anything is learned, by whoever holds its lock."""

import datetime as dt
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from filelock import BaseFileLock

from clusterkit.errors import OutputError, RunError
from clusterkit.formats.locking import LOCK, is_passing, lock_folder, remove_folder
from clusterkit.output import ABANDONED, check_writable, writing

OPTION = "--run DIR"

# Where runs go that nobody named.
_RUNS = Path("runs")

_ENDING = ".journal"

# All that a journal's folder holds, files half written when their process was killed among them.
_OWN = re.compile(r"key|[a-z0-9-]+\.safetensors|\.[a-z0-9.-]+\.[0-9a-f]{8}\.partial")


class RunReservation:
    """The right to write a run, held by the lock in the folder ``<run>.journal``.

    The system drops the lock when the process dies. The folder stays then, with what it holds.

    Attributes
    ----------
    run : Path
        Where the run will be.
    folder : Path
        The one beside it.
    """

    def __init__(self, run: Path, lock: BaseFileLock, made: list[Path]) -> None:
        self.run, self.folder = run, journal_of(run)
        self._lock, self._made = lock, made

    @classmethod
    def of(cls, run: Path) -> "RunReservation":
        """Reserve a place that was named.

        Raises
        ------
        RunError
            Something is there, another process fits it, or its folder is somebody's.
        OutputError
            It cannot be written.
        """
        check_writable(run, OPTION, folder=True)
        run = _resolved(run)
        _check_free(run)
        made = _make_parents(run)
        with writing(run, OPTION):
            lock = _locked(journal_of(run))
        if lock is None:
            raise RunError(f"another clusterkit is fitting {run}; wait for it, or give another "
                           f"{OPTION}")  # fmt: skip
        found = cls(run, lock, made)
        try:
            # It may have been done just now.
            _check_free(run)
        except RunError:
            found.remove()
            raise
        return found

    @classmethod
    def under_runs(cls, is_mine: Callable[[Path], bool]) -> "RunReservation":
        """Take the place of an interrupted fit, else a name under ``runs/`` that nobody has.

        Parameters
        ----------
        is_mine : callable
            Whether the folder of an interrupted fit holds what this one can go on from.
        """
        for folder in sorted(_RUNS.glob(f"*{_ENDING}")):
            run = _run_of(folder)
            if is_mine(folder) and not os.path.lexists(run) and (lock := _locked(folder)):
                return cls(run, lock, [])
        made = _make_parents(_RUNS / "run")
        stamp = dt.datetime.now().strftime("%Y%m%d-%H%M%S")
        for number in count(1):
            run = _RUNS / (stamp if number == 1 else f"{stamp}-{number}")
            # Whoever makes the folder has the name.
            with writing(run, OPTION), suppress(FileExistsError):
                journal_of(run).mkdir(parents=True)
                if lock := _locked(journal_of(run)):
                    found = cls(run, lock, made)
                    if not os.path.lexists(run):
                        return found
                    # Its fit was done between the two.
                    found.remove()
        raise AssertionError("numbers do not end")

    def empty(self) -> None:
        """Delete what the folder holds but for the lock; somebody's files are left alone."""
        for path in self.folder.iterdir():
            if _OWN.fullmatch(path.name) or is_passing(path.name):
                path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let the lock go and keep the folder."""
        self._lock.release()

    def remove(self) -> None:
        """Delete the folder, and those that were made for the run where they are empty."""
        remove_folder(self.folder, self._lock, self.empty)
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()


def check_runs() -> None:
    """Find out whether a run can be written that nobody named.

    Raises
    ------
    OutputError
        It cannot.
    """
    check_writable(_RUNS, OPTION, folder=True)


def remove_left(parent: Path, is_empty: Callable[[Path], bool]) -> None:
    """Remove the journals in a folder that killed fits left and nobody can go on from.

    Parameters
    ----------
    parent : Path
    is_empty : callable
        Whether nothing is kept in a journal.
    """
    for folder in parent.glob(f"*{_ENDING}"):
        run = _run_of(folder)
        # What is somebody's, or cannot be locked or removed, stays.
        with suppress(RunError, OutputError, OSError):
            if not (folder / LOCK).is_file():
                continue
            # One that is just being made holds nothing yet.
            old = time.time() - folder.stat().st_mtime > ABANDONED
            if (run / "run.json").is_file() or (old and is_empty(folder)):
                lock = _locked(folder)
                if lock is not None:
                    RunReservation(run, lock, []).remove()


def journal_of(run: Path) -> Path:
    """Return the folder beside a run to come.

    >>> journal_of(Path("runs/cells")).as_posix()
    'runs/cells.journal'
    """
    return run.with_name(run.name + _ENDING)


def _run_of(folder: Path) -> Path:
    return folder.with_name(folder.name.removesuffix(_ENDING))


def _resolved(run: Path) -> Path:
    """Return the folder itself where a link leads to it: no folder can be put in a link's place."""
    return Path(os.path.realpath(run)) if run.is_symlink() or run.name in ("", "..") else run


def _check_free(run: Path) -> None:
    if not os.path.exists(run):
        return
    if not run.is_dir() or any(run.iterdir()):
        raise RunError(f"{run} exists and is not an empty folder; give another --run")
    # A run is written beside its place and renamed.
    if os.path.ismount(run) or os.path.samefile(run, os.curdir):
        raise RunError(f"{run} is a file system of its own, or the folder that this is called in, "
                       f"and cannot be replaced; give a folder in it as {OPTION}")  # fmt: skip


def _make_parents(run: Path) -> list[Path]:
    """Make the folders that a run will be in; returns those that were not there."""
    missing = [p for p in run.parents if not p.exists()]
    with writing(run, OPTION):
        run.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _locked(folder: Path) -> BaseFileLock | None:
    """Make a folder, and hold the lock on a file in it; None: another process does."""
    return lock_folder(folder, lambda path: bool(_OWN.fullmatch(path.name)), "fit", "--run")
