"""`export --to fiftyone` and `review --from`: with the real FiftyOne and a database of its own."""

import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clusterkit import read_assignments
from clusterkit.errors import DataError
from clusterkit.exporting.export import export
from clusterkit.formats.assignments import write_assignments
from clusterkit.reviewing import review
from tests.exporting.fiftyone_server import Server, open_fiftyone
from tests.exporting.test_export import stack  # noqa: F401

pytestmark = [
    pytest.mark.slow,
    # Of the libraries that FiftyOne uses.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("mongo") / "db")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fo(server, tmp_path_factory):
    return open_fiftyone(server, tmp_path_factory.mktemp("fiftyone"))


@pytest.fixture(autouse=True)
def _clean(fo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    for name in fo.list_datasets():
        fo.delete_dataset(name)


@pytest.fixture
def csv(run, assignment, tmp_path) -> Path:
    """The run's assignments with rows of each status, which so small a run does not give."""
    table = read_assignments(run.path / "assignments.csv")
    refused = table.index[table["status"] == "review"]
    table.loc[refused[:12], ["status", "order"]] = "assigned", pd.NA
    table.loc[refused[-6:], "status"] = "novel"
    table.loc[refused[-6:], "cluster"] = [0, 0, 0, 1, 1, 1]
    return write_batch(run, table, tmp_path / "batch")


def write_batch(run, table: pd.DataFrame, folder: Path) -> Path:
    """Write assignments of the run's batch into a folder of their own."""
    folder.mkdir(exist_ok=True)
    write_assignments(table, folder / "assignments.csv")
    record = json.loads((run.path / "assignments.json").read_text())
    record["input_root"] = os.path.relpath(run.path / record["input_root"], folder)
    (folder / "assignments.json").write_text(json.dumps(record))
    return folder / "assignments.csv"


@pytest.fixture
def made(fo, run, csv, tmp_path):
    """The dataset of a first export."""
    again(run, csv)
    return fo.load_dataset("made")


def again(run, csv, **options):
    out = csv.parent.parent / "out"
    return export(run, "fiftyone", out, name="made", assignments=csv, **options)


def values(dataset, field: str) -> dict:
    return dict(zip(dataset.values("image_name"), dataset.values(field), strict=True))


# What is there --------------------------------------------------------------------------------


def test_whoever_opens_it_finds_what_clusterkit_knows(made, run, csv):
    table = read_assignments(csv)
    table = table[table["status"] != "failed"].set_index("image")
    rows = made.match_tags("labelled", bool=False)
    assert made.persistent
    assert set(rows.values("image_name")) == set(table.index)
    for field in ("image_id", "nearest_image", "nearest_label"):
        found = values(rows, field)
        assert all((found[i] or "") == v for i, v in table[field].items())
    for field in ("order", "cluster", "similarity", "novelty_p", "nearest_similarity"):
        found = values(rows, field)
        for image, value in table[field].items():
            assert (found[image] is None) == pd.isna(value)
            assert found[image] is None or found[image] == pytest.approx(float(value), abs=1e-6)
    sets = values(rows, "label_set")
    assert all("|".join(sets[i] or []) == v for i, v in table["label_set"].items())
    answered = table["status"].isin(["assigned", "review", "duplicate"])
    predicted = values(rows, "prediction.label")
    assert {i: v for i, v in predicted.items() if v} == table["predicted_label"][answered].to_dict()
    known = made.match_tags("labelled")
    assert values(known, "ground_truth.label") == run.manifest.set_index("image")["label"].to_dict()
    assert made.default_classes == run.classes
    assert made.classes["review"] == run.classes
    # The App begins with the first one, which is no answer.
    assert made.label_schemas["review"]["classes"] == ["?", *run.classes]
    assert made.active_label_schemas == ["review"]
    assert all(Path(path).is_file() for path in made.values("filepath"))


def test_views_embeddings_and_similar_images(made, csv):
    status = read_assignments(csv)["status"].value_counts()
    sizes = {name: len(made.load_saved_view(name)) for name in made.list_saved_views()}
    assert sizes == {
        "clusterkit: assigned": status.get("assigned", 0),
        "clusterkit: to review": status.get("review", 0) + status.get("novel", 0),
        "clusterkit: labelled": made.count_sample_tags()["labelled"],
        "clusterkit: new kinds by cluster": 6,
    }
    order = made.load_saved_view("clusterkit: to review").values("order")
    assert order == sorted(order)
    kinds = made.load_saved_view("clusterkit: new kinds by cluster").values("cluster")
    assert kinds == [0, 0, 0, 1, 1, 1]
    assert all(v is not None for v in made.values("embedding"))
    first = made.first()
    near = made.sort_by_similarity(first.id, k=3, brain_key="clusterkit_similarity")
    assert near.first().id == first.id
    # A labelled image's vector is that of the run, a new one's is computed: one space.
    twin = made.match_tags("duplicate").first()
    same = made.match(fo_field("image_id") == twin.image_id).values("embedding")
    assert len(same) == 2
    assert np.allclose(same[0], same[1], atol=1e-2)


def fo_field(name: str):
    from fiftyone import ViewField

    return ViewField(name)


def test_stacks_are_written_as_pictures(fo, run, stack, tmp_path):  # noqa: F811
    export(run, "fiftyone", tmp_path / "out", assignments=stack, name="n")
    dataset = fo.load_dataset("n").match_tags("labelled", bool=False)
    rows = read_assignments(stack)
    assert dataset.values("image_id") == rows["image_id"].tolist()
    assert dataset.values("tags") == [[s] for s in rows["status"]]
    assert dataset.values("cluster") == [None, None, 1, 3]
    assert dataset.values("prediction.confidence") == [0.5, 0.5, 0.5, None]
    paths = [Path(path) for path in dataset.values("filepath")]
    assert all(path.is_file() for path in paths)
    assert [path.parent == tmp_path / "out" / "images" for path in paths] == [
        False,
        False,
        True,
        True,
    ]


# A second export ------------------------------------------------------------------------------


def test_what_a_person_added_stays(fo, made, run, csv, tmp_path):
    from fiftyone import brain

    made.add_sample_field("quality", fo.StringField)
    sample = made.match_tags("review").first()
    sample["quality"] = "poor"
    sample.tags.append("ask Ana")
    sample.prediction.tags.append("looked at")
    sample.prediction["stain"] = "faint"
    sample["review"] = fo.Classification(label="odd")
    sample.save()
    made.save_view("mine", made.match_tags("ask Ana"))
    made.save_view("clusterkit: assigned", made.match_tags("ask Ana"), overwrite=True)
    brain.compute_uniqueness(made, embeddings="embedding", uniqueness_field="rare")
    runs, fields = set(made.list_brain_runs()), set(made.get_field_schema())
    made.info["note"] = "of the clinic"
    made.classes = made.classes | {"review": ["odd", *made.classes["review"]]}
    made.save()
    added = fo.Sample(filepath=str(tmp_path / "own.png"), tags=["own"])
    made.add_sample(added)
    before = {s.id: s.to_dict() for s in made}
    again(run, csv)
    made.reload()
    after = made[sample.id]
    assert (after["quality"], after.review.label) == ("poor", "odd")
    assert after.tags == sample.tags
    assert (after.prediction.tags, after.prediction.stain) == (["looked at"], "faint")
    assert made.list_saved_views().count("clusterkit: assigned") == 1
    assert (
        len(made.load_saved_view("mine")) == len(made.load_saved_view("clusterkit: assigned")) == 1
    )
    assert set(made.list_brain_runs()) == runs
    assert set(made.get_field_schema()) - fields == {"review_time"}
    assert made.info["note"] == "of the clinic"
    assert made.classes["review"][0] == "odd"
    for one in made:
        old, new = before.pop(one.id), one.to_dict()
        if one.id != sample.id:
            assert new.pop("review_time", None) is None
            assert new == old
    assert not before


def test_own_fields_are_renewed(fo, made, run, csv):
    """Of an image whose row has changed; the others are not written."""
    table = read_assignments(csv)
    chosen = made.match_tags("review").first()
    accepted = made.match_tags("review").skip(1).first()
    accepted.tags.append("accept")
    accepted.save()
    other = next(c for c in run.classes if c != accepted.prediction.label)
    for sample, status, label in ((chosen, "novel", chosen.prediction.label),
                                  (accepted, "assigned", other)):  # fmt: skip
        table.loc[table["image_id"] == sample.image_id, ["status", "predicted_label"]] = (
            status,
            label,
        )
    write_batch(run, table, csv.parent)
    result = again(run, csv)
    made.reload()
    assert made[chosen.id].tags == ["novel"]
    assert made[chosen.id].prediction is None
    renewed = made[accepted.id]
    # What a person accepted is another label than the one that is predicted now.
    assert (renewed.tags, renewed.prediction.label) == (["assigned"], other)
    assert renewed.review.label == accepted.prediction.label != other
    assert "1 labels that were changed there are in the field review now" in result.next
    untouched = made.match_tags("duplicate").first()
    assert untouched.last_modified_at == untouched.created_at


def test_images_that_are_not_exported_any_more(fo, made, run, csv):
    sample = made.match_tags("review").first()
    sample["review"] = fo.Classification(label="odd")
    sample.save()
    result = again(run, csv, status="novel", copy=True)
    count = sum("earlier" in tags for tags in made.values("tags"))
    assert f"{count} samples of an earlier export stay, with the tag earlier" in result.next
    made.reload()
    assert made[sample.id].review.label == "odd"
    assert "review" not in made.distinct("tags")
    again(run, csv, status="novel,review", copy=True)
    again(run, csv, status="novel", copy=True)
    made.reload()
    assert all(Path(path).is_file() for path in made.values("filepath"))


def test_a_label_changed_there_becomes_a_review(fo, made, run, csv):
    made.match_tags("review").limit(2).map_labels(
        "prediction", dict.fromkeys(run.classes, "renamed")
    ).save()
    result = again(run, csv)
    made.reload()
    assert made.match_tags("review").limit(3).values("review.label") == ["renamed", "renamed", None]
    assert "renamed" not in made.distinct("prediction.label")
    assert "2 labels that were changed there are in the field review now" in result.next


# What is refused ------------------------------------------------------------------------------


def test_datasets_that_are_not_to_be_written(fo, made, run, tmp_path, command):
    fo.Dataset("own", persistent=True).add_sample(fo.Sample(filepath="a.png"))
    made.clone("other").info["clusterkit_export"] = "0" * 16
    other = fo.load_dataset("other")
    other.persistent = True
    other.save()
    field = made.clone("field", persistent=True)
    field.info["clusterkit"]["fields"].remove("order")
    field.save()
    before = {n: [s.to_dict() for s in fo.load_dataset(n)] for n in ("own", "other", "field")}
    for name, said in [
        ("own", "has a dataset 'own' that export did not make; give another --name"),
        ("other", f"is of another run (id {'0' * 16}; this one's is {run.info.id})"),
        ("field", "has a field 'order' that export did not make and would overwrite"),
        ("Made", "cannot tell the name 'Made' from that of its dataset 'made'"),
        ("ü", "'ü' is no name for a dataset"),
    ]:
        code, out, err = command("export", "--to", "fiftyone", "--run", run.path, "--name", name,
                                 "--out", tmp_path / "new")  # fmt: skip
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
    assert before == {n: [s.to_dict() for s in fo.load_dataset(n)] for n in before}
    assert not (tmp_path / "new").exists()


def test_two_names_are_two_folders(fo, run, assignment, tmp_path, command):
    for name in ("a", "b", "a"):
        code, out, _ = command("export", "--to", "fiftyone", "--run", run.path, "--copy",
                               "--name", name, "--json")  # fmt: skip
        assert code == 0
        assert Path(json.loads(out)["path"]) == run.path / "export" / "fiftyone" / name
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    export(run, "fiftyone", tmp_path / "x", copy=True, name="c")
    for to, name in (("fiftyone", "d"), ("coco", None)):
        with pytest.raises(DataError, match="holds the pictures of the dataset 'c'; give another"):
            export(run, to, tmp_path / "x", copy=True, name=name)
    for name in ("a", "b", "c"):
        paths = fo.load_dataset(name).values("filepath")
        assert len(set(paths)) == len(paths)
        assert all(Path(path).is_file() for path in paths)
    assert not fo.dataset_exists("d")
    shutil.rmtree(run.path / "export")


# The way back ---------------------------------------------------------------------------------


def test_labels_and_tags_come_back(fo, made, run, csv, command):
    rows = read_assignments(csv).set_index("image_id")
    assigned = list(made.match_tags("review").limit(5))
    novel = made.match_tags("novel").first()
    known = made.match_tags("labelled").first()
    undecided = made.match_tags("novel").last()
    undecided["review"] = fo.Classification(label="?")
    undecided.save()
    assigned[0].tags.append("accept")
    assigned[1].tags.append("Reject")
    assigned[2]["review"] = fo.Classification(label=assigned[2].prediction.label)
    assigned[3].prediction.tags.append("skip")
    assigned[4]["review"] = fo.Classification(label="größe 2", reviewer="Ana")
    novel["review"] = fo.Classification(label=" a new kind ")
    known.ground_truth.label = "wrong before"
    for sample in [*assigned, novel, known]:
        sample.save()
    # What comes back is said by FiftyOne's last change, not by the export that wrote it anew.
    times = {s.image_id: made[s.id].last_modified_at for s in [*assigned, novel, known]}
    code, out, err = command(
        "review", "--from", "fiftyone:made", "--run", run.path, "--out", "r.csv"
    )
    assert code == 0, err
    assert f"--reviews r.csv --reviews-of {run.path}" in out
    assert "new classes: 'a new kind', 'größe 2', 'wrong before'" in out
    found = pd.read_csv("r.csv", keep_default_na=False).set_index("image_id")
    said = [(s.image_id, decision, label) for s, decision, label in [
        (assigned[0], "accept", rows["predicted_label"][assigned[0].image_id]),
        (assigned[1], "reject", ""),
        (assigned[2], "accept", rows["predicted_label"][assigned[2].image_id]),
        (assigned[3], "skip", ""),
        (assigned[4], "relabel", "größe 2"),
        (novel, "relabel", "a new kind"),
        (known, "relabel", "wrong before"),
    ]]  # fmt: skip
    assert sorted(zip(found.index, found["decision"], found["label"], strict=True)) == sorted(said)
    assert found["reviewer"][assigned[4].image_id] == "Ana"
    assert set(found["reviewer"]) == {"Ana", "fiftyone"}
    for image_id, time in times.items():
        assert found["time"][image_id] == time.strftime("%Y-%m-%dT%H:%M:%SZ")
    again(run, csv)
    summary = review("fiftyone:made", run.path)
    assert summary["decisions"] == {"accept": 2, "relabel": 3, "reject": 1, "skip": 1}
    assert review("fiftyone:made")["against"] == str(csv)


def test_answers_that_contradict_themselves(fo, made, run, command):
    sample, novel = made.match_tags("review").first(), made.match_tags("novel").first()
    for one, tags, label, said in [
        (sample, ["accept", "reject"], None, "it has the tags accept and reject; keep one"),
        (sample, ["reject"], "odd", "it has the tag reject and the label 'odd'"),
        (sample, ["accept"], "odd", "it has the tag accept and the label 'odd'"),
        (sample, ["skip"], "odd", "it has the tag skip and the label 'odd'"),
        (novel, ["accept"], None, "no label was predicted for it"),
        (sample, [], "a|b", "label 'a|b' holds '|'"),
    ]:
        own = list(one.tags)
        one.tags = own + tags
        one["review"] = fo.Classification(label=label) if label else None
        one.save()
        code, _, err = command("review", "--from", "fiftyone:made", "--run", run.path)
        assert (code, err.count("\n")) == (1, 1)
        assert said in err
        assert f"'{one.image_name}'" in err
        one.tags, one["review"] = own, None
        one.save()


def test_what_cannot_be_read_back(fo, made, run, command):
    fo.Dataset("own").add_sample(fo.Sample(filepath="a.png"))
    for arguments, code, said in [
        (("--from", "fiftyone:made"), 1, "none of its"),
        (("--from", "fiftyone:own"), 1, "has no field image_id"),
        (("--from", "fiftyone:mad"), 1, "FiftyOne has no dataset 'mad'; it has made, own"),
        (("--from", "made"), 1, "write fiftyone:NAME"),
        ((), 2, "Give REVIEWS, or --from fiftyone:NAME."),
        (("r.csv", "--from", "fiftyone:made"), 2, "Give REVIEWS or --from, not both."),
    ]:
        found, _, err = command("review", *arguments, "--run", run.path)
        assert found == code
        assert said in err


def test_labels_set_there_are_in_the_next_run(fo, made, run, csv, sample, tmp_path, command):
    """The steps that export prints, taken as they are."""
    result = again(run, csv)
    new = list(made.match_tags("novel"))[:3]
    for one in new:
        one["review"] = fo.Classification(label="a new kind")
        one.save()
    step = shlex.split(next(line for line in result.next if line.startswith("clusterkit review")))
    code, out, err = command(*step[1:])
    assert code == 0, err
    step = shlex.split(next(line for line in out.splitlines() if "clusterkit fit" in line))
    # LABELED stands for the labels, which the command cannot know.
    given = [str(sample / "labels.csv") if word == "LABELED" else word for word in step]
    options = [*given[given.index("fit") + 1 :], "--backbone", "squeezenet1_1", "--weights", "none",
               "--size", "48", "--epochs", "1", "--run", str(tmp_path / "next")]  # fmt: skip
    code, out, err = command("fit", *options)
    assert code == 0, err
    manifest = pd.read_csv(tmp_path / "next" / "manifest.csv", keep_default_na=False)
    named = manifest[manifest["label"] == "a new kind"]
    assert set(named["image_id"]) == {one.image_id for one in new}


# The database ---------------------------------------------------------------------------------


def test_a_database_that_dies_in_the_middle(
    fo, made, run, csv, server, tmp_path, command, monkeypatch
):
    sample = made.match_tags("review").first()
    sample.tags.append("ask Ana")
    sample.save()
    ids = made.values("id")
    table = read_assignments(run.path / "assignments.csv")
    table["reason"] = "Another."
    table["order"] = table["order"].max() - table["order"] + 1
    write_batch(run, table, csv.parent)
    arguments = ("export", "--to", "fiftyone", "--run", run.path, "--name", "made", "--out",
                 tmp_path / "out", "--assignments", csv)  # fmt: skip
    whole = type(made).set_values
    done = []

    def dying(self, field, *rest, **more):
        done.append(field)
        if len(done) == 2:
            server.stop()
        return whole(self, field, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(made), "set_values", dying)
        code, out, err = command(*arguments)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: FiftyOne's database stopped answering while the "
                                           "dataset made was written")  # fmt: skip
    assert "run the same command again" in err
    assert "--out" not in err
    code, _, err = command(*arguments)
    assert code == 1
    assert "FiftyOne's database cannot be reached" in err
    code, _, err = command("review", "--from", "fiftyone:made", "--run", run.path)
    assert code == 1
    assert "FiftyOne's database cannot be reached" in err
    server.start()
    code, _, err = command(*arguments)
    assert code == 0, err
    made.reload()
    assert made.values("id") == ids
    assert "ask Ana" in made[sample.id].tags
    reasons = made.match_tags("labelled", bool=False).values("reason")
    assert set(reasons) == {"Another."}
    assert fo.list_datasets() == ["made"]
