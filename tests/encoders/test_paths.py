"""Other encoders through every command, and no command that opens a socket."""

import json
import os
import socket
import subprocess
import sys

import pytest

import clusterkit
from clusterkit.config import config_from_dict
from tests.packages import watch_network

VIT = {
    "image": {"size": 64},
    "model": {"backbone": "vit_tiny_patch16_224", "weights": "none"},
    "train": {"strategy": "head", "siamese_epochs": 2, "folds": 2},
    "assign": {"max_error": "none", "workers": 0},
    "audit": {"limit": 4},
}


def test_a_transformer_goes_through_every_command(sample, tmp_path):
    config = config_from_dict(VIT)
    run = clusterkit.fit(sample / "labels.csv", config=config, run=tmp_path / "run")
    assert run.info["network"]["architecture"] == "vit_tiny_patch16_224"
    table = clusterkit.assign(run.path, sample / "unlabeled.csv").table
    assert (table["status"] == "assigned").any()
    assert clusterkit.audit(run.path).is_file()
    metrics = json.loads((run.path / "audit" / "metrics.json").read_text())
    assert metrics
    query = sample / table["image"][0]
    found = clusterkit.similar(run.path, query, cams=tmp_path / "cams.png")
    assert len(found) == 5
    assert (tmp_path / "cams.png").is_file()


@pytest.fixture
def asked(monkeypatch):
    """Return the addresses that anybody tried to reach."""
    addresses = []

    def refuse(*given, **_):
        addresses.append(given)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    connect = socket.socket.connect

    def watched(self, address):
        # Processes that read images talk to this one through files.
        return connect(self, address) if isinstance(address, str | bytes) else refuse(address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    return addresses


def test_the_defaults_ask_no_network_for_anything(sample, tmp_path, asked):
    settings = {"image": {"size": 48}, "train": {"siamese_epochs": 2, "folds": 2},
                "assign": {"workers": 0, "max_error": 0.4}, "audit": {"limit": 2}}  # fmt: skip
    run = clusterkit.fit(
        sample / "labels.csv", config=config_from_dict(settings), run=tmp_path / "run"
    )
    assert run.info["weights"] == "packaged"
    assert run.info["strategy"] == "head"
    # What the encoder was fed with is what the run goes on with.
    assert run.config.image.interpolation == "bicubic"
    clusterkit.assign(run, sample / "unlabeled.csv")
    clusterkit.audit(run)
    clusterkit.inspect(sample / "labels.csv")
    assert asked == []


@pytest.fixture
def watched(tmp_path):
    """Run Python in a process of its own, without network; returns it and who asked for what."""
    folder = tmp_path / "watch"
    folder.mkdir()
    log = watch_network(folder)
    path = os.pathsep.join([str(folder), *(p for p in sys.path if p)])

    def call(code, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        return done, log.read_text() if log.exists() else ""

    return call


def test_processes_that_ask_are_seen(watched):
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/x')"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    serves = "import socket; socket.create_server(('127.0.0.1', 0))"
    for one in (code, inner, serves):
        done, asked = watched(one)
        assert "no network" in done.stderr
        assert "127.0.0.1" in asked


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("demo", "--out", "demo"), ("doctor",)], ids=lambda a: a[0])
def test_the_demo_and_doctor_ask_no_network_for_anything(watched, arguments):
    done, asked = watched("from clusterkit.cli import main; main()", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert asked == ""
