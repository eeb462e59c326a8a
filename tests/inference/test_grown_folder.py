"""A folder that grows: new images alone are computed, and what was said of others stays."""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clusterkit import assign
from clusterkit.config import override
from clusterkit.data.file_state import state_of
from clusterkit.errors import ClusterkitError
from clusterkit.formats.assignment_record import AssignmentRecord
from clusterkit.formats.assignments import (
    COLUMNS,
    NUMBERS,
    WHOLE,
    read_assignments,
    write_assignments,
)
from clusterkit.inference.decisions import Decisions
from clusterkit.inference.earlier_rows import EarlierRows
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.journal import Journal
from clusterkit.inference.predictor import Predictor


@pytest.fixture
def folder(sample, tmp_path):
    """The images to label that can be read: others are tried again each time."""
    copied = tmp_path / "in"
    shutil.copytree(sample / "unlabeled", copied)
    for path in images_of(copied):
        with suppress(OSError), Image.open(path) as image:
            image.load()
            continue
        path.unlink()
    return copied


@pytest.fixture
def small(config):
    return override(config, assign__workers=0, assign__batch_size=4)


@pytest.fixture
def computed(monkeypatch):
    """Ids of the images that were encoded, call by call."""
    finish, found = Predictor.finish, []

    def told(self, batch, started):
        found.extend(batch.ids.tolist())
        return finish(self, batch, started)

    monkeypatch.setattr(Predictor, "finish", told)
    return found


def lines_of(path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()[1:]
    return {line.split(",")[0]: line for line in lines}


def images_of(folder) -> list:
    return sorted(folder.rglob("*.png"))


def test_new_images_alone_are_computed_and_rows_stay(run, folder, small, tmp_path, computed):
    out, aside = tmp_path / "a.csv", tmp_path / "aside"
    aside.mkdir()
    for path in images_of(folder)[3:30:9]:
        shutil.move(path, aside / path.name)
    first = assign(run, folder, config=small, out=out)
    before, count = lines_of(out), len(computed)
    assert count == len(first.table)
    assert first.record.growth is None
    assert first.record.batches == []
    new = [path.name for path in aside.iterdir()]
    for path in list(aside.iterdir()):
        shutil.move(path, folder / path.name)
    grown = assign(run, folder, config=small, out=out)
    after = lines_of(out)
    assert {name: after[name] for name in before} == before
    assert len(computed) == count + len(new)
    assert grown.record.growth.to_dict() == {
        "kept": count,
        "new": len(new),
        "changed": 0,
        "gone": 0,
    }
    # Each promise says which rows it is about.
    told = [(batch.images, batch.names) for batch in grown.record.batches]
    assert [n for n, _ in told] == [count, len(new)]
    assert told[0][1] == []
    assert sorted(told[1][1]) == sorted(set(after) - set(before))
    assert grown.record.batches[0].promise == first.record.promise
    assert grown.record.batches[0].fingerprint == first.record.fingerprint
    # And again nothing: the same bytes.
    text = out.read_bytes()
    again = assign(run, folder, config=small, out=out)
    assert out.read_bytes() == text
    assert len(computed) == count + len(new)
    assert again.record.growth.kept == len(after)
    assert [batch.images for batch in again.record.batches] == [count, len(new)]


def test_an_image_is_known_by_its_bytes(run, folder, small, tmp_path, computed):
    out = tmp_path / "a.csv"
    assign(run, folder, config=small, out=out)
    before = lines_of(out)
    touched, changed, moved = images_of(folder)[:3]
    os.utime(touched)
    other = images_of(folder)[-1].read_bytes() + b" "
    times = os.stat(changed)
    changed.write_bytes(other)
    # Whoever sets back the time of a change does not hide it.
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.move(moved, folder / "moved.png")
    computed.clear()
    found = assign(run, folder, config=small, out=out, overwrite=True)
    assert len(computed) == 1
    after = lines_of(out)
    names = [str(path.relative_to(folder)) for path in (touched, changed, moved)]
    assert after[names[0]] == before[names[0]]
    assert after[names[1]] != before[names[1]]
    assert names[2] not in after
    growth = found.record.growth
    assert (growth.new, growth.changed, growth.gone) == (1, 1, 1)


def test_what_a_killed_call_has_computed_is_known_though_the_folder_changed(
    run, folder, small, tmp_path, computed
):
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "assign" and done >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assign(run, folder, config=small, out=tmp_path / "a.csv", progress=stop)
    done = set(computed)
    shutil.copy(images_of(folder)[0], folder / "a-copy.png")
    (folder / "new.png").write_bytes(images_of(folder)[0].read_bytes() + b" ")
    computed.clear()
    found = assign(run, folder, config=small, out=tmp_path / "a.csv")
    assert not done & set(computed)
    assert set(computed) | done == set(found.table["image_id"])


def test_other_settings_decide_all_anew_and_compute_nothing(run, folder, small, tmp_path, computed):
    out = tmp_path / "a.csv"
    assign(run, folder, config=small, out=out)
    count = len(computed)
    for change in ({"assign__max_error": "none"}, {"assign__confidence": 0.8}):
        other = override(small, **change)
        found = assign(run, folder, config=other, out=out)
        assert found.record.growth is None
        there = assign(run, folder, config=other, out=tmp_path / "there.csv", fresh=True)
        assert lines_of(out) == lines_of(there.path)
    assert len(computed) == 3 * count
    # Nor does --fresh keep anything.
    assert assign(run, folder, config=other, out=out, fresh=True).record.growth is None
    assert len(computed) == 4 * count


def test_what_failed_is_tried_again(run, folder, small, tmp_path):
    good = images_of(folder)[0]
    data = good.read_bytes()
    good.write_bytes(data[: len(data) // 2])
    out = tmp_path / "a.csv"
    first = assign(run, folder, config=small, out=out)
    assert first.record.status["failed"] == 1
    good.write_bytes(data)
    second = assign(run, folder, config=small, out=out)
    assert second.record.status["failed"] == 0
    assert second.record.growth.changed == 1
    assert second.record.growth.kept == len(second.table) - 1


def test_damaged_or_foreign_assignments_are_not_kept(run, folder, small, tmp_path):
    out = tmp_path / "a.csv"
    assign(run, folder, config=small, out=out)
    record = out.with_suffix(".json")
    text = record.read_text()
    record.write_text(text.replace(run.info.id, "0" * len(run.info.id)))
    assert assign(run, folder, config=small, out=out).record.growth is None
    lines = out.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    out.write_text("".join([*lines[:2], lines[2].replace(lines[2].split(",")[2], "well", 1)]))
    assert assign(run, folder, config=small, out=out).record.growth is None


def test_a_label_that_somebody_wrote_into_the_table_is_not_kept(run, folder, small, tmp_path):
    """No promise is about it; corrections are reviews."""
    out = tmp_path / "a.csv"
    table = assign(run, folder, config=small, out=out).table
    before = lines_of(out)
    edited = table.assign(predicted_label=table["predicted_label"].iloc[::-1].to_numpy())
    write_assignments(edited, out)
    assert lines_of(out) != before
    found = assign(run, folder, config=small, out=out)
    assert found.record.growth is None
    assert lines_of(out) == before


def test_frames_of_a_file_that_changed_are_new_and_those_of_others_stay(
    run, folder, small, tmp_path, computed
):
    pictures = [Image.open(path).convert("RGB") for path in images_of(folder)[:5]]
    for name, frames in {"a.tif": pictures[:3], "b.tif": pictures[1:3]}.items():
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    out = tmp_path / "a.csv"
    first = assign(run, folder, config=small, out=out)
    assert (first.table["image"] == "a.tif").sum() == 3
    before = read_assignments(out).set_index("image_id")
    pictures[3].save(folder / "a.tif", save_all=True, append_images=pictures[:2])
    computed.clear()
    grown = assign(run, folder, config=small, out=out)
    assert len(computed) == 3
    assert grown.record.growth.to_dict() == {
        "kept": len(before) - 3, "new": 0, "changed": 3, "gone": 0
    }  # fmt: skip
    assert [batch.images for batch in grown.record.batches] == [len(before) - 3, 3]
    after = read_assignments(out).set_index("image_id")
    kept = after.index.intersection(before.index)
    assert len(kept) == len(before) - 3
    assert after.loc[kept].equals(before.loc[kept])


@pytest.fixture
def kept_by_a_call(run, folder, small, tmp_path, monkeypatch):
    """What a call on few images has kept of them, and how it is called again."""
    for path in images_of(folder)[5:]:
        path.unlink()
    kept, write = [], Journal.write

    def told(self, listing, number, arrays):
        kept.append(arrays)
        write(self, listing, number, arrays)

    config = override(small, assign__batch_size=8)
    monkeypatch.setattr(Journal, "write", told)
    assign(run, folder, config=config, out=tmp_path / "a.csv")
    monkeypatch.setattr(Journal, "write", write)
    batch = {k: v.astype("U") if v.dtype == object else v for k, v in kept[0].items()}
    return batch, lambda: assign(run, folder, config=config, out=tmp_path / "a.csv")


CHANGES = ("drop", "huge", "negative", "nan", "columns", "text")


def changed(values: np.ndarray, change: str) -> np.ndarray:
    if change == "columns":
        return np.stack([values] * 2, axis=-1)
    if change == "text":
        return np.array(["x"] * len(values))
    if values.dtype.kind == "U":
        return np.zeros(len(values))
    if change == "nan":
        return np.full(values.shape, np.nan)
    return np.full(values.shape, {"huge": 10_000, "negative": -10_000}[change], dtype=int).astype(
        values.dtype
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_journal_of_a_stranger_is_one_line_or_evidence(kept_by_a_call, tmp_path, change):
    """Its key and its checksums are right; its numbers and texts are whatever they are."""
    batch, again = kept_by_a_call
    folder = tmp_path / "a.csv.journal"
    for name in batch:
        key = (folder / "key").read_bytes()
        journal = Journal(tmp_path / "a.csv", {}, fresh=True)
        (folder / "key").write_bytes(key)
        others = {k: v for k, v in batch.items() if k != name}
        more = {} if change == "drop" else {name: changed(batch[name], change)}
        journal.write("0" * 16, 0, others | more)
        journal.finish()
        journal.close()
        try:
            assert len(again().table) == len(batch["ids"])
        except ClusterkitError as error:
            said = str(error)
            assert "cannot be evidence of this run; delete it" in said


def table_of(images: list[tuple[str, str, int, int]]) -> pd.DataFrame:
    table = pd.DataFrame({c: [""] * len(images) for c in COLUMNS}, dtype=object)
    for column in NUMBERS:
        table[column] = np.zeros(len(images))
    for at, column in enumerate(WHOLE, start=2):
        numbers = [image[at] for image in images]
        table[column] = pd.array([None if n < 0 else n for n in numbers], dtype="Int64")
    table["image"] = [image[0] for image in images]
    table["image_id"] = [image[1] for image in images]
    return table.assign(status="review")


rows = st.lists(
    st.tuples(st.integers(0, 30), st.booleans(), st.integers(-1, 4), st.integers(-1, 4)),
    min_size=1, max_size=30, unique_by=lambda row: row[0],
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(rows)
def test_earlier_rows_keep_their_numbers_and_new_ones_go_on(found):
    """Each row: which image, whether it was there, its cluster before and without those before."""
    now = table_of([(f"{i}", f"{i:015x}a", new, at + 1) for at, (i, _, _, new) in enumerate(found)])
    there = [(i, old) for i, was, old, _ in found if was] or [(99, -1)]
    before = table_of([(f"{i}", f"{i:015x}a", old, at + 1) for at, (i, old) in enumerate(there)])
    evidence = Evidence({"ids": now["image_id"].to_numpy(), "errors": np.array([""] * len(now))})
    without = now.set_index("image")["cluster"].copy()
    decided = Decisions.empty(len(now))
    decided.cluster = now["cluster"].to_numpy(dtype=int, na_value=-1)
    decided.order = now["order"].to_numpy(dtype=int, na_value=0)
    with tempfile.TemporaryDirectory() as folder:
        earlier = EarlierRows(Path(folder, "a.csv"), AssignmentRecord())
        write_assignments(before, earlier.path)
        found_there = earlier.found(now["image"], evidence)
        new = now[~found_there.kept].reset_index(drop=True)
        inputs = now[["image", "group"]]
        merged = earlier.continued_by(new, inputs, decided, found_there).table.set_index("image")
    old = before.set_index("image")
    kept = merged.index.intersection(old.index)
    for column in WHOLE:
        assert merged.loc[kept, column].equals(old.loc[kept, column])
    assert merged["order"].is_unique
    highest = old["cluster"].max()
    for name in merged.index.difference(kept):
        number = merged.loc[name, "cluster"]
        assert pd.isna(number) == pd.isna(without[name])
        if pd.isna(number):
            continue
        beside = kept[(without[kept] == without[name]).fillna(False)]
        numbers = set(merged.loc[beside, "cluster"].dropna())
        # The number of earlier images that it lies with, else one that no earlier one has.
        assert number in numbers if numbers else pd.isna(highest) or number > highest


def test_the_state_of_a_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    assert state_of(path) == "absent"
    path.write_bytes(b"1")
    # It may be written again within the same tick of the clock.
    assert state_of(path) == ""
    assert state_of("a\0b") == ""
    monkeypatch.setattr(time, "time_ns", lambda: os.stat(path).st_mtime_ns + 10**10)
    first = state_of(path)
    assert first
    times = os.stat(path)
    path.write_bytes(b"2")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert state_of(path) not in (first, "")


def test_batches_by_name_lie_side_by_side(run, folder, small, tmp_path):
    for name in ("week-1", "week-2"):
        assign(run, folder, config=small, out=tmp_path / name / "assignments.csv")
    tables = [read_assignments(tmp_path / f"week-{i}" / "assignments.csv") for i in (1, 2)]
    assert tables[0].equals(tables[1])
