"""What a process of its own tries out: imports, devices, and reading by worker processes.

Importing a package can end a process without a word (a build for another processor), or never
return. So each step is written before it is taken, as a line of JSON, and its outcome after it.
"""

import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from clusterkit.machine.trouble import one_line

# Begins the name of a step that imports a package, which follows.
IMPORT = "import "

# Seconds that a worker may take to read a few pictures.
_PATIENCE = 45

# Batches as large as `assign` reads on a GPU.
_BATCH = 64

# Writes one line for whoever has started this process.
Tell = Callable[[dict[str, Any]], None]


def main(task: str) -> None:
    """Do what `task` says, in JSON, and write a line for each step.

    Parameters
    ----------
    task : str
        ``modules``: packages, each with the module to import, in order, what needs torch after
        torch; ``device``: as the setting; None: no step that needs torch; ``size``: pixels a side
        of images; ``run``: a run to load, or None.
    """
    asked = json.loads(task)
    # What a package prints while it is imported must not get between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def tell(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=lines, flush=True)

    for package, module in asked["modules"]:
        done = _try(tell, IMPORT + package, partial(import_module, module))
        # Whatever needs it fails for the same reason.
        if not done and package == "torch":
            return
    if asked["device"] is None:
        return
    _try(tell, "device", lambda: _device(asked["device"]))
    _try(tell, "workers", lambda: _read_by_worker(asked["size"]))
    if asked["run"] is not None:
        _try(tell, "run", lambda: _load(asked["run"]))


def _try(tell: Tell, step: str, act: Callable[[], Any]) -> bool:
    tell({"step": step})
    try:
        found = act()
    except (Exception, SystemExit) as error:
        tell({"step": step, "error": f"{type(error).__name__}: {one_line(error)}"})
        return False
    tell({"step": step, "found": found if isinstance(found, dict) else {}})
    return True


def _device(name: str) -> dict[str, Any]:
    """Devices that torch can use, and which one and which precision are taken."""
    import torch

    from clusterkit.errors import ConfigError
    from clusterkit.models.forward import quick_precision
    from clusterkit.models.networks import choose_device

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found: dict[str, Any] = {
        "devices": [_gpu(number) for number in range(count)],
        "built_for_gpu": torch.version.cuda is not None or torch.version.hip is not None,
        "threads": torch.get_num_threads(),
        "cpu_precision": quick_precision("cpu"),
        "said": [one_line(warning.message) for warning in said if not count],
        "wrong": None,
    }
    if torch.backends.mps.is_available():
        found["devices"].append(
            {
                "name": "mps",
                "model": "Apple GPU",
                "total": None,
                "free": None,
                "precision": quick_precision("mps"),
            }
        )
    found |= {"device": None, "precision": None}
    try:
        chosen = choose_device(name)
        # A GPU that this build of torch knows nothing of is there, and computes nothing.
        torch.ones(8, device=chosen).mul(2).sum().item()
        found |= {"device": str(chosen), "precision": quick_precision(chosen)}
    except ConfigError as error:
        found["wrong"] = str(error)
    except RuntimeError as error:
        found["wrong"] = f"{chosen} computes nothing: {one_line(error)}; give --device cpu"
    return found


def _gpu(number: int) -> dict[str, Any]:
    import torch

    from clusterkit.models.forward import quick_precision

    free, total = torch.cuda.mem_get_info(number)
    name = f"cuda:{number}"
    return {
        "name": name,
        "model": torch.cuda.get_device_name(number),
        "total": total,
        "free": free,
        "precision": quick_precision(name),
    }


def _read_by_worker(size: int) -> dict[str, Any]:
    """Let a worker process read two slices of pictures, as `fit` and `assign` do.

    ``shared_memory`` is what they take of it at most, ``room`` what there is; None: not known.
    """
    from PIL import Image

    from clusterkit.config import ImageConfig
    from clusterkit.data.loading import load_batches, shared_memory
    from clusterkit.data.processes import (
        reading_processes,
        shared_memory_room,
        start_method,
    )

    how, workers = ImageConfig(size=size), reading_processes()
    with tempfile.TemporaryDirectory(prefix="clusterkit-") as folder, _alarm():
        path = Path(folder) / "picture.png"
        Image.new("RGB", (size, size), "grey").save(path)
        (batch,) = load_batches([(str(path), None)] * 16, how, 16, 1)
    if any(batch.errors):
        raise RuntimeError(next(error for error in batch.errors if error))
    return {
        "start": start_method(),
        "processes": workers,
        "shared_memory": shared_memory(how, _BATCH, workers),
        "room": shared_memory_room(),
    }


def _load(path: str) -> dict[str, Any]:
    """Load a run, which takes the package that its encoder is from."""
    from clusterkit.errors import ClusterkitError
    from clusterkit.formats.run import Run

    try:
        info = Run.load(Path(path)).info
    except ClusterkitError as error:
        return {"wrong": str(error)}
    return {"wrong": None, "id": info["id"], "backbone": info["backbone"]}


@contextmanager
def _alarm() -> Iterator[None]:
    """Interrupt what is inside where it takes too long, where the system has an alarm."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"no answer in {_PATIENCE} seconds")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(_PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main(sys.argv[1])
