"""What killed fits left of runs half written: folders under temporary names beside their places."""

import shutil
from contextlib import suppress
from pathlib import Path

from clusterkit.formats.atomic import final_name, is_abandoned

# All that a run's folder holds when it is renamed.
_FILES = {
    "weights.safetensors", "gallery.safetensors", "manifest.csv", "history.csv",
    "calibration.json", "run.json",
}  # fmt: skip


def remove_unfinished(run: Path) -> None:
    """Remove the half-written folders beside a run that is reserved.

    Parameters
    ----------
    run : Path
        Whoever has reserved it knows that nobody else writes it; a folder that is to become
        another run is removed once nobody can be writing it any more.
    """
    for folder in run.parent.glob(".*.partial"):
        with suppress(OSError):
            name = final_name(folder.name)
            if name == folder.name or folder.is_symlink() or not _holds_a_run(folder):
                continue
            if name == run.name or is_abandoned(folder):
                shutil.rmtree(folder)


def _holds_a_run(folder: Path) -> bool:
    """Whether there is nothing in it but what a run consists of, whole or half written."""
    return all(final_name(p.name) in _FILES and p.is_file() and not p.is_symlink()
               for p in folder.iterdir())  # fmt: skip
