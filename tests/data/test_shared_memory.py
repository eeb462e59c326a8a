"""Pictures travel from worker processes also where a container has next to no shared memory."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from clusterkit.config import ImageConfig
from clusterkit.data.loading import load_batches, shared_memory
from clusterkit.data.processes import shared_memory_room

HOW = ImageConfig(size=48)


class Watched(DataLoader):
    """Writes down whether what workers hand on lies in shared memory."""

    seen: list[bool]

    def __iter__(self):
        for part in super().__iter__():
            self.seen.append(torch.is_tensor(part[0]) and part[0].is_shared())
            yield part


@pytest.mark.parametrize(("room", "shared"), [(None, True), (10**9, True), (100_000, False)])
def test_little_of_it_is_not_used(room, shared, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    refs = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(path)
        refs.append((str(path), None))
    here = list(load_batches(refs, HOW, 16, 0))
    monkeypatch.setattr(Watched, "seen", [], raising=False)
    monkeypatch.setattr("clusterkit.data.loading.DataLoader", Watched)
    monkeypatch.setattr("clusterkit.data.loading.shared_memory_room", lambda: room)
    there = list(load_batches(refs, HOW, 16, 1))
    assert Watched.seen == [shared] * 3
    for one, other in zip(here, there, strict=True):
        for name in ("images", "ids", "errors", "signatures", "appearance"):
            assert (getattr(one, name) == getattr(other, name)).all()


def test_what_is_needed_and_what_there_is(monkeypatch):
    pictures = shared_memory(HOW, 64, 2) / (3 * 48**2)
    # Two batches are read ahead, and a third is put together.
    assert pictures == 3 * 64
    assert shared_memory(HOW, 64, 0) == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    assert shared_memory_room() in (5, None)
