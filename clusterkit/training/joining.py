"""How the processes of a fit come together, and how they end: at once, and with one word.

fastai's `distrib_ctx` leaves this to the launcher. Here whatever the processes differ in is found
before anything is learned, and the first that fails is the one that says why.
"""

import importlib.metadata
import json
import platform
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import clusterkit
from clusterkit.errors import (
    ClusterkitError,
    ConfigError,
    OthersError,
    RankError,
    Terminated,
    shown,
)
from clusterkit.launched import Launched, launched
from clusterkit.models.networks import choose_device
from clusterkit.training.process_group import ProcessGroup, current_group, lost, set_current

# What has to be the same for all to compute the same, and to understand each other.
_PACKAGES = ("torch", "torchvision", "timm", "fastai", "numpy")


@contextmanager
def joined(settings: dict[str, Any], device: str) -> Iterator[ProcessGroup]:
    """Yield the processes that a launcher started, which fit together; or this one alone.

    Parameters
    ----------
    settings : dict
        What this process was called with: JSON's values, which must be the same in all.
    device : str
        As it was asked for.

    Raises
    ------
    ConfigError
        The processes differ, or cannot have a device each.
    OthersError
        Another process failed, and says why.
    """
    own = launched()
    if own.size == 1 or current_group().size > 1:
        yield ProcessGroup()
        return
    group = ProcessGroup(own)
    with _terminated_by_signal():
        try:
            group.connect()
            _greet(group, own, settings, device)
            set_current(group)
            yield group
        except BaseException as error:
            ending = _ending(group, error)
            if ending is error:
                raise
            raise ending from error
        finally:
            set_current(ProcessGroup())
        group.close()


def _use_own_gpu(own: Launched) -> None:
    """Make ``cuda`` mean this process's own GPU."""
    if torch.cuda.is_available() and own.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(own.local_rank)


def _greet(group: ProcessGroup, own: Launched, settings: dict[str, Any], device: str) -> None:
    """Compare what the processes are and were called with; all know the outcome."""
    _use_own_gpu(own)
    hellos = group.gather(_hello(own, settings))
    wrong = None
    if group.leads:
        group.hosts = [hello["host"] for hello in hellos]
        wrong = _difference(hellos) or _device_trouble(hellos, device)
    wrong, group.hosts = group.broadcast((wrong, group.hosts))
    if wrong and group.leads:
        raise ConfigError(wrong)
    if wrong:
        raise OthersError(wrong)


def _hello(own: Launched, settings: dict[str, Any]) -> dict[str, Any]:
    versions = {"python": platform.python_version(), "clusterkit": clusterkit.__version__}
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    # Batches are as large as threads ask for.
    versions["threads (OMP_NUM_THREADS)"] = str(torch.get_num_threads())
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"host": socket.gethostname(), "local_rank": own.local_rank, "gpus": gpus,
            "versions": versions, "settings": _flat(settings)}  # fmt: skip


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, str]:
    """Return settings by their full names, each as JSON."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{above}{name}.")
        else:
            found[above + name] = json.dumps(value, default=str)
    return found


def _difference(hellos: list[dict[str, Any]]) -> str | None:
    """Return a line about the first process that is not as the one that leads; None: all are."""
    first = hellos[0]
    for rank, other in enumerate(hellos):
        who = f"rank {rank} ({other['host']})"
        for name, version in first["versions"].items():
            if other["versions"].get(name) != version:
                its = other["versions"].get(name)
                return (f"{who} has {name} {its}, and rank 0 ({first['host']}) has {version}; it "
                        "has to be the same everywhere")  # fmt: skip
        for name in [*first["settings"], *other["settings"]]:
            mine, its = (h["settings"].get(name, "nothing") for h in (first, other))
            if mine != its:
                return (f"{who} was called with {name} = {shown(its)}, and rank 0 "
                        f"({first['host']}) with {shown(mine)}; give all the same command, and the "
                        "same settings file")  # fmt: skip
    return None


def _device_trouble(hellos: list[dict[str, Any]], device: str) -> str | None:
    """Return why the processes cannot have a device each; None: they can."""
    chosen = choose_device(device)
    if chosen.type == "cpu":
        return None
    if chosen.type != "cuda":
        return f"{chosen.type} is one device, and there are several processes; give --device cpu"
    if chosen.index is not None:
        return (f"device '{device}' is one GPU, and each of {len(hellos)} processes takes its own; "
                "give --device cuda")  # fmt: skip
    for rank, hello in enumerate(hellos):
        if hello["local_rank"] >= hello["gpus"]:
            return (f"rank {rank} ({hello['host']}) has no GPU of its own: it is process "
                    f"{hello['local_rank'] + 1} there, and sees {hello['gpus']} GPUs; start as "
                    "many processes as GPUs, or give --device cpu")  # fmt: skip
    return None


def _ending(group: ProcessGroup, error: BaseException) -> BaseException:
    """Return what this process ends with: only the first one has to say why."""
    if _is_of_connection(error):
        try:
            error = lost()
        except KeyboardInterrupt as signalled:
            error = signalled
    ended = isinstance(error, Terminated)
    quiet = isinstance(error, KeyboardInterrupt) and not ended and not group.leads
    if quiet or isinstance(error, OthersError):
        return error
    first = group.has_the_word()
    if isinstance(error, KeyboardInterrupt) and not ended:
        return error
    if not first:
        return OthersError("another process of this fit failed, and says why")
    if ended and not group.leads:
        return RankError("ended by SIGTERM: another process of this fit has ended, or somebody "
                         "ended all; give the same command again, and fit goes on from what it "
                         "had done")  # fmt: skip
    if group.leads or isinstance(error, RankError) or not isinstance(error, Exception):
        return error
    kind = "" if isinstance(error, ClusterkitError) else f"{type(error).__name__}: "
    return RankError(f"rank {group.rank} ({socket.gethostname()}): {kind}{error}")


def _is_of_connection(error: BaseException) -> bool:
    """Whether an error of torch's in a training step is about a process that is gone."""
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    return any(word in text for word in ("gloo", "Gloo", "NCCL", "Connection closed by peer"))


@contextmanager
def _terminated_by_signal() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, unless the host has plans of its own for that."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
