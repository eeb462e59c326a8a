"""Other encoders through every command, and no command that opens a socket."""

import json
import socket

import pytest

import clusterkit
from clusterkit.config import config_from_dict

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
