"""Examines this machine: what it can do, and what would fail on it."""

import locale
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clusterkit import __version__
from clusterkit.config import Config
from clusterkit.errors import OutputError
from clusterkit.limits import Memory, address_space, usable_memory, usable_processors
from clusterkit.machine.disks import look_at_folders
from clusterkit.machine.installation import read_installation
from clusterkit.machine.trials import try_out
from clusterkit.machine.trouble import Trouble
from clusterkit.machine.weights_here import find_weights, own_encoders

# Bytes that `fit` takes of a few hundred images with the default encoder at 224 pixels: its peak
# (`ru_maxrss`) was 1.35 GB of 300 and 1.65 GB of 700. How many there will be is not known here, and
# who has too little for thousands must not be told that nothing works.
FIT_MEMORY = 1_500_000_000


@dataclass
class Examination:
    """What was found on this machine.

    Attributes
    ----------
    facts : dict
        Plain values for JSON: ``processors``, ``memory``, ``devices``, ``device``,
        ``precision``, ``folders``, ``extras``, ``weights``, ``encoders``, ``versions`` and others;
        bytes where a size is meant, None where something is not known.
    troubles : list of Trouble
        What would fail, and notes.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def failing(self) -> list[Trouble]:
        """What would fail."""
        return [trouble for trouble in self.troubles if trouble.fails]

    @property
    def notes(self) -> list[Trouble]:
        """What is good to know."""
        return [trouble for trouble in self.troubles if not trouble.fails]


def examine(config: Config | None = None, run: Path | None = None) -> Examination:
    """Examine this machine; no network is asked for anything, and nothing is left on the disk.

    Packages are imported, and images read by a worker, in processes of their own: one that ends
    there is a trouble, and the rest is still told.

    Parameters
    ----------
    config : Config or None
        Whose device, encoder and image size are tried; None: the defaults.
    run : Path or None
        Where a run is to be written; None: ``./runs``. One that is there is loaded, to try it.

    Raises
    ------
    OutputError
        There is no current folder, as after somebody has deleted it.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise OutputError("the current folder is not there any more; cd to one that is") from error
    config = config or Config()
    installation = read_installation()
    found = Examination()
    found.troubles += installation.troubles
    found.facts["processors"] = {"usable": usable_processors(), "present": os.cpu_count()}
    memory = usable_memory()
    found.facts["memory"] = asdict(memory) | {"needed": FIT_MEMORY}
    found.troubles += _about_memory(memory)
    found.facts["folders"], troubles = look_at_folders(config, run)
    found.troubles += troubles
    weights, troubles = find_weights(config.model)
    found.troubles += troubles
    found.facts["weights"] = [asdict(one) | {"path": str(one.path)} for one in weights]
    found.facts["encoders"] = own_encoders()
    found.facts["extras"] = installation.extras
    found.facts["versions"] = {
        "python": platform.python_version(),
        "clusterkit": __version__,
        **installation.versions,
    }
    found.facts["system"] = platform.platform()
    found.facts["encoding"] = sys.getfilesystemencoding()
    found.troubles += _about_encoding()
    there = run if run is not None and os.path.isfile(run / "run.json") else None
    outcome = try_out(installation, config, there)
    found.troubles += outcome.troubles
    device = outcome.facts.get("device", {})
    for key in ("devices", "device", "precision", "threads"):
        found.facts[key] = device.get(key)
    for key in ("workers", "run"):
        found.facts[key] = outcome.facts.get(key)
    return found


def _about_memory(memory: Memory) -> list[Trouble]:
    troubles = []
    if memory.free is not None and memory.free < FIT_MEMORY:
        more = (
            "give the container more (docker run --memory 4g)"
            if memory.limited
            else "close other programs, or take a machine with more"
        )
        text = f"{memory.free / 1e9:.1f} GB are free, and fit takes about {FIT_MEMORY / 1e9:.1f} GB"
        troubles.append(Trouble("memory", f"{text}; {more}"))
    mapped = address_space()
    if mapped is not None:
        text = (
            f"a process may map {mapped / 1e9:.1f} GB, and torch maps more than it uses; "
            "if it cannot be imported: ulimit -v unlimited"
        )
        troubles.append(Trouble("memory", text, fails=False))
    return troubles


def _about_encoding() -> list[Trouble]:
    used = sys.getfilesystemencoding()
    if used.replace("-", "").lower() == "utf8":
        return []
    chosen = locale.setlocale(locale.LC_CTYPE)
    return [
        Trouble(
            "locale",
            f"names of files are read as {used} (locale {chosen}), and other "
            "letters than its own become no file names; set PYTHONUTF8=1 or "
            "LC_ALL=C.UTF-8",
        )
    ]
