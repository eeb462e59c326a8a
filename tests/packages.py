"""Packages that are not there: made of a module and its metadata, in a folder of the path."""

from pathlib import Path

# Loaded by every Python that has the folder on its path: whoever asks the network is written down.
NO_NETWORK = """
import os, socket

def _refuse(*asked, **_):
    with open({log!r}, "a") as file:
        print(os.getpid(), asked, file=file)
    raise OSError("no network")

_connect, _listen = socket.socket.connect, socket.socket.listen
# Processes that read images talk to each other through files.
_local = lambda s: s.family == getattr(socket, "AF_UNIX", None)
socket.getaddrinfo = _refuse
socket.socket.connect = lambda s, a: _connect(s, a) if _local(s) else _refuse(a)
socket.socket.connect_ex = socket.socket.connect
socket.socket.sendto = _refuse
# A name alone is no network: urllib3 takes one when it is imported, to know of IPv6.
socket.socket.listen = lambda s, *a: _listen(s, *a) if _local(s) else _refuse(s.getsockname())
"""


def make_package(folder: Path, name: str, version: str = "1.0", *, requires=(), extras=None,
                 code: str | None = "") -> None:  # fmt: skip
    """Make a package as pip leaves it; `code` None: metadata alone."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    for extra, needed in (extras or {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {one}; extra == "{extra}"' for one in needed]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    if code is not None:
        (folder / f"{name.replace('-', '_')}.py").write_text(code)


def watch_network(folder: Path) -> Path:
    """Refuse all network to every Python with `folder` on its path; returns who asked for what."""
    log = folder / "asked.txt"
    (folder / "sitecustomize.py").write_text(NO_NETWORK.format(log=str(log)))
    return log
