"""Folders that commands write to: whether they can, and how much room there is."""

import os
import shutil
import tempfile
from pathlib import Path

from clusterkit.config import Config
from clusterkit.data.pseudonyms import KEY_VARIABLE, key_path
from clusterkit.errors import OutputError, without_user
from clusterkit.machine.trouble import Trouble
from clusterkit.output import check_writable

# Bytes. A run of the default encoder and its page take some 60 MB; a batch adds its table.
LEAST_ROOM = 200_000_000

RUNS, TEMPORARY = "runs", "temporary files"


def look_at_folders(
    config: Config, run: Path | None
) -> tuple[dict[str, dict[str, str | int | None]], list[Trouble]]:
    """Look at the folder of runs, the one for temporary files and the home folder.

    Nothing that is written to try it is left there.

    Parameters
    ----------
    config : Config
    run : Path or None
        None: ``./runs``.

    Returns
    -------
    dict
        What the folder is for → ``path``, ``free`` and ``total`` bytes (None: not known).
    list of Trouble
    """
    folders, troubles = {}, []
    target = run or Path(RUNS)
    folders[RUNS] = _room(target)
    try:
        check_writable(target, "--run DIR", folder=True)
    except (OutputError, OSError) as error:
        troubles.append(Trouble("disk", str(error)))
    else:
        free = folders[RUNS]["free"]
        if isinstance(free, int) and free < LEAST_ROOM:
            troubles.append(
                Trouble(
                    "disk",
                    f"{folders[RUNS]['path']} has {free / 1e6:,.0f} MB "
                    f"free, and a run takes up to {LEAST_ROOM / 1e6:.0f} MB; make "
                    "room, or give another --run DIR",
                )
            )
    try:
        temporary = tempfile.gettempdir()
    except OSError:
        troubles.append(
            Trouble("temporary files", "no folder for them can be written; set TMPDIR to one")
        )
    else:
        folders[TEMPORARY] = _room(Path(temporary))
        troubles += _about_temporary(temporary)
    return folders, troubles + _about_key(config)


def _room(folder: Path) -> dict[str, str | int | None]:
    """Return the disk of a folder, or of the one that it would be made in."""
    path = without_user(str(folder))
    try:
        there = folder.absolute()
        path = without_user(str(there))
        while not there.exists() and there != there.parent:
            there = there.parent
        usage = shutil.disk_usage(there)
    except OSError:
        return {"path": path, "free": None, "total": None}
    return {"path": path, "free": usage.free, "total": usage.total}


def _about_temporary(used: str) -> list[Trouble]:
    for name in ("TMPDIR", "TEMP", "TMP"):
        asked = os.environ.get(name)
        if asked and os.path.abspath(asked) != os.path.abspath(used):
            return [
                Trouble(
                    "temporary files",
                    f"${name} is {asked}, which cannot be written; {used} is used",
                    fails=False,
                )
            ]
        if asked:
            break
    return []


def _about_key(config: Config) -> list[Trouble]:
    """Return a note where no key for the patient ids of DICOM files could be kept."""
    advice = f"for DICOM files name a file with data.key_file or ${KEY_VARIABLE}"
    try:
        key = key_path(config.data.key_file)
        if not key.is_file():
            check_writable(key, "file")
    except (OutputError, OSError) as error:
        reason = str(error).partition(";")[0]
        return [Trouble("patient ids", f"no key for them can be kept: {reason}; {advice}", False)]
    except RuntimeError:
        return [
            Trouble(
                "patient ids",
                f"no key for them can be kept: there is no home folder; {advice}",
                False,
            )
        ]
    return []
