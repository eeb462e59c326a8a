"""Whatever becomes of a folder: each row has the promise that was made when it was decided."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit import assign
from clusterkit.config import override
from clusterkit.formats.assignment_record import AssignmentRecord, BatchRecord, PromiseRecord
from clusterkit.formats.assignments import COLUMNS, NUMBERS, WHOLE, write_assignments
from clusterkit.formats.atomic import temporary_path
from clusterkit.formats.certificate_record import CertificateRecord
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.promise_cover import covered_rows, promise_words, record_of_image
from clusterkit.inference.batch_record import settings_of
from clusterkit.inference.decisions import Decisions
from clusterkit.inference.earlier_rows import EarlierRows, why_anew
from clusterkit.inference.evidence import Evidence


def table_of(images: dict[str, int]) -> pd.DataFrame:
    """Rows of images, each with the number that its bytes stand for."""
    table = pd.DataFrame({c: [""] * len(images) for c in COLUMNS}, dtype=object)
    for column in NUMBERS:
        table[column] = np.zeros(len(images))
    for column in WHOLE:
        table[column] = pd.array([0] * len(images), dtype="Int64")
    ids = [f"{int(name):08x}{content:07x}a" for name, content in images.items()]
    return table.assign(image=list(images), image_id=ids, status="assigned")


def decided(step: int, images: int) -> AssignmentRecord:
    promise = PromiseRecord(threshold=step / 100)
    return AssignmentRecord(
        images=images, promise=promise, promise_text=f"step {step}", fingerprint=f"f{step}"
    )


# Of each image whether it is there, and which bytes it has, call after call.
folders = st.lists(
    st.dictionaries(st.integers(0, 7).map(str), st.integers(0, 2), min_size=1),
    min_size=2, max_size=6,
)  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(folders)
def test_a_row_keeps_its_promise_whatever_comes_and_goes(calls):
    since: dict[str, tuple[int, int]] = {}
    record, shown = AssignmentRecord(), []
    with tempfile.TemporaryDirectory() as folder:
        earlier = EarlierRows(Path(folder, "a.csv"), record)
        for step, images in enumerate(calls):
            table, now = table_of(images), decided(step, len(images))
            if step:
                evidence = Evidence({"ids": table["image_id"].to_numpy(),
                                     "errors": np.array([""] * len(table))})  # fmt: skip
                earlier = EarlierRows(earlier.path, record)
                found = earlier.found(table["image"], evidence)
                together = replace(Decisions.empty(len(table)), cluster=np.zeros(len(table), int))
                new = table[~found.kept]
                continued = earlier.continued_by(new, table, together, found)
                table, now = continued.table, continued.described(now)
            write_assignments(table, earlier.path)
            record = now
            since = {
                name: since[name] if since.get(name, (0, -1))[1] == content else (step, content)
                for name, content in images.items()
            }
            steps = {step for step, _ in since.values()}
            for name, (when, _) in since.items():
                of_row = record_of_image(record, name)
                assert of_row.promise_text == f"step {when}"
                assert of_row.promise.threshold == when / 100
            # What is said of the whole says how many rows it is about.
            assert record.promise_text == f"step {max(steps)}"
            last = sum(when == max(steps) for when, _ in since.values())
            assert (f"the {last} row" in covered_rows(record)) == (len(steps) > 1)
            assert all(batch.fingerprint for batch in record.batches)
            # A cluster that was named keeps its name: all that is left of what was shown, alone.
            now = Assigned(table, Path(), "", batches=tuple(record.batches))
            for when, (name, there) in enumerate(shown):
                if name == now.fingerprint:
                    continue
                rows = table["image"][now.batch_of <= now.grown_from.get(name, -1)]
                assert {one: images[one] for one in rows}.items() <= there.items()
                assert {one for one, (at, _) in since.items() if at <= when} <= set(rows)
            shown.append((now.fingerprint, images))


def test_a_certificate_is_about_all_rows():
    batches = [BatchRecord(3, [], promise_text="a"), BatchRecord(1, ["x.png"], promise_text="b")]
    record = AssignmentRecord(images=4, promise_text="b", batches=batches)
    assert promise_words(record).startswith("b This is about the 1 row decided last; the other 3")
    for certified in (False, True):
        made = replace(record, certificate=CertificateRecord(certified=certified))
        assert (covered_rows(made) == "") == certified
    assert promise_words(AssignmentRecord()) is None


@pytest.fixture
def few(sample, tmp_path):
    """A folder with eight images."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in sorted((sample / "unlabeled").glob("*.png"))[:8]:
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize(
    ("key", "value"), [("novelty_alpha", 0.3), ("label_shift", False), ("min_cluster_size", 2)]
)
def test_rows_are_decided_by_settings_of_the_engine_too(config, key, value):
    assert settings_of(override(config, **{f"engine__{key}": value})) != settings_of(config)
    assert settings_of(override(config, assign__workers=3)) == settings_of(config)


def test_why_rows_are_decided_anew_is_said(run, few, config, tmp_path, command):
    out = tmp_path / "a.csv"
    assert assign(run, few, config=config, out=out).record.anew is None
    other = override(config, engine__novelty_alpha=0.3)
    record = assign(run, few, config=other, out=out).record
    assert record.growth is None
    assert record.anew == "they were decided by other settings (novelty_alpha = 0.3 for 0.1)"
    out.write_bytes(out.read_bytes().replace(b"\n", b"\r\n"))
    assert why_anew(out, run, other) == "somebody, or another program, has saved a.csv since"
    code, printed, _ = command("assign", few, "--run", run.path, "--out", out)
    assert code == 0
    assert "anew       all rows that were there: they were decided by other settings" in printed


def test_a_kill_between_table_and_record_costs_no_row(run, few, config, tmp_path):
    out, aside = tmp_path / "a.csv", tmp_path / "aside.png"
    shutil.move(next(few.iterdir()), aside)
    assign(run, few, config=config, out=out)
    record = out.with_suffix(".json")
    before = record.read_bytes()
    shutil.move(aside, few / "new.png")
    grown, table = assign(run, few, config=config, out=out).record, out.read_bytes()
    record.rename(temporary_path(record, grown.table))
    record.write_bytes(before)
    again = assign(run, few, config=config, out=out).record
    assert again.growth.kept == again.images
    assert again.batches == grown.batches
    assert out.read_bytes() == table


def test_a_moved_folder_keeps_its_rows_and_is_found_again(run, few, config, tmp_path, command):
    out = tmp_path / "a.csv"
    assign(run, few, config=config, out=out)
    moved = few.rename(tmp_path / "moved")
    record = assign(run, moved, config=config, out=out, overwrite=True).record
    assert record.growth.kept == record.images
    assert record.input_root == "moved"
    assert assign(run, moved, config=config, out=out).record.growth.kept == record.images
    # What is printed has the number of the new rows; their names are in the file.
    (moved / "new.png").write_bytes(next(moved.iterdir()).read_bytes() + b" ")
    assign(run, moved, config=config, out=out)
    code, printed, _ = command("assign", moved, "--run", run.path, "--out", out, "--json")
    assert code == 0
    told = json.loads(printed)["batches"]
    assert [batch["images"] for batch in told] == [record.images, 1]
    assert not any("names" in batch for batch in told)
    assert json.loads(out.with_suffix(".json").read_text())["batches"][1]["names"] == ["new.png"]
