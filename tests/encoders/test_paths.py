"""Other encoders through every command, and no command that opens a socket."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

import clusterkit
from clusterkit.auditing.batch import read_batch
from clusterkit.auditing.sheet import draw_sheet
from clusterkit.auditing.sheet_contents import gather
from clusterkit.config import config_from_dict, override
from clusterkit.inference.predictor import Predictor
from clusterkit.models.networks import embed_all
from tests.packages import watch_network

VIT = {
    "image": {"size": 64},
    "model": {"backbone": "vit_tiny_patch16_224", "weights": "none"},
    "train": {"strategy": "head", "siamese_epochs": 2, "folds": 2},
    "assign": {"max_error": "none", "workers": 0},
    "audit": {"limit": 4},
}


def settings_of(backbone, **changes):
    return override(config_from_dict(VIT), model__backbone=backbone, **changes)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("test_convnext", marks=pytest.mark.slow),
        pytest.param(VIT["model"]["backbone"], marks=pytest.mark.long),
        pytest.param("vit_tiny_patch16_224+resnet18", marks=pytest.mark.long),
    ],
)
def fitted(request, sample, tmp_path_factory):
    """A run with an encoder that is no ordinary one, and the batch that it labelled."""
    path = tmp_path_factory.mktemp("other") / "run"
    run = clusterkit.fit(sample / "labels.csv", config=settings_of(request.param), run=path)
    return run, clusterkit.assign(run.path, sample / "unlabeled.csv").table


def test_other_encoders_go_through_every_command(fitted, sample, tmp_path):
    run, table = fitted
    assert run.info["network"]["architecture"] == run.config.model.backbone
    assert (table["status"] == "assigned").any()
    page = clusterkit.audit(run.path)
    cams = json.loads((page.parent / "metrics.json").read_text())["cams"]
    has_token = run.networks.encoder.tokens > 0
    assert ("class token" in page.read_text()) == has_token
    assert list(cams["token"]) == ["pair", "class"] * has_token
    assert all(0 < share < 1 for share in cams["token"].values())
    smooth = override(run.config, audit__method="gradcam")
    own = table[table["status"] == "assigned"].head(1)
    pictures = clusterkit.evidence(run, own, config=smooth).iloc[0]
    assert all(picture is not None for picture in pictures)
    query = sample / table["image"][0]
    found = clusterkit.similar(run.path, query, cams=tmp_path / "cams.png")
    assert len(found) == 5
    clusterkit.similar(run.path, query, by="group", k=1, cams=tmp_path / "groups.png")
    assert (tmp_path / "groups.png").is_file()
    finder = clusterkit.SimilarityFinder(run)
    assert finder.predict(query).is_file()
    assert finder.similar_cams("gradcam").mode == "RGB"


def test_a_sheet_says_what_its_overlays_leave_out(fitted):
    run, _ = fitted
    batch, predictor = read_batch(run, run.path / "assignments.csv"), Predictor(run, run.config)
    sheet = gather(predictor, batch, batch.table.iloc[[0]])
    assert ("class token" in sheet.left_out) == (run.networks.encoder.tokens > 0)
    assert draw_sheet(sheet).size == (1240, 1753)


@pytest.mark.parametrize(
    ("backbone", "encoder"),
    [pytest.param("vit_tiny_patch16_224", "shared", marks=pytest.mark.long),
     pytest.param("vit_tiny_patch16_224", "separate", marks=pytest.mark.long),
     pytest.param("test_convnext", "separate", marks=pytest.mark.slow),
     pytest.param("test_vit+resnet18", "shared", marks=pytest.mark.long)],
)  # fmt: skip
def test_other_encoders_are_fine_tuned_and_kept(backbone, encoder, sample, tmp_path):
    config = settings_of(backbone, model__encoder=encoder, model__precision="bfloat16",
                         train__strategy="finetune", train__epochs=1, train__siamese_epochs=1,
                         train__folds=1)  # fmt: skip
    run = clusterkit.fit(sample / "labels.csv", config=config, run=tmp_path / "run")
    loaded = clusterkit.Run.load(run.path)
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3)).astype(np.uint8)
    before, after = (embed_all(r.networks, images, "cpu") for r in (run, loaded))
    assert torch.equal(before.classifier, after.classifier)
    assert torch.equal(before.siamese, after.siamese)
    assert torch.equal(before.classifier, before.siamese) == (encoder == "shared")
    table = clusterkit.assign(loaded, sample / "unlabeled.csv").table
    assert (table["status"] == "assigned").any()
    assert clusterkit.audit(loaded).is_file()
    clusterkit.similar(loaded, sample / table["image"][0], cams=tmp_path / "cams.png")
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


@pytest.mark.slow
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


# The demo of few pictures: its number is nothing that a network could be asked for.
FEW = """
import functools
import clusterkit.demo
from clusterkit.cli import main
clusterkit.demo.make_sample = functools.partial(
    clusterkit.demo.make_sample, labeled_patients=9, unlabeled_patients=3,
    labeled_per_class=2, unlabeled_per_class=3, novel_per_patient=2,
)
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(("demo", "--out", "demo"), marks=pytest.mark.long, id="demo"),
     pytest.param(("doctor",), marks=pytest.mark.slow, id="doctor")],
)  # fmt: skip
def test_the_demo_and_doctor_ask_no_network_for_anything(watched, arguments):
    done, asked = watched(FEW, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert asked == ""
