"""reviews.csv: read, checked, settled, and turned into labels of the next run."""

import csv
import json
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clusterkit
from clusterkit import fit, read_assignments, review
from clusterkit.config import override
from clusterkit.errors import DataError
from clusterkit.formats.assignments import write_assignments
from clusterkit.formats.csv_text import safe_csv_text
from clusterkit.formats.known_images import Assigned
from clusterkit.formats.review_settling import describe, settle, summarise
from clusterkit.formats.reviews import spread_reviews

HEADER = ["image_id", "image", "label", "decision", "reviewer", "time", "note"]


def write(path: Path, *rows: tuple[str, str, str]) -> Path:
    """Write (image_id, label, decision) rows as a reviews file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for image_id, label, decision in rows:
            out.writerow([image_id, "", safe_csv_text(label), decision, "me", "2026-01-01", ""])
    return path


@pytest.fixture(autouse=True)
def _no_runs_here(tmp_path, monkeypatch):
    """Runs that somebody has in the folder where the tests start are none of their business."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def reviewed(run, assignment, sample, tmp_path) -> Path:
    """A folder with the shared run's labels and assignments; eight refused images are cluster 0.

    Which clusters are found among a few drawn cells is not what is tested here.
    """
    folder = tmp_path / "reviewed"
    folder.mkdir()
    table = assignment.table.copy()
    refused = table.index[table["status"].isin(["review", "novel"])]
    assert len(refused) > 20
    table.loc[refused[:8], "cluster"] = 0
    table.loc[refused[8:], "cluster"] = range(1, len(refused) - 7)
    write_assignments(table, folder / "assignments.csv")
    record = {"input_root": os.path.relpath(sample, folder)}
    (folder / "assignments.json").write_text(json.dumps(record))
    shutil.copy(run.path / "manifest.csv", folder)
    return folder


@pytest.fixture
def refused(reviewed):
    """Its refused rows, those of cluster 0 first."""
    table = read_assignments(reviewed / "assignments.csv")
    return table[table["cluster"].notna()].sort_values(["cluster", "image"], ignore_index=True)


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """Six assigned images in two clusters, c and d predicted as they are named."""
    return pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(6)],
            "image_id": [f"id{i}" for i in range(6)],
            "predicted_label": ["a", "a", "b", "b", "a", ""],
            "cluster": pd.array([0, 0, 0, 1, 1, None], dtype="Int64"),
            "group": ["p", "p", "", "", "q", ""],
        }
    )


@pytest.fixture
def verdicts(table, tmp_path):
    """Settle rows against `table` and two labelled images."""
    labelled = pd.DataFrame({"image_id": ["L1", "L2"], "label": ["a", "b"]})

    def call(*files):
        parts = [
            spread_reviews(
                write(tmp_path / f"r{i}.csv", *rows), Assigned(table, tmp_path, "a.csv"), labelled
            )
            for i, rows in enumerate(files)
        ]
        return settle(parts, labelled), summarise(parts, settle(parts, labelled), labelled)

    return call


def labels_of(settled: pd.DataFrame) -> dict[str, str]:
    return dict(zip(settled["image_id"], settled["label"], strict=True))


def test_the_last_row_of_an_image_holds(verdicts):
    settled, _ = verdicts([("id0", "b", "relabel"), ("id0", "c", "relabel")])
    assert labels_of(settled) == {"id0": "c"}
    settled, _ = verdicts([("id0", "b", "relabel")], [("id0", "", "accept")])
    assert labels_of(settled) == {"id0": "a"}


@pytest.mark.parametrize("own_first", [True, False])
def test_an_image_s_own_row_beats_its_cluster_s_whatever_the_order(verdicts, own_first):
    own, cluster = ("id1", "", "reject"), ("cluster:0", "new", "relabel")
    settled, summary = verdicts([own, cluster] if own_first else [cluster, own])
    assert labels_of(settled) == {"id0": "new", "id1": "", "id2": "new"}
    assert settled.set_index("image_id")["provenance"].to_dict() == {
        "id0": "cluster:0", "id1": "reviewed", "id2": "cluster:0",
    }  # fmt: skip
    assert summary["clusters"][0] | {"file": ""} == {
        "cluster": 0, "decision": "relabel", "label": "new", "size": 3, "taken": 2, "looked_at": 1,
        "agreeing": 0, "file": "",
    }  # fmt: skip


def test_skip_takes_back_and_leaves_the_cluster_s_name(verdicts):
    settled, _ = verdicts([("id3", "c", "relabel"), ("id3", "", "skip")])
    assert settled.empty
    settled, _ = verdicts([("cluster:1", "c", "relabel"), ("id3", "", "skip")])
    assert labels_of(settled) == {"id3": "c", "id4": "c"}
    settled, _ = verdicts([("cluster:1", "c", "relabel"), ("cluster:1", "", "skip")])
    assert settled.empty


def test_a_cluster_s_name_does_not_replace_a_given_label(table, tmp_path):
    labelled = pd.DataFrame({"image_id": ["id3"], "label": ["b"]})
    path = write(tmp_path / "r.csv", ("cluster:1", "c", "relabel"))
    spread = [spread_reviews(path, Assigned(table, tmp_path, "a.csv"), labelled)]
    assert labels_of(settle(spread, labelled)) == {"id4": "c"}


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["id0", "id1", "id2", "id3", "id4", "cluster:0", "cluster:1"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["accept", "relabel", "reject", "skip"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(rows=ROWS)
def test_settling_follows_the_rule_row_by_row(rows, table, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("r") / "r.csv", *rows)
    none = pd.DataFrame({"image_id": [], "label": []}, dtype=object)
    settled = settle([spread_reviews(path, Assigned(table, path.parent, "a"), none)], none)
    expected = {}
    for image_id, cluster in zip(table["image_id"], table["cluster"], strict=True):
        own = [r for r in rows if r[0] == image_id]
        name = [r for r in rows if pd.notna(cluster) and r[0] == f"cluster:{cluster}"]
        for last in (own[-1:], name[-1:]):
            if last and last[0][2] != "skip":
                expected[image_id] = "" if last[0][2] == "reject" else last[0][1]
                break
    assert labels_of(settled) == expected


def test_summary_names_new_classes_and_what_they_may_be(verdicts):
    _, summary = verdicts(
        [("id0", "A", "relabel"), ("id1", "zebra", "relabel"), ("id2", "a", "accept"),
         ("L1", "", "reject"), ("L2", "a", "relabel"), ("id3", "", "accept")]
    )  # fmt: skip
    assert summary["new_classes"] == {"A": "a", "zebra": None}
    assert summary["labels"] == {"A": 1, "a": 2, "b": 1, "zebra": 1}
    assert (summary["labels_taken"], summary["changed_labels"]) == (1, 1)
    assert summary["accepted_otherwise"] == 1
    assert summary["decisions"] == {"accept": 2, "relabel": 3, "reject": 1, "skip": 0}
    text = "\n".join(describe(summary))
    assert "new classes: 'A' (did you mean 'a'?), 'zebra'" in text


@pytest.mark.parametrize("row", [1, 2])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (("nope", "a", "relabel"), "image_id 'nope' is not in"),
        (("", "a", "relabel"), "no image_id"),
        (("id0", "a", "acept"), r"decision 'acept' \(did you mean 'accept'\?\) is not allowed"),
        (("id0", "a", ""), "decision '' is not allowed; use accept, relabel, reject, skip"),
        (("id0", "", "relabel"), "relabel without a label"),
        (("id0", "a|b", "relabel"), r"label 'a\|b' holds '\|'"),
        (("id0", "a\nb", "relabel"), "control character"),
        (("id0", "a\x07b", "relabel"), "control character"),
        (("cluster:9", "a", "relabel"), "no cluster 9 in a.csv, which has clusters 0 to 1"),
        (("cluster:x", "a", "relabel"), "'cluster:x' names no cluster"),
        (("cluster:" + "9" * 5000, "a", "relabel"), "names no cluster"),
        (("id5", "", "accept"), "no predicted label to accept"),
    ],
)
def test_every_bad_row_is_named_in_one_line(verdicts, row, bad, message):
    rows = [("id1", "b", "relabel")] * (row - 1) + [bad]
    with pytest.raises(DataError, match=message) as error:
        verdicts(rows)
    text = str(error.value)
    # A label with a line break makes its row end a line later.
    assert f"r0.csv, line {row + 1 + bad[1].count(chr(10))}: " in text
    assert len(text) < 400
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"image_id,label,decision\n", "no rows"),
        (b"image_id,lable,decision\nx,a,accept\n", r"no column 'label' \(did you mean 'lable'\?\)"),
        (b"image_id:label:decision\nx:a:accept\n", "no column 'image_id'"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "not UTF-8"),
        (b"image_id,label,decision\nx,a,accept,b\n", "4 cells for 3 columns"),
        (b'image_id,label,decision\nx,"a,accept\n', "cannot be read as a table"),
        (b"image_id,label,decision,label\nx,a,accept,b\n", "two columns 'label'"),
        (
            b"image_id,label,decision\nx," + b"a" * 10_000_000 + b",relabel\n",
            "line 2: more than",
        ),
    ],
)
def test_every_bad_file_is_named_in_one_line(command, run, assignment, tmp_path, content, message):
    path = tmp_path / "reviews.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        review(path, run.path)
    code, out, err = command("review", path, "--run", run.path)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert len(err) < 500


def test_a_folder_is_no_reviews_file(command, run, assignment, tmp_path):
    code, _, err = command("review", tmp_path, "--run", run.path)
    assert code == 1
    assert "cannot be read as a table: Is a directory" in err


def test_later_reviews_win_over_earlier_ones(sample, config, tmp_path):
    from clusterkit import read_manifest
    from clusterkit.reviewing import apply_reviews

    manifest = read_manifest(sample / "labels.csv", config)
    first, second = manifest["image_id"][:2]
    one = write(tmp_path / "1.csv", (first, "odd", "relabel"), (second, "odd", "relabel"))
    files = [one, write(tmp_path / "2.csv", (first, "", "skip"), (second, "rod", "relabel"))]
    after = apply_reviews(manifest, files, sample).manifest.set_index("image_id")
    before = manifest.set_index("image_id")
    assert after.loc[first, ["label", "provenance"]].tolist() == [before["label"][first], "given"]
    assert after.loc[second, ["label", "provenance"]].tolist() == ["rod", "reviewed"]
    backwards = apply_reviews(manifest, files[::-1], sample).manifest.set_index("image_id")
    assert backwards.loc[[first, second], "label"].tolist() == ["odd", "odd"]


def test_no_file_and_no_assignments(command, run, sample, tmp_path):
    code, _, err = command("review", tmp_path / "none.csv")
    assert code == 1
    assert "does not exist" in err
    path = write(tmp_path / "r.csv", ("x", "a", "relabel"))
    code, _, err = command("review", path)
    assert code == 1
    assert "clusterkit assign" in err
    with pytest.raises(DataError, match="put it beside the reviews file"):
        fit(sample / "labels.csv", reviews=[write(path, ("cluster:0", "a", "relabel"))])
    with pytest.raises(DataError, match="put the reviews beside"):
        fit(sample / "labels.csv", reviews=[write(path, ("nope", "a", "relabel"))])


def test_a_row_of_other_clusters_is_noticed(reviewed, refused, tmp_path):
    path = write(tmp_path / "r.csv", ("cluster:0", "x", "relabel"))
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows["image"] = refused["image"].iloc[7]
    rows.to_csv(path, index=False)
    assert review(path, reviewed)["clusters"][0]["size"] == 8
    rows["image"] = refused["image"].iloc[8]
    rows.to_csv(path, index=False)
    with pytest.raises(DataError, match="does not hold the image"):
        review(path, reviewed)


def test_formulas_are_read_back(verdicts):
    settled, _ = verdicts([("id0", "=1+1", "relabel"), ("id1", "'tis", "relabel")])
    assert labels_of(settled) == {"id0": "=1+1", "id1": "'tis"}


def test_review_command(command, reviewed, refused, tmp_path):
    rows = (refused["image_id"].iloc[0], "ringe", "relabel"), ("cluster:0", "rod", "relabel")
    path = write(tmp_path / "r.csv", *rows)
    code, out, _ = command("review", path, "--run", reviewed)
    assert code == 0
    assert "'ringe' (did you mean 'ring'?)" in out
    code, out, _ = command("review", path, "--run", reviewed, "--json")
    found = json.loads(out)
    assert found["clusters"] == [
        {"cluster": 0, "decision": "relabel", "label": "rod", "size": 8, "taken": 7,
         "looked_at": 1, "agreeing": 0, "file": "r.csv"}
    ]  # fmt: skip
    assert found["labels"] == {"ringe": 1, "rod": 7}
    # Beside an assignments.csv no --run is needed.
    code, out, _ = command("review", write(reviewed / "r.csv", *rows), "--json")
    assert code == 0
    assert json.loads(out) == found


def test_reviews_become_labels_of_the_next_run(run, sample, reviewed, refused, tmp_path):
    """Ten images one by one and a cluster by its name; labels, provenance and groups arrive."""
    named, singles = refused.head(8), refused.iloc[7:17]
    given = pd.read_csv(run.path / "manifest.csv", dtype=str).set_index("image_id")
    taken, changed = given.index[0], given.index[1]
    truth = pd.read_csv(sample / "truth.csv", keep_default_na=False).set_index("image")["label"]
    path = write(
        reviewed / "r.csv",
        *[(row.image_id, truth[row.image] or "odd", "relabel") for row in singles.itertuples()],
        ("cluster:0", "odd", "relabel"), (taken, "", "reject"), (changed, "odd", "relabel"),
    )  # fmt: skip
    # No --unlabeled: the images are found where the assignments say they were.
    again = fit(sample / "labels.csv", config=run.config, run=tmp_path / "again", reviews=[path])
    loaded = clusterkit.Run.load(again.path).manifest.set_index("image_id")
    assert "odd" in again.classes
    text = (again.path / "manifest.csv").read_text().splitlines()[0]
    assert text.split(",")[-1] == "provenance"
    for row in singles.itertuples():
        assert loaded.loc[row.image_id, "label"] == (truth[row.image] or "odd")
        assert loaded.loc[row.image_id, "provenance"] == "reviewed"
        assert loaded.loc[row.image_id, "group"] == row.group
    for row in named.head(7).itertuples():
        assert loaded.loc[row.image_id, ["label", "provenance"]].tolist() == ["odd", "cluster:0"]
    assert taken not in loaded.index
    assert loaded.loc[changed, ["label", "provenance"]].tolist() == ["odd", "reviewed"]
    assert (loaded.loc[given.index[2:], "provenance"] == "given").all()
    assert again.info["reviews"]["provenance"]["given"] == len(given) - 2
    assert str(tmp_path) not in (again.path / "run.json").read_text()


def test_images_outside_the_data_root_are_found_again(run, sample, config, tmp_path, command):
    """A reviewed image of another folder, with a name that a labelled image has too."""
    labelled = pd.read_csv(sample / "labels.csv")["image"]
    unlabelled = pd.read_csv(sample / "unlabeled.csv")["image"]
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    (elsewhere / labelled[0]).parent.mkdir(parents=True)
    out.mkdir()
    shutil.copy(sample / unlabelled[0], elsewhere / labelled[0])
    clusterkit.assign(run, elsewhere, config=config, out=out / "assignments.csv")
    (row,) = read_assignments(out / "assignments.csv").itertuples()
    path = write(out / "reviews.csv", (row.image_id, "ring", "relabel"))
    again = fit(sample / "labels.csv", config=config, run=tmp_path / "again", reviews=[path])
    added = again.manifest[again.manifest["provenance"] == "reviewed"]
    assert added["image"].tolist() == [f"elsewhere/{labelled[0]}"]
    found = clusterkit.Run.load(again.path).find_image(added["image"].iloc[0])
    assert found.read_bytes() == (elsewhere / labelled[0]).read_bytes()
    assert again.find_image(labelled[0]).read_bytes() == (sample / labelled[0]).read_bytes()
    # Changed since: it is not the image that somebody looked at.
    shutil.copy(sample / unlabelled[1], elsewhere / labelled[0])
    with pytest.raises(DataError, match="bytes have changed"):
        fit(sample / "labels.csv", config=config, run=tmp_path / "third", reviews=[path])
    (elsewhere / labelled[0]).unlink()
    code, _, err = command("fit", sample / "labels.csv", "--reviews", path, "--run", tmp_path / "x")
    assert code == 1
    assert "1 reviewed images cannot be used" in err
    assert not (tmp_path / "x").exists()


def test_a_held_out_patient_s_reviewed_image_is_held_out(sample, config, assignment, tmp_path):
    """With a split of the data's own, a review must not put a patient on both sides."""
    from clusterkit import read_manifest
    from clusterkit.reviewing import apply_reviews

    labels = pd.read_csv(sample / "labels.csv", dtype=str)
    groups = sorted(labels["group"].unique())
    labels["split"] = labels["group"].map(lambda g: "valid" if g in groups[:3] else "train")
    hidden = labels["group"] == groups[0]
    labels.loc[hidden & hidden.cumsum().gt(1), ["label", "split"]] = ""
    labels.to_csv(tmp_path / "labels.csv", index=False)
    settings = override(config, data__images=str(sample))
    manifest = read_manifest(tmp_path / "labels.csv", settings)
    open_rows = manifest[manifest["label"].isna()]
    assert len(open_rows)
    path = write(tmp_path / "r.csv", (open_rows["image_id"].iloc[0], "ring", "relabel"))
    after = apply_reviews(manifest, [path], sample).manifest.set_index("image_id")
    assert after.loc[open_rows["image_id"].iloc[0], "split"] == "valid"
    assert after.loc[open_rows["image_id"].iloc[0], "provenance"] == "reviewed"


def test_a_rejected_image_is_neither_labelled_nor_learned_from(sample, config, tmp_path):
    """Self-training must not give what a person refused: it is not in the pool."""
    from clusterkit import read_manifest
    from clusterkit.data.labelled import load_labelled
    from clusterkit.reviewing import apply_reviews
    from clusterkit.training.pool import choose_pool

    settings = override(config, data__unlabeled=str(sample / "unlabeled"))
    manifest = read_manifest(sample / "labels.csv", settings)
    ids = manifest["image_id"][manifest["label"].isna() & (manifest["image_id"] != "")]
    ids = [i for i in ids if i not in set(manifest["image_id"][manifest["label"].notna()])]
    path = write(tmp_path / "r.csv", (ids[0], "", "reject"), (ids[1], "ring", "relabel"))
    applied = apply_reviews(manifest, [path], sample, sample / "unlabeled")
    data = load_labelled(applied.manifest, settings, lambda *_: None)
    assert ids[1] in set(data.rows["image_id"])
    assert ids[0] not in set(data.rows["image_id"])
    by_id = manifest.set_index("image_id")["path"]
    pool = [path for path, _ in choose_pool(applied.manifest, data, settings)]
    assert by_id[ids[0]] not in pool
    assert by_id[ids[1]] not in pool
    assert by_id[ids[2]] in pool


def test_reviewed_images_without_a_group_are_pointed_out(sample, config, reviewed, refused, caplog):
    from clusterkit import read_manifest
    from clusterkit.reviewing import apply_reviews

    table = read_assignments(reviewed / "assignments.csv").assign(group="")
    write_assignments(table, reviewed / "assignments.csv")
    path = write(reviewed / "r.csv", (refused["image_id"].iloc[0], "ring", "relabel"))
    apply_reviews(read_manifest(sample / "labels.csv", config), [path], sample)
    assert "1 reviewed images have no group" in caplog.text


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds(tmp_path):
    n = 100_000
    table = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(n)],
            "image_id": [f"id{i}" for i in range(n)],
            "predicted_label": "a",
            "cluster": pd.array([0] * (n // 2) + [1] * (n // 2), dtype="Int64"),
            "group": "",
        }
    )
    path = write(
        tmp_path / "r.csv",
        *[(f"id{i}", "b", "relabel") for i in range(0, n, 2)],
        ("cluster:0", "c", "relabel"),
    )
    none = pd.DataFrame({"image_id": [], "label": []}, dtype=object)
    started = time.perf_counter()
    spread = [spread_reviews(path, Assigned(table, tmp_path, "a.csv"), none)]
    summary = summarise(spread, settle(spread, none), none)
    assert summary["labels"] == {"b": n // 2, "c": n // 4}
    # Seconds on a machine of its own; a square of them would be hours.
    assert time.perf_counter() - started < 90


def test_a_cluster_row_repeated_does_not_multiply_its_images(table, tmp_path):
    assigned = Assigned(table, tmp_path, "assignments.csv")
    size = int((table["cluster"] == 0).sum())
    rows = [("cluster:0", "first", "relabel")] * 500 + [("cluster:0", "last", "relabel")]
    spread = spread_reviews(write(tmp_path / "r.csv", *rows), assigned, table[:0].assign(label=""))
    assert len(spread.spread) == size
    assert set(spread.spread["label"]) == {"last"}


@pytest.mark.parametrize(
    "record", ['{"input_root": "/etc"}', '{"input_root": "a\\u0000b"}', '{"input_root": "\\ud800"}']
)
def test_an_input_root_that_assign_never_writes(command, reviewed, refused, record):
    (reviewed / "assignments.json").write_text(record)
    reviews = write(reviewed / "r.csv", (refused["image_id"].iloc[0], "ring", "relabel"))
    code, _, err = command("review", reviews)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "input_root" in err


def test_an_assignments_json_of_nested_brackets_is_passed_over(command, reviewed, refused):
    (reviewed / "assignments.json").write_text("[" * 100_000)
    reviews = write(reviewed / "r.csv", (refused["image_id"].iloc[0], "ring", "relabel"))
    assert command("review", reviews)[0] == 0


def test_a_prediction_that_is_no_label_cannot_be_accepted(table, tmp_path):
    bad = table.assign(predicted_label="a\nb")
    assigned = Assigned(bad, tmp_path, "assignments.csv")
    path = write(tmp_path / "r.csv", (table["image_id"].iloc[0], "", "accept"))
    with pytest.raises(DataError, match="control character"):
        spread_reviews(path, assigned, table[:0].assign(label=""))
