"""What a GPU is told, and in which order: it is told to a stand-in that takes notes."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clusterkit.data.loading import ImageBatch
from clusterkit.inference.batch_streams import BatchStreams, Started
from clusterkit.inference.workers import compute
from clusterkit.models.networks import Embeddings

CUDA = torch.device("cuda")


@pytest.fixture
def told(monkeypatch):
    """A torch.cuda of which every order is noted."""
    notes, current = [], ["computing"]

    class Stream:
        def __init__(self, device=None, priority=0, name=None):
            self.name = name or ("finishing" if priority < 0 else "copying")

        def wait_stream(self, other):
            notes.append(f"{self.name} waits for {other.name}")

        def wait_event(self, event):
            notes.append(f"{self.name} waits for {event}")

        def record_event(self):
            notes.append(f"{self.name} says when it is here")
            return f"event {sum('says' in note for note in notes)}"

    @contextmanager
    def stream(one):
        current.append(one.name)
        yield
        current.pop()

    def sent(tensor, *_, **how):
        notes.append(f"{current[-1]} copies {'at once' if how.get('non_blocking') else 'slowly'}")
        return tensor

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(name=current[-1]))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "to", sent)
    monkeypatch.setattr(torch.Tensor, "record_stream",
                        lambda tensor, user: notes.append(f"kept for {user.name}"))  # fmt: skip
    return SimpleNamespace(notes=notes, current=current)


def test_images_are_copied_beside_what_is_computed(told):
    BatchStreams(CUDA).send(np.zeros((2, 4, 4, 3), np.uint8))
    assert told.notes == ["copying copies at once", "computing waits for copying",
                          "kept for computing"]  # fmt: skip


def test_a_batch_is_finished_without_waiting_for_the_one_begun_since(told):
    streams = BatchStreams(CUDA)
    first, _second = (streams.started(Embeddings(None, None)) for _ in range(2))
    del told.notes[:]
    with streams.finishing(first):
        assert told.current[-1] == "finishing"
    assert told.notes == ["finishing waits for event 1"]
    assert told.current == ["computing"]


def test_the_next_batch_is_begun_before_one_is_finished(monkeypatch):
    notes = []

    class Noted:
        device = CUDA
        image = None

        def make_ready(self):
            notes.append(f"ready on {self.device}")

        def start(self, batch):
            notes.append(f"start {batch.number}")
            return Started(Embeddings(None, None))

        def finish(self, batch, started):
            notes.append(f"finish {batch.number}")
            return {}

    batches = (ImageBatch(n, *[np.zeros(1)] * 6) for n in range(3))
    monkeypatch.setattr("clusterkit.inference.workers.load_batches", lambda *_: batches)
    assert [number for number, _ in compute(Noted(), [], 2, workers=0)] == [0, 1, 2]
    assert notes == ["ready on cuda", "start 0", "start 1", "finish 0", "start 2", "finish 1",
                     "finish 2"]  # fmt: skip


def test_elsewhere_there_are_no_streams():
    streams, images = BatchStreams(torch.device("cpu")), np.ones((2, 4, 4, 3), np.uint8)
    assert torch.equal(streams.send(images), torch.from_numpy(images))
    with streams.finishing(streams.started(Embeddings(None, None))) as nothing:
        assert nothing is None
