"""The connection to a Ray cluster: found, joined and left, and what is said where there is none."""

import logging
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from clusterkit.errors import ClusterkitError, ConfigError
from clusterkit.limits import usable_processors

log = logging.getLogger("clusterkit")

# Seconds to wait for an answer at an address.
_KNOCKING = 10

# Seconds between two looks at whether the head node is there.
_LOOKING = 10

# How one begins to talk to a server of gRPC, which answers by a frame of this type.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4

# Bytes of a cluster of this machine alone: results are small, and pixels do not travel.
_STORE = 256 << 20

# How a line of Ray's own log begins: "[2026-11-29 20:59:11,406 W 32287 32287]".
_OF_RAY = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,]+ [A-Z] \d+ \d+\]")

_START_ONE = "start one by `ray start --head` and give --address HOST:PORT or auto"


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Be part of a cluster for a block.

    Parameters
    ----------
    address : str or None
        See `open_engine`.

    Raises
    ------
    ClusterkitError
        Ray is not installed, or there is no cluster that this machine can be part of.
    """
    ray = _import_ray()
    ours = not ray.is_initialized()
    # What Ray says of processes that died it prints, and stdout is the summary's.
    with redirect_stdout(sys.stderr):
        if ours:
            _connect(ray, address)
        try:
            with _quiet(), _watched(ray.get_runtime_context().gcs_address):
                yield
        finally:
            if ours:
                with _without_words_of_ray():
                    ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    # A hospital's images are nobody's statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own logs are in its folder; what goes wrong is raised.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    words = bytearray()
    try:
        with _own_signals(), _without_words_of_ray(words):
            if address == "local":
                how |= {"num_cpus": usable_processors(), "object_store_memory": _STORE,
                        "include_dashboard": False}  # fmt: skip
            else:
                _knock(address)
            ray.init(address=address, **how)
    except (ConnectionError, RuntimeError, ValueError, OSError, ImportError,
            ray.exceptions.RayError) as error:  # fmt: skip
        said = str(error) or type(error).__name__
        raise ConfigError(_no_cluster(address, said, words.decode(errors="replace"))) from error


def _no_cluster(address: str, error: str, words: str) -> str:
    """Return what is wrong, and what to do."""
    said = " ".join(error.split())[:300]
    if address == "local":
        return f"Ray does not start here: {said}; {_START_ONE}"
    if "InvalidAuthToken" in error + words:
        return (f"the Ray cluster at {address} wants its token: give this machine the file "
                "~/.ray/auth_token of the one that began the cluster, and export "
                "RAY_AUTH_MODE=token")  # fmt: skip
    if "Version mismatch" in error:
        return (f"the Ray cluster at {address} has other versions than this machine: {said}; "
                "install here what the cluster has")  # fmt: skip
    return f"no Ray cluster can be used at {address}: {said}; {_START_ONE}"


def _knock(address: str) -> None:
    """Find out whether anybody like Ray is at an address: Ray would try for ever."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        if address != "auto":
            raise ValueError("this is neither auto nor HOST:PORT")
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCKING) as door:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        door.sendall(_HTTP2)
        answer = door.recv(9)
    if len(answer) < 9 or answer[3] != _SETTINGS:
        raise ValueError("what answers there is no Ray cluster")


@contextmanager
def _without_words_of_ray(words: bytearray | None = None) -> Iterator[None]:
    """Keep what Ray's part in C++ writes from the terminal; what others write comes after it.

    Parameters
    ----------
    words : bytearray or None
        What Ray wrote is added to it.
    """
    try:
        sys.stderr.flush()
        terminal = os.dup(2)
    except (AttributeError, OSError, ValueError):
        # There is none, as in a service.
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            kept.seek(0)
            for line in kept:
                if not _OF_RAY.match(line):
                    os.write(2, line)
                elif words is not None:
                    words += line


@contextmanager
def _watched(head: str) -> Iterator[None]:
    """Say it in a line when the head node of a cluster is gone: Ray ends this process silently."""
    done = threading.Event()

    def watch() -> None:
        gone = False
        while not done.wait(_LOOKING):
            before, gone = gone, not _is_there(head)
            if gone and not before:
                log.error("the head node of the Ray cluster, %s, does not answer; if it stays so "
                          "for a minute, this command ends; what was done is kept, and the same "
                          "command goes on with a cluster that is there", head)  # fmt: skip

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _is_there(address: str) -> bool:
    try:
        _knock(address)
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray has one of its own, which ends this process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data from writing about itself on the terminal."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterkitError(
            "the engine ray needs Ray, which is not installed; pip install 'clusterkit[ray]'"
        ) from error
    return ray
