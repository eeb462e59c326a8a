"""One guard an image: whatever goes wrong with one, its row fails and the others do not."""

import os
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clusterkit import assign, inspect
from clusterkit.config import Config, ImageConfig
from clusterkit.data import loading
from clusterkit.data.guarded_path import open_regular
from clusterkit.data.imageio.failures import reason_of
from clusterkit.data.loading import load_batches
from clusterkit.data.manifest import read_manifest
from clusterkit.errors import ImageError
from clusterkit.inspection import scan

READERS = ("read_identified", "decode", "seen_by_model", "signature", "measure_appearance")
ERRORS = [
    ValueError("two\nlines \x1b[31m"), MemoryError(), RecursionError("deep"), IndexError("i"),
    RuntimeError("x" * 5000), OSError(5, "EIO"), KeyError("k"), AssertionError(), StopIteration(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), np.linalg.LinAlgError("s"),
    ImageError("a\nb"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("guard")
    rng = np.random.default_rng(0)
    for n in range(4):
        pixels = rng.integers(0, 255, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made / f"{n}.png")
    return made


def refs_of(folder):
    return [(str(path), None) for path in sorted(folder.glob("*.png"))]


def failing(real, error, number=2):
    """A reader that raises at its n-th call, or returns the error where it is none."""
    calls = []

    def read(*args, **named):
        calls.append(args)
        if len(calls) != number:
            return real(*args, **named)
        if isinstance(error, BaseException):
            raise error
        return error

    return read


def assert_one_line(reason):
    assert reason
    assert reason.isprintable()
    assert len(reason) <= 200


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_a_reader_fails_its_row_alone(folder, monkeypatch, reader, error):
    how = ImageConfig(size=32)
    (whole,) = load_batches(refs_of(folder), how, 4, 0)
    monkeypatch.setattr(loading, reader, failing(getattr(loading, reader), error))
    (batch,) = load_batches(refs_of(folder), how, 4, 0)
    assert [reason != "" for reason in batch.errors] == [False, True, False, False]
    assert_one_line(batch.errors[1])
    others = [0, 2, 3]
    for name in ("images", "ids", "signatures", "appearance"):
        np.testing.assert_array_equal(getattr(batch, name)[others], getattr(whole, name)[others])
    assert not batch.images[1].any()
    assert not batch.signatures[1].any()


@pytest.mark.parametrize(
    ("reader", "value"),
    [("seen_by_model", np.zeros((0, 32, 3), np.uint8)), ("signature", np.zeros(3, np.int8)),
     ("seen_by_model", np.zeros((32, 32), np.uint8)), ("decode", None),
     ("seen_by_model", np.zeros((32, 32, 3), np.float32)), ("read_identified", b"x"),
     ("measure_appearance", np.zeros((1, 3), np.float32))],
)  # fmt: skip
def test_what_comes_out_is_checked(folder, monkeypatch, reader, value):
    monkeypatch.setattr(loading, reader, failing(getattr(loading, reader), value))
    (batch,) = load_batches(refs_of(folder), ImageConfig(size=32), 4, 0)
    assert [reason != "" for reason in batch.errors] == [False, True, False, False]
    assert_one_line(batch.errors[1])


def test_an_order_to_stop_is_no_reason(folder, monkeypatch):
    for order in (KeyboardInterrupt, SystemExit):
        with monkeypatch.context() as patch:
            patch.setattr(loading, "decode", failing(loading.decode, order()))
            with pytest.raises(order):
                list(load_batches(refs_of(folder), ImageConfig(size=32), 4, 0))


@settings(max_examples=100)
@given(st.text(), st.binary(max_size=200))
def test_a_reason_is_one_line(words, data):
    assert_one_line(reason_of(RuntimeError(words), data))
    assert_one_line(reason_of(ImageError(words + "x"), data))


@pytest.mark.parametrize("error", [RuntimeError("a\nb"), MemoryError(), RecursionError("r")])
def test_inspect_and_fit_go_on_too(folder, monkeypatch, error):
    found = []
    for path, frame in refs_of(folder):
        with monkeypatch.context() as patch:
            patch.setattr(scan, "read_identified", failing(scan.read_identified, error, 1))
            found.append(scan.image_facts(path, frame, Config())[0].error)
    assert all(found)
    with monkeypatch.context() as patch:
        patch.setattr("clusterkit.data.manifest.read_identified", failing(None, error, 1))
        table = folder / "l.csv"
        pd.DataFrame({"image": ["0.png"], "label": [""]}).to_csv(table, index=False)
        assert read_manifest(table)["image_id"].tolist() == [""]
    assert_one_line(found[0])


def test_mutated_files_fail_alone(run, sample, tmp_path):
    """Files cut, emptied and overwritten at random beside whole ones: each is a row."""
    rng, folder = np.random.default_rng(0), tmp_path / "in"
    folder.mkdir()
    source = sorted((sample / "unlabeled").glob("*.png"))[:4] or sorted(sample.rglob("*.png"))[:4]
    for n, path in enumerate(source):
        (folder / f"whole{n}.png").write_bytes(path.read_bytes())
    image = Image.open(source[0]).convert("RGB")
    for kind in ("png", "jpg", "tif", "bmp", "gif", "webp"):
        image.save(folder / f"x.{kind}")
        data = (folder / f"x.{kind}").read_bytes()
        for n in range(12):
            bad = bytearray(data[: rng.integers(0, len(data))] if n % 3 == 0 else data)
            for place in rng.integers(0, max(1, min(len(bad), 200)), 6 if bad else 0):
                bad[place] = rng.integers(0, 256)
            (folder / f"{n}.{kind}").write_bytes(bad)
    result = assign(run, folder, out=tmp_path / "o.csv")
    table = result.table.set_index("image")
    assert len(table) >= 6 * 13 + len(source)
    whole = [name for name in table.index if name.startswith(("whole", "x."))]
    assert not (table.loc[whole, "status"] == "failed").any()
    for reason in table["reason"][table["status"] == "failed"]:
        assert_one_line(reason)
    inspect(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_that_was_put_in_a_files_place_blocks_nobody(tmp_path):
    os.mkfifo(tmp_path / "p.png")
    said = []

    def read():
        with pytest.raises(ImageError, match="not a regular file"):
            open_regular(tmp_path / "p.png")
        said.append(True)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert said
