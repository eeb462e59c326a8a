"""Headers of many files: all are read, each is its own file's, several are under way at a time."""

import threading
import time

import numpy as np
import tifffile

from clusterkit.data import file_headers
from clusterkit.data.file_headers import read_headers


def write_files(folder, count):
    """Write files of which every third is a TIFF of 2 or 3 frames; return paths and frames."""
    paths, frames = [], []
    for number in range(count):
        path = folder / f"{number}.png"
        if number % 3:
            path.write_bytes(b"no image" * number)
        else:
            tifffile.imwrite(
                path, np.zeros((2 + number % 2, 4, 4), np.uint8), photometric="minisblack"
            )
        paths.append(str(path))
        frames.append(None if number % 3 else 2 + number % 2)
    return paths, frames


def test_each_header_is_of_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setattr(file_headers, "A_TURN", 2)
    paths, frames = write_files(tmp_path, 50)
    paths, frames = [*paths, str(tmp_path / "none"), str(tmp_path), "a\0b"], [*frames] + [None] * 3
    told = []
    found = read_headers(paths, progress=lambda *said: told.append(said))
    assert [header and header.frames for header in found] == frames
    assert told[-1] == ("headers", len(paths), len(paths))


def test_files_of_a_network_drive_are_waited_for_together(tmp_path, monkeypatch):
    """After a slow one each waits until another is under way, too: singly, none would be read."""
    monkeypatch.setattr(file_headers, "A_TURN", 1)
    paths, frames = write_files(tmp_path, 13)
    both, own = threading.Barrier(2, timeout=20), file_headers.open_regular

    def slow(path):
        time.sleep(0.01)
        if str(path) != paths[0]:
            both.wait()
        return own(path)

    monkeypatch.setattr(file_headers, "open_regular", slow)
    assert [header and header.frames for header in read_headers(paths)] == frames
