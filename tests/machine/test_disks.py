"""Folders that commands write to: full, in the way, missing."""

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from clusterkit.config import Config
from clusterkit.machine.disks import RUNS, TEMPORARY, look_at_folders

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_nothing_is_left_behind(tmp_path):
    folders, troubles = look_at_folders(Config(), None)
    assert troubles == []
    assert folders[RUNS]["path"] == str(tmp_path / "runs")
    assert 0 < folders[RUNS]["free"] <= folders[RUNS]["total"]
    assert folders[TEMPORARY]["free"] > 0
    assert list(tmp_path.iterdir()) == []


def test_an_address_is_shown_without_its_password():
    folders, _ = look_at_folders(Config(), Path("s3://me:secret@bucket/runs"))
    assert folders[RUNS]["path"].endswith("s3:/bucket/runs")


def test_a_file_where_runs_should_be(tmp_path):
    (tmp_path / "taken").write_text("")
    _, (trouble,) = look_at_folders(Config(), tmp_path / "taken")
    assert trouble.fails
    assert "taken: a file is where a folder should be; give another --run DIR" in trouble.text
    _, (trouble,) = look_at_folders(Config(), tmp_path / "taken" / "inside")
    assert "--run DIR" in trouble.text


def test_a_full_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 10**6, 10**6))
    _, (trouble,) = look_at_folders(Config(), None)
    assert trouble.fails
    assert "has 1 MB free" in trouble.text
    assert "make room, or give another --run DIR" in trouble.text


def test_a_disk_that_tells_nothing(monkeypatch):
    def fails(path):
        raise OSError("stale")

    monkeypatch.setattr(shutil, "disk_usage", fails)
    folders, troubles = look_at_folders(Config(), None)
    assert folders[RUNS]["free"] is None
    assert troubles == []


def test_temporary_files(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/not/there")
    _, (note,) = look_at_folders(Config(), None)
    assert not note.fails
    assert "$TMPDIR is /not/there, which cannot be written; " in note.text
    assert note.text.endswith(" is used")

    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    _, (trouble,) = look_at_folders(Config(), None)
    assert trouble.fails
    assert "set TMPDIR to one" in trouble.text


def test_no_place_for_the_key_of_patient_ids(monkeypatch, tmp_path):
    (tmp_path / "home").write_text("")
    monkeypatch.delenv("CLUSTERKIT_KEY_FILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    _, (note,) = look_at_folders(Config(), None)
    assert not note.fails
    assert note.about == "patient ids"
    assert "$CLUSTERKIT_KEY_FILE" in note.text
