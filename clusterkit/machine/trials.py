"""Runs `machine.probe`, and turns what it says into facts and troubles."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterkit.config import Config
from clusterkit.data.processes import SHARED_MEMORY
from clusterkit.machine.installation import Installation
from clusterkit.machine.probe import IMPORT
from clusterkit.machine.trouble import Trouble, one_line

# Seconds; a cold disk takes half a minute to read torch from.
PATIENCE = 180.0


@dataclass
class Outcome:
    """What the trials found.

    Attributes
    ----------
    facts : dict
        Of the steps ``device``, ``workers`` and ``run``, see `machine.probe`.
    troubles : list of Trouble
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)


def try_out(
    installation: Installation,
    config: Config,
    run: Path | None = None,
    patience: float = PATIENCE,
) -> Outcome:
    """Import packages, look for devices, read images by a worker, in a process of its own.

    Where the process ends or takes too long in one step, another one goes on after that step.

    Parameters
    ----------
    installation : Installation
        Whose modules are imported; those that need torch last.
    config : Config
        Whose device and image size are tried.
    run : Path or None
        A run that is loaded to try it.
    patience : float
        Seconds that a process may take.
    """
    outcome = Outcome()
    modules = installation.modules or {"torch": "torch"}
    last = [name for name in modules if name in installation.of_torch or name == "torch"]
    todo = [name for name in modules if name not in last] + sorted(last, key="torch".__ne__)
    while True:
        task = {
            "modules": [(name, modules[name]) for name in todo],
            "device": config.device if "torch" in modules else None,
            "size": config.image.pixels,
            "run": None if run is None else str(run),
        }
        steps, why = _run(task, patience)
        reasons: dict[str, list[str]] = {}
        for step, line in steps.items():
            if "found" in line:
                outcome.facts[step] = line["found"]
            else:
                reasons.setdefault(line.get("error", why), []).append(step)
        outcome.troubles += [_failed(r, found, installation) for r, found in reasons.items()]
        if not steps:
            outcome.troubles.append(
                Trouble(
                    "processes",
                    f"{sys.executable} cannot be started to try things out: {why}; "
                    "try `python -c pass` there",
                )
            )
        stuck = [step for step, line in steps.items() if line.keys() == {"step"}]
        package = stuck[0].removeprefix(IMPORT) if stuck else ""
        # After the last import come steps that need nothing else; without torch nothing works.
        if package not in todo or package == "torch":
            break
        todo = todo[todo.index(package) + 1 :]
    outcome.troubles += _about_devices(outcome.facts.get("device"))
    if wrong := outcome.facts.get("run", {}).get("wrong"):
        outcome.troubles.append(Trouble("run", wrong))
    outcome.troubles += _about_shared_memory(outcome.facts.get("workers"))
    return outcome


def _run(task: dict[str, Any], patience: float) -> tuple[dict[str, dict[str, Any]], str]:
    """Return step → its last line, and why the process ended where it did not do all."""
    # Found as this process found them, and not in the current folder.
    paths = os.pathsep.join(path or os.curdir for path in sys.path)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "clusterkit.machine.probe", json.dumps(task)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": paths},
        )
    except OSError as error:
        return {}, f"{one_line(error)}"
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        return _read(out), f"it has not come to an end in {patience:.0f} seconds"
    return _read(out), _ended(process.returncode, err)


def _read(out: bytes) -> dict[str, dict[str, Any]]:
    """Return step → its last line."""
    steps = {}
    for text in out.decode("utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            steps[line["step"]] = line
        except (ValueError, KeyError, TypeError):
            # Broken off in the middle.
            continue
    return steps


def _ended(code: int, err: bytes) -> str:
    lines = err.decode("utf-8", errors="replace").strip().splitlines()
    said = f" ({one_line(lines[-1])})" if lines else ""
    if code < 0:
        return f"it ends Python by {signal.Signals(-code).name}{said}"
    return f"it ends Python with exit code {code}{said}"


def _failed(why: str, steps: list[str], installation: Installation) -> Trouble:
    """Return one trouble of steps that fail for one reason, as do all that import a broken one."""
    first, versions = steps[0], installation.versions
    if first.startswith(IMPORT):
        package = first.removeprefix(IMPORT)
        name = f"{package} {versions[package]}" if versions.get(package) else package
        others = [step.removeprefix(IMPORT) for step in steps[1:] if step.startswith(IMPORT)]
        too = f", nor can {', '.join(others)}" if others else ""
        mend = f"pip install --upgrade --force-reinstall {package}"
        if package == "torchvision":
            mend = (
                f"install it and torch of one release and one build, both for CUDA or both for the "
                f"CPU (torch is {versions.get('torch')})"
            )
        return Trouble("packages", f"{name} cannot be imported{too}: {why}; {mend}")
    if first == "workers":
        return Trouble(
            "processes",
            f"worker processes cannot read images here: {why}; in a container allow processes, "
            "semaphores and shared memory (docker run --shm-size 1g)",
        )
    if first == "run":
        return Trouble(
            "run", f"it cannot be loaded: {why}; fit it again, or take it from where it is"
        )
    return Trouble("device", f"torch cannot tell its devices: {why}; install it anew")


def _about_devices(found: dict[str, Any] | None) -> list[Trouble]:
    if found is None:
        return []
    troubles = [Trouble("device", found["wrong"])] if found["wrong"] else []
    if found["devices"]:
        return troubles
    if found["said"]:
        troubles.append(
            Trouble(
                "gpu",
                f"torch can use none: {found['said'][0]}; without it everything works, more slowly",
                fails=False,
            )
        )
    elif not found["built_for_gpu"] and Path("/dev/nvidia0").exists():
        troubles.append(
            Trouble(
                "gpu",
                "there is one, and this torch is built without CUDA; "
                "install a build with it, or go on without",
                fails=False,
            )
        )
    return troubles


def _about_shared_memory(found: dict[str, Any] | None) -> list[Trouble]:
    if found is None or found["room"] is None or found["room"] >= found["shared_memory"]:
        return []
    return [
        Trouble(
            "shared memory",
            f"{SHARED_MEMORY} has {found['room'] / 1e6:,.0f} MB free, and {found['processes']} "
            f"processes that read images take up to {found['shared_memory'] / 1e6:,.0f} MB; "
            "images then go through pipes; docker run --shm-size 1g gives a container more",
            fails=False,
        )
    ]
