"""Images that end the process that reads them: their rows fail alone."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from clusterkit import assign
from clusterkit.config import ImageConfig, config_from_dict
from clusterkit.data import loading, time_limit
from clusterkit.data.deadly_images import find_deadly
from clusterkit.data.loading import load_batches
from clusterkit.data.processes import started
from clusterkit.errors import ClusterkitError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked here")

WORDS = "ends the process that reads it"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "in"
    made.mkdir()
    rng = np.random.default_rng(0)
    for n in range(40):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
            made / f"{n:02}.png"
        )
    return made


@pytest.fixture
def deadly(folder, monkeypatch):
    """Let images end their process: a colour says which."""

    def choose(numbers, end):
        known = {(folder / f"{n:02}.png").read_bytes() for n in numbers}
        real, own = loading.decode, os.getpid()

        def decode(data, *args, **named):
            if data in known:
                # Not this process, which runs the tests.
                assert os.getpid() != own
                end()
            return real(data, *args, **named)

        monkeypatch.setattr(loading, "decode", decode)

    return choose


def crash():
    os.kill(os.getpid(), signal.SIGKILL)


def spin_in_c():
    # No order to stop reaches Python before it is done.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGVTALRM])
    until = time.process_time() + 60
    while time.process_time() < until:
        pass


@pytest.mark.parametrize(
    ("numbers", "workers"),
    [([5, 6, 39], 2), pytest.param([5, 6, 39], 1, marks=pytest.mark.long),
     pytest.param([0], 2, marks=pytest.mark.long), pytest.param([0], 1, marks=pytest.mark.long)],
)  # fmt: skip
def test_others_are_read(folder, deadly, numbers, workers):
    refs, how = [(str(path), None) for path in sorted(folder.iterdir())], ImageConfig(size=32)
    whole = list(load_batches(refs, how, 16, 0))
    deadly(numbers, crash)
    found = list(load_batches(refs, how, 16, workers))
    assert [batch.number for batch in found] == [0, 1, 2]
    errors = np.concatenate([batch.errors for batch in found])
    assert np.flatnonzero(errors != "").tolist() == numbers
    assert all(WORDS in errors[n] and "signal 9" in errors[n] for n in numbers)
    for name in ("images", "signatures", "appearance"):
        ours, theirs = (np.concatenate([getattr(b, name) for b in bs]) for bs in (found, whole))
        np.testing.assert_array_equal(np.delete(ours, numbers, 0), np.delete(theirs, numbers, 0))


def test_assign_goes_on(run, folder, deadly, tmp_path):
    config = config_from_dict({"assign": {"workers": 2, "batch_size": 4, "max_error": 0.4}})
    alone = assign(run, folder, config=config, out=tmp_path / "alone.csv").table
    deadly([3, 21], crash)
    result = assign(run, folder, config=config, out=tmp_path / "o.csv").table
    failed = result.index[result["status"] == "failed"].tolist()
    assert result["image"][failed].tolist() == ["03.png", "21.png"]
    assert result["reason"][failed].str.contains(WORDS).all()
    assert (result["image"] == alone["image"]).all()
    others = result.index.difference(failed)
    assert (result["image_id"][others] == alone["image_id"][others]).all()
    assert (result["classifier_label"][others] == alone["classifier_label"][others]).all()


def test_a_step_in_c_without_end_is_ended(folder, deadly, monkeypatch):
    monkeypatch.setattr(loading, "SECONDS", 0.3)
    monkeypatch.setattr(time_limit, "TIMES_IN_C", 2.0)
    deadly([7], spin_in_c)
    refs = [(str(path), None) for path in sorted(folder.iterdir())]
    found = list(load_batches(refs, ImageConfig(size=32), 16, 2))
    errors = np.concatenate([batch.errors for batch in found])
    assert np.flatnonzero(errors != "").tolist() == [7]
    assert "of processor time to read" in errors[7]


def test_a_process_that_no_image_ended_is_an_error():
    with pytest.raises(ClusterkitError, match="ended from outside"):
        find_deadly(str, [0, 1, 2])


def test_the_hosts_handler_of_its_children_stays():
    def handler(*_):
        return None

    before = signal.signal(signal.SIGCHLD, handler)
    try:
        loader = DataLoader(range(4), batch_size=None, num_workers=1)
        assert list(started(loader)) == [0, 1, 2, 3]
        assert signal.getsignal(signal.SIGCHLD) is handler
    finally:
        signal.signal(signal.SIGCHLD, before)
