"""A user's own encoder: found by its entry point, kept in a run, named where it is missing."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from clusterkit.encoders.backbone import EncoderRecord
from clusterkit.encoders.registry import empty_like, load_backbone
from clusterkit.errors import WeightsError

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_encoder.py"


class Dist:
    name, version = "our-encoders", "1.2"


class Point:
    dist = Dist()

    def __init__(self, name, found):
        self.name, self.value, self.found = name, f"our_encoders:{name}", found

    def load(self):
        return self.found


@pytest.fixture
def offer(monkeypatch):
    def offered(**found):
        points = [Point(name, value) for name, value in found.items()]
        monkeypatch.setattr("clusterkit.encoders.plugins.entry_points", lambda group: points)

    return offered


@pytest.fixture
def edges():
    spec = importlib.util.spec_from_file_location("own_encoder", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.edges


def test_the_example_is_an_encoder(offer, edges):
    offer(edges=edges)
    found = load_backbone("edges")
    assert found.encoder.depths == found.encoder.nested == [8, 8]
    assert found.record.expects.size == 96
    assert found.pretrained
    again = empty_like(EncoderRecord.from_dict(json.loads(json.dumps(found.record.to_dict()))), 96)
    assert [m.shape for m in again(torch.zeros(1, 3, 96, 96))] == [(1, 8, 48, 48), (1, 8, 24, 24)]
    offer()
    with pytest.raises(WeightsError, match=r"package our-encoders 1\.2, which is not installed"):
        empty_like(found.record, 96)
    with pytest.raises(WeightsError, match="unknown backbone 'edges'"):
        load_backbone("edges")


def fails():
    raise OSError("no licence")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (fails, "OSError: no licence"),
        (lambda: None, "returns no"),
        (lambda: (3, {}), "int is no torch module"),
        (lambda: (nn.Identity(), {"sizes": 3}), "unknown key 'sizes'"),
        (lambda: (nn.Identity(), {"mean": [1], "std": [1]}), "three numbers"),
        (lambda: (nn.Flatten(), {}), r"shape \(1, \d+\)"),
        (lambda: (nn.Conv2d(5, 4, 3), {}), "cannot encode an RGB image"),
    ],
)
def test_what_is_no_encoder_is_refused(offer, found, said):
    offer(own=found)
    with pytest.raises(WeightsError, match=said) as caught:
        load_backbone("own")
    assert "\n" not in str(caught.value)


def test_weights_of_others_are_refused(offer, edges):
    offer(edges=edges)
    with pytest.raises(WeightsError, match="brings its own weights"):
        load_backbone("edges", "none")
