"""What FiftyOne is told and what its answers mean, without FiftyOne."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clusterkit.errors import DataError
from clusterkit.exporting.output_folder import Names, new_folder
from clusterkit.exporting.selection import choose_statuses, load_batch
from clusterkit.exporting.voxel51 import default_name
from clusterkit.exporting.voxel51_embeddings import embeddings_of
from clusterkit.exporting.voxel51_samples import row_samples, with_labelled
from clusterkit.formats.fiftyone_answers import LabelThere, SampleThere, review_of
from clusterkit.reviewing import review
from tests.exporting.test_export import stack  # noqa: F401

RING = LabelThere("ring", exported="ring")


@pytest.mark.parametrize(
    ("sample", "decision", "label"),
    [
        (SampleThere("a", given=RING), None, ""),
        (SampleThere("a", given=RING, tags=("assigned", "Ana")), None, ""),
        (SampleThere("a", given=RING, tags=(" Accept",)), "accept", "ring"),
        (SampleThere("a", given=LabelThere("ring", "ring", ("accept",))), "accept", "ring"),
        (SampleThere("a", given=RING, tags=("reject",)), "reject", ""),
        (SampleThere("a", given=RING, tags=("skip",)), "skip", ""),
        (SampleThere("a", given=RING, review="ring"), "accept", "ring"),
        (SampleThere("a", given=RING, review="ring", tags=("accept",)), "accept", "ring"),
        (SampleThere("a", given=RING, review="rod"), "relabel", "rod"),
        (SampleThere("a", review="größe"), "relabel", "größe"),
        # Another label in the place of what was exported.
        (SampleThere("a", given=LabelThere("rod", "ring")), "relabel", "rod"),
        (SampleThere("a", given=LabelThere("rod", "ring"), review="rod"), "relabel", "rod"),
        (SampleThere("a", given=LabelThere("rod", "")), "relabel", "rod"),
        # A label that was deleted is no answer.
        (SampleThere("a", given=LabelThere("", "ring")), None, ""),
    ],
)
def test_what_an_answer_means(sample, decision, label):
    row = review_of(sample, "here")
    assert (row and row["decision"]) == decision
    assert (row or {"label": ""})["label"] == label


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (SampleThere("a", given=RING, tags=("accept", "skip")), "tags accept and skip; keep one"),
        (SampleThere("a", given=RING, tags=("accept",), review="rod"), "tag accept and the label"),
        (SampleThere("a", given=RING, tags=("reject",), review="ring"), "tag reject and the label"),
        (SampleThere("a", given=RING, tags=("skip",), review="ring"), "tag skip and the label"),
        (SampleThere("a", tags=("accept",)), "no label was predicted for it"),
        (SampleThere("a", given=LabelThere("rod", "ring"), review="dots"), "make them equal"),
        (
            SampleThere("a", given=LabelThere("rod", "ring"), tags=("accept",)),
            "'ring' was exported",
        ),
    ],
)
def test_a_contradiction_is_refused_by_name(sample, said):
    with pytest.raises(DataError, match=r"^here: ") as refused:
        review_of(sample, "here")
    assert said in str(refused.value)


def test_who_and_when():
    sample = SampleThere("a", "a.png", RING, "rod", time=datetime(2026, 1, 2, 3, 4, 5, 600))
    row = review_of(sample, "here")
    assert row == {
        "image_id": "a", "image": "a.png", "label": "rod", "decision": "relabel",
        "reviewer": "fiftyone", "time": "2026-01-02T03:04:05Z", "note": "FiftyOne",
    }  # fmt: skip
    zoned = SampleThere("a", review="x", time=datetime(2026, 1, 1, tzinfo=UTC), reviewer="Ana")
    assert (review_of(zoned, "")["time"], review_of(zoned, "")["reviewer"]) == (
        "2026-01-01T00:00:00Z", "Ana",
    )  # fmt: skip


def test_what_it_is_told(run, stack, tmp_path):  # noqa: F811
    batch = load_batch(run, stack, choose_statuses("all", ()))
    names, folder = Names(), tmp_path / "new"
    rows = row_samples(batch, folder, tmp_path / "out", False, names)
    label = run.classes[0]
    assert [s.tags for s in rows] == [("assigned",), ("duplicate",), ("review",), ("novel",)]
    assert [s.predicted for s in rows] == [label, label, label, ""]
    assert [s.confidence for s in rows] == [0.5, 0.5, 0.5, None]
    assert rows[2].values == {"image_id": rows[2].key[0], "image_name": "stack.tif#1",
                              "group": "p", "reason": "Unsure.", "cluster": 1}  # fmt: skip
    assert Path(rows[0].path) == tmp_path / "in" / "plain one.png"
    shown = [Path(s.path).relative_to(tmp_path / "out") for s in rows[2:]]
    assert all((folder / path).is_file() for path in shown)
    everything = with_labelled(rows, batch, folder, tmp_path / "out", False, names)
    known = everything[len(rows) :]
    assert batch.added == {"labelled": len(run.manifest)}
    assert [s.known for s in known] == run.manifest["label"].tolist()
    assert {s.tags for s in known} == {("labelled",)}
    vectors, why = embeddings_of(everything, run, {})
    assert why == ""
    assert {v.shape for v in vectors} == {vectors[0].shape}
    stored = {s.key[0]: v * 0 for s, v in zip(rows, vectors, strict=False)}
    again, _ = embeddings_of(everything, run, stored)
    assert not any(again[0])


def test_names_of_datasets(run, tmp_path):
    assert default_name(run, None) == "clusterkit-run"
    assert default_name(run, run.path / "assignments.csv") == "clusterkit-run"
    assert default_name(run, tmp_path / "week 2" / "assignments.csv") == "clusterkit-run-week-2"


def test_pictures_of_another_dataset_are_not_replaced(tmp_path):
    out = tmp_path / "out"
    for name in ("a", "a"):
        with new_folder(out, {"to": "fiftyone", "name": name}) as folder:
            (folder / "a.png").write_text("")
    for about in ({"to": "fiftyone", "name": "b"}, {"to": "coco"}, {"to": "coco", "name": "a"}):
        with (
            pytest.raises(DataError, match="pictures of the dataset 'a'; give another --out"),
            new_folder(out, about),
        ):
            pass
    assert (out / "a.png").is_file()
    # One that shows the images where they are has nothing to lose.
    with new_folder(tmp_path / "none", {"to": "fiftyone", "name": "a"}):
        pass
    with new_folder(tmp_path / "none", {"to": "coco"}):
        pass


def test_without_fiftyone_one_line_says_how_to_get_it(command, run, assignment, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    for arguments in (("export", "--to", "fiftyone"), ("review", "--from", "fiftyone:a")):
        code, out, err = command(*arguments, "--run", run.path)
        assert (code, out) == (1, "")
        assert err == "error: FiftyOne is not installed; run: pip install 'clusterkit[export]'\n"
    with pytest.raises(DataError, match="write fiftyone:NAME"):
        review("fiftyone:", run.path)


@pytest.mark.parametrize("arguments", [(), ("r.csv", "--from", "fiftyone:a")])
def test_one_source_of_reviews(command, run, arguments):
    code, _, err = command("review", *arguments, "--run", run.path)
    assert code == 2
    assert "REVIEWS" in err
    assert "--from" in err
