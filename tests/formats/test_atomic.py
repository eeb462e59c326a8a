"""Files written whole or not at all: whichever call fails, and whoever writes at the same time."""

import errno
import io
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from clusterkit.auditing.pictures import save_picture, save_png
from clusterkit.auditing.plotting.figures import save_empty
from clusterkit.errors import ClusterkitError, OutputError
from clusterkit.formats import atomic
from clusterkit.formats.assignments import read_assignments, write_assignments
from clusterkit.formats.atomic import final_name, new_folder, replacing, write_json, write_text
from clusterkit.formats.reviews import REVIEW_COLUMNS
from clusterkit.formats.run import Run
from clusterkit.reviewing import write_reviews

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """Counts what is asked of the disk, and refuses the n-th request."""

    def __init__(self, patch: pytest.MonkeyPatch, fails: int, error: BaseException = FULL) -> None:
        self.requests, self.fails, self.error = 0, fails, error
        for name in ("replace", "fsync"):
            patch.setattr(os, name, self.counted(getattr(os, name)))
        patch.setattr(atomic, "open", self.open, raising=False)

    def ask(self) -> None:
        self.requests += 1
        if self.requests == self.fails:
            raise self.error

    def counted(self, call: Callable) -> Callable:
        def counting(*args, **kwargs):
            self.ask()
            return call(*args, **kwargs)

        return counting

    def open(self, path, mode, encoding=None, newline=None, errors=None):
        disk = self
        disk.ask()

        class File(io.FileIO):
            def write(self, data):
                disk.ask()
                return super().write(data)

        class Buffer(io.BufferedWriter):
            def fileno(self):
                # Pillow would write a JPEG past this class.
                if sys._getframe(1).f_globals["__name__"].startswith("PIL."):
                    raise io.UnsupportedOperation
                return super().fileno()

        file = Buffer(File(path, mode.replace("b", "")), buffer_size=64)
        if "b" in mode:
            return file
        return io.TextIOWrapper(file, encoding, errors, newline, write_through=True)


def picture(seed: int) -> Image.Image:
    return Image.linear_gradient("L").rotate(90 * seed).convert("RGB")


def reviews(text: str) -> pd.DataFrame:
    return pd.DataFrame([dict.fromkeys(REVIEW_COLUMNS, text)] * 5)


WRITERS = {
    "text": lambda path, n: write_text(path, f"version {n}\n" * 40),
    "json": lambda path, n: write_json(path, {"version": [n] * 40}),
    "picture.png": lambda path, n: save_picture(picture(n), path),
    "picture.jpg": lambda path, n: save_picture(picture(n), path),
    "mine.png": lambda path, n: save_png(picture(n), path),
    "plot.png": lambda path, n: save_empty(path, f"version {n}"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "interrupt"])
def test_whichever_request_fails_the_file_is_the_old_or_the_new_one(tmp_path, name, error):
    write, path = WRITERS[name], tmp_path / "folder" / name
    path.parent.mkdir()
    write(path, 2)
    new = path.read_bytes()
    path.unlink()
    write(path, 1)
    old = path.read_bytes()
    failed = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, failed + 1, error)
            try:
                write(path, 2)
                break
            except (OSError, ClusterkitError, KeyboardInterrupt):
                failed += 1
        assert path.read_bytes() == old
        assert os.listdir(path.parent) == [name]
    # Opening, at least one write, and the renaming; pictures need not be waited for.
    assert failed == disk.requests >= 3
    assert path.read_bytes() == new
    assert os.listdir(path.parent) == [name]


def test_every_request_of_assignments_and_reviews(assignment, tmp_path):
    table = assignment.table.iloc[:12]
    for name, write in {
        "a.csv": lambda path: write_assignments(table, path),
        "r.csv": lambda path: write_reviews(reviews("new"), path),
    }.items():
        path = tmp_path / name
        failed = 0
        while True:
            with pytest.MonkeyPatch.context() as patch:
                Disk(patch, failed + 1)
                try:
                    write(path)
                    break
                except (OSError, ClusterkitError):
                    failed += 1
            assert not list(tmp_path.glob(f"*{name}*"))
        assert failed >= 4
    assert len(read_assignments(tmp_path / "a.csv")) == 12


def test_a_run_is_there_whole_or_not_at_all(run, tmp_path):
    copy, failed = Run.load(run.path), 0
    copy.path = tmp_path / "runs" / "copy"
    while True:
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, failed + 1)
            try:
                copy.save()
                break
            except (OSError, OutputError):
                failed += 1
        assert not os.listdir(copy.path.parent)
    assert failed > 10
    assert Run.load(copy.path).info == run.info
    assert os.listdir(copy.path.parent) == ["copy"]


def test_a_folder_replaces_an_empty_one_and_no_other(tmp_path):
    (tmp_path / "new").mkdir()
    with new_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("1")
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "new") as folder:
        (folder / "b").write_text("2")
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "a"]


WRITE = """
import sys
from pathlib import Path
from clusterkit.formats.atomic import write_text
for _ in range(150):
    write_text(Path(sys.argv[1]), sys.argv[2] * 20_000)
"""


def test_two_processes_that_write_one_file_leave_one_version(tmp_path):
    path, letters = tmp_path / "f.txt", "ab"
    processes = [subprocess.Popen([sys.executable, "-c", WRITE, path, c]) for c in letters]
    seen = set()
    while any(process.poll() is None for process in processes):
        if path.exists():
            text = path.read_text()
            assert len(text) == 20_000
            assert len(set(text)) == 1
            seen.add(text[0])
    assert [process.wait() for process in processes] == [0, 0]
    assert seen <= set(letters)
    assert os.listdir(tmp_path) == ["f.txt"]


def test_two_threads_that_write_one_file_leave_one_version(tmp_path):
    path, failures = tmp_path / "f.txt", []

    def write(letter: str) -> None:
        try:
            for _ in range(100):
                write_text(path, letter * 10_000)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(c,)) for c in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert path.read_text() in {c * 10_000 for c in "abc"}
    assert os.listdir(tmp_path) == ["f.txt"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "f.txt", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["a" * 250, "ü" * 120, ".x", "a.0a1b2c3d.partial"])
def test_any_name_that_a_file_may_have_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "1")
    assert (tmp_path / name).read_text() == "1"
    assert os.listdir(tmp_path) == [name]


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path):
    path = tmp_path / "a.json"
    with replacing(path) as other:
        left = tmp_path / ".a.json.0123abcd.partial"
        left.write_text("half")
        write_json(path, {})
        assert left.exists()
        long_ago = time.time() - 7200
        os.utime(left, (long_ago, long_ago))
        others = tmp_path / ".b.json.0123abcd.partial"
        others.write_text("half")
        os.utime(others, (long_ago, long_ago))
        write_json(path, {})
        assert not left.exists()
        assert others.exists()
        other.write("mine")
        assert final_name(Path(other.name).name) == "a.json"
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["a.csv", "a" * 45 + ".csv", "b" * 80 + ".csv"])
def test_what_was_written_beside_a_temporary_table_is_removed_too(tmp_path, name):
    first = atomic.temporary_path(tmp_path / name)
    left = [first, atomic.temporary_path(first)]
    for path in left:
        path.write_text("half")
        os.utime(path, (time.time() - 7200,) * 2)
    # As `write_checked` does: the table itself is written under a temporary name.
    write_text(atomic.temporary_path(tmp_path / name), "new")
    assert not any(path.exists() for path in left)


def test_line_ends_are_the_same_on_every_system(tmp_path):
    write_json(tmp_path / "a.json", {"ü": "a\r\n"})
    assert (tmp_path / "a.json").read_bytes() == '{\n "ü": "a\\r\\n"\n}\n'.encode()
    write_text(tmp_path / "a.csv", "a\r\nb\n")
    assert (tmp_path / "a.csv").read_bytes() == b"a\r\nb\n"
