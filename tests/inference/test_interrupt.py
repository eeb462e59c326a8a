"""An interrupted call ends its processes at once, also where a notebook keeps the exception."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from clusterkit import assign, embed
from clusterkit.config import override


def stop_here(stage: str, done: int, total: int) -> None:
    if stage in ("assign", "embed"):
        raise KeyboardInterrupt


def stop_soon(stage: str, done: int, total: int) -> None:
    # While the next batch is waited for, or written. Again, where Python was in the middle of
    # something that cannot raise, such as collecting garbage.
    if done in (2, 24, 40):
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
    time.sleep(0.01)


def processes_after(seconds: float) -> int:
    end = time.monotonic() + seconds
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.02)
    return len(multiprocessing.active_children())


@pytest.mark.parametrize("stop", [stop_here, stop_soon])
def test_no_process_of_assign_is_left(run, sample, config, tmp_path, stop):
    config = override(config, assign__workers=2, assign__batch_size=2)
    with pytest.raises(KeyboardInterrupt) as kept:
        assign(run, sample / "unlabeled", config=config, out=tmp_path / "a.csv", progress=stop)
    assert processes_after(2) == 0
    assert kept.tb is not None
    # What was done is kept, and the call goes on there.
    result = assign(run, sample / "unlabeled", config=config, out=tmp_path / "a.csv")
    assert result.record.resumed_batches >= 1


def test_no_process_of_embed_is_left(run, sample, config, tmp_path, monkeypatch):
    monkeypatch.setattr("clusterkit.inference.embed.BATCH", 2)
    config = override(config, assign__workers=2)
    with pytest.raises(KeyboardInterrupt) as kept:
        embed(sample / "unlabeled", tmp_path / "f.npz", config=config, run=run, progress=stop_here)
    assert processes_after(2) == 0
    assert kept.tb is not None
    assert not (tmp_path / "f.npz").exists()
