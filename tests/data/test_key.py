"""The key for patient ids: made once, whole, and readable by its owner alone."""

import errno
import os
import stat
import threading

import pytest

from clusterkit.data.pseudonyms import read_key
from clusterkit.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_key_is_known():
    read_key.cache_clear()
    yield
    read_key.cache_clear()


def test_of_many_threads_one_makes_the_key(tmp_path):
    path, keys = tmp_path / "folder" / "patient.key", []
    threads = [
        threading.Thread(target=lambda: keys.append(read_key.__wrapped__(path))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == [path.read_bytes().strip()] * 8
    assert os.listdir(path.parent) == ["patient.key"]


def test_a_key_is_made_where_no_file_has_two_names(tmp_path, monkeypatch):
    def refused(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "patient.key"
    assert len(read_key(path)) == 64
    assert os.listdir(tmp_path) == ["patient.key"]
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_full_disk_leaves_no_half_of_a_key(tmp_path, monkeypatch, links):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sync, calls = os.fsync, []

    def second_fails(handle):
        calls.append(handle)
        (full if len(calls) == (1 if links else 2) else sync)(handle)

    monkeypatch.setattr(os, "fsync", second_fails)
    if not links:
        monkeypatch.setattr(os, "link", full)
    with pytest.raises(ConfigError, match="No space left"):
        read_key(tmp_path / "patient.key")
    assert not os.listdir(tmp_path)
