"""Similar patients: the pooled similarity, who is ranked, and what became of them."""

import csv
import json
import shutil
import struct

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.special import expit
from scipy.stats import binomtest

from clusterkit import Run, fit, similar, similar_groups
from clusterkit.config import override
from clusterkit.data.outcome_table import read_outcomes
from clusterkit.errors import ClusterkitError, DataError, ImageError
from clusterkit.inference.predictor import Predictor
from clusterkit.methods.group_similarity import pool_groups
from clusterkit.methods.outcomes import interval_of
from clusterkit.retrieval.group_matches import NO_ADVICE
from clusterkit.retrieval.outcome_summary import summarise_outcomes

FIRST = ["similarity", "label", "image", "group"]


@pytest.fixture
def failing(command):
    def call(*arguments):
        code, out, err = command("similar", *arguments)
        assert code == 1, (out, err)
        assert "Traceback" not in err
        (line,) = [x for x in err.splitlines() if not x.startswith("warning:")]
        assert line.startswith("error: ")
        return line

    return call


@pytest.fixture
def groups(run):
    return sorted(set(run.manifest["group"]))


@pytest.fixture
def outcomes(groups, tmp_path):
    """Of nine patients: one is not in the CSV, one has no recurrence noted."""
    lines = ["group,recurrence,months,comment"]
    for i, group in enumerate(groups[:-1]):
        recurrence = "" if i == 3 else ("yes", "no", "=1+1")[i % 3]
        lines.append(f"{group},{recurrence},{6 + 3 * i},<script>alert({i})</script>")
    path = tmp_path / "outcomes.csv"
    path.write_text("\n".join([*lines, "somebody else,yes,3,\n"]), encoding="utf-8")
    return path


@pytest.fixture
def folder(run, groups, tmp_path):
    """A folder with copies of all images of one group, one of them hidden deeper."""
    images = run.manifest["image"][run.manifest["group"] == groups[4]]
    for i, image in enumerate(images):
        target = tmp_path / "patient" / ("deeper" if i == 0 else ".") / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.find_image(image), target)
    return tmp_path / "patient"


def naive_pool(s, codes):
    result = []
    for g in range(codes.max() + 1):
        columns = np.flatnonzero(codes == g)
        there = np.mean([max(s[a, b] for b in columns) for a in range(len(s))])
        back = np.mean([max(s[a, b] for a in range(len(s))) for b in columns])
        result.append((there + back) / 2)
    return np.array(result)


@st.composite
def pairs(draw):
    a, n = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    logits = draw(arrays(np.float32, (a, n), elements=st.floats(-8, 8, width=32)))
    codes = draw(arrays(np.int64, n, elements=st.integers(0, 3)))
    return logits, np.unique(codes, return_inverse=True)[1], draw(st.integers(1, 6))


@settings(deadline=None)
@given(pairs())
def test_pooling_is_the_naive_loop_whatever_the_blocks(case):
    logits, codes, height = case
    blocks = [logits[i : i + height] for i in range(0, len(logits), height)]
    found = pool_groups(blocks, codes, expit)
    s = expit(logits.astype(float))
    assert np.allclose(found.similarity, naive_pool(s, codes))
    assert np.allclose(found.logit, naive_pool(logits.astype(float), codes))
    assert ((found.similarity >= 0) & (found.similarity <= 1)).all()
    for g in range(codes.max() + 1):
        part = logits[:, codes == g]
        assert codes[found.closest[g]] == g
        assert logits[found.query[g], found.closest[g]] == part.max()
        assert found.closest_logit[g] == part.max()
        # The mean of best matches lies between the extremes of single pairs.
        assert part.min() - 1e-6 <= found.logit[g] <= part.max() + 1e-6
        back = pool_groups([part.T], np.zeros(len(part[:, 0]), int), expit)
        assert np.isclose(back.similarity[0], found.similarity[g])
    ranked = found.similarity[found.order()]
    assert (np.diff(ranked) <= 0).all()


def test_ties_of_similarity_go_by_logit_and_nothing_is_an_error():
    found = pool_groups([np.array([[50.0, 60.0, 55.0]])], np.array([0, 1, 2]), expit)
    assert set(found.similarity) == {1.0}
    assert found.order().tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="no group"):
        pool_groups([np.zeros((1, 0))], np.array([], int), expit)
    with pytest.raises(ValueError, match="no image"):
        pool_groups([], np.array([0]), expit)


def test_ranking_is_the_rule_over_the_runs_own_similarities(run, groups):
    """Every pair by `Gallery.rank`, as the finder does it, pooled by the naive loop."""
    predictor, manifest = Predictor(run, run.config), run.manifest
    own = np.flatnonzero(manifest["group"] == groups[2])
    others = np.flatnonzero(manifest["group"] != groups[2])
    with torch.inference_mode():
        logits = np.stack(
            [predictor.gallery.rank(run.gallery["features"][[i]], others) for i in own]
        )
    names, codes = np.unique(manifest["group"].to_numpy(str)[others], return_inverse=True)
    s = predictor.calibration.fusion.similarity(logits.astype(float))
    expected = pd.Series(naive_pool(s, codes), index=names).sort_values(ascending=False)
    table = similar_groups(run, groups[2], k=50).table
    assert table.columns[:4].tolist() == FIRST
    assert groups[2] not in set(table["group"])
    assert np.allclose(table["similarity"], expected.to_numpy(), atol=1e-6)
    assert set(table["group"]) == set(groups) - {groups[2]}
    assert table["rank"].tolist() == list(range(1, len(groups)))
    for row in table.itertuples():
        part = manifest[manifest["group"] == row.group]
        assert row.n_images == len(part)
        assert row.labels == "|".join(sorted(set(part["label"])))
        assert part.set_index("image")["label"][row.image] == row.label
        columns = np.flatnonzero(names[codes] == row.group)
        assert np.isclose(row.closest_similarity, s[:, columns].max(), atol=1e-6)
        place = manifest["image"].iloc[own].tolist().index(row.query_image)
        at = manifest["image"].iloc[others].tolist().index(row.image)
        assert np.isclose(s[place, at], row.closest_similarity, atol=1e-6)
    assert (table["same_images"] == 0).all()


def test_two_patients_are_as_alike_in_either_order(run, groups):
    between = {}
    for group in groups[:4]:
        table = similar_groups(run, group, k=50).table.set_index("group")["similarity"]
        between |= {(group, other): value for other, value in table.items()}
    for one in groups[:4]:
        for other in groups[:4]:
            if one != other:
                assert between[one, other] == pytest.approx(between[other, one], abs=1e-6)


def test_copies_of_a_patient_are_that_patient(run, groups, folder, caplog):
    """The patient comes first and is marked; the others are ranked as for the group's name."""
    table = similar_groups(run, folder, k=50).table
    assert "holds an image of the query itself" in caplog.text
    marked = table[table["same_images"] > 0]
    assert marked["group"].tolist() == [groups[4]] == [table["group"].iloc[0]]
    assert marked["similarity"].tolist() == marked["closest_similarity"].tolist() == [1.0]
    assert marked["same_images"].iloc[0] == marked["n_images"].iloc[0]
    rest = table[table["same_images"] == 0].set_index("group")["similarity"]
    by_name = similar_groups(run, groups[4], k=50).table.set_index("group")["similarity"]
    assert np.allclose(rest[by_name.index], by_name, atol=1e-5)


def test_one_picture_is_a_patient_with_one_image(run, folder):
    picture = folder / "1.png"
    table = similar(run, picture, k=3, by="group")
    assert table.columns[:4].tolist() == FIRST
    assert len(table) == 3
    assert set(table["query_image"]) == {"1.png"}
    assert table.equals(similar_groups(run, picture, k=3).table)


def test_unreadable_images_are_left_out(run, folder, caplog):
    before = similar_groups(run, folder, k=50).table["similarity"]
    (folder / "broken.png").write_bytes(b"not a picture")
    assert np.allclose(similar_groups(run, folder, k=50).table["similarity"], before)
    assert "1 of the 7 images" in caplog.text
    assert "left out, e.g. broken.png: not an image" in caplog.text
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="none of the"):
        similar_groups(run, folder)


def test_a_file_comes_before_a_group_of_its_name(run, groups, folder, monkeypatch, caplog):
    monkeypatch.chdir(folder.parent)
    shutil.copytree(folder, groups[0])
    table = similar_groups(run, groups[0], k=50).table
    assert groups[0] in set(table["group"])
    assert "also a group of the run" in caplog.text
    assert table[table["same_images"] > 0]["group"].tolist() == [groups[4]]


def test_images_without_a_group_take_no_part(run, groups):
    manifest = run.manifest.copy()
    manifest.loc[manifest["group"] == groups[0], "group"] = ""
    part = Run(**{**vars(run), "manifest": manifest})
    table = similar_groups(part, groups[1], k=50).table
    assert set(table["group"]) == set(groups[2:])
    manifest.loc[manifest["group"] != groups[1], "group"] = ""
    with pytest.raises(ClusterkitError, match="only group of this run"):
        similar_groups(part, groups[1])
    manifest["group"] = ""
    with pytest.raises(ClusterkitError, match="no groups; fit with a group column"):
        similar(part, groups[1], by="group")
    with pytest.raises(ValueError, match="at least 1"):
        similar_groups(run, groups[1], k=0)


def test_outcomes_are_counted(run, groups, outcomes):
    found = similar_groups(run, groups[0], k=5, outcomes=outcomes)
    given = pd.read_csv(outcomes, keep_default_na=False).set_index("group")
    near = [g for g in found.table["group"] if g in given.index]
    ranked = [g for g in groups[1:] if g in given.index]
    counted = found.outcomes
    assert "recurrence" in set(counted["outcome"])
    for row in counted[counted["outcome"] == "recurrence"].itertuples():
        known = [given["recurrence"][g] for g in near if given["recurrence"][g]]
        everyone = [given["recurrence"][g] for g in ranked if given["recurrence"][g]]
        assert (row.n, row.known) == (known.count(row.value), len(known))
        assert row.estimate == pytest.approx(known.count(row.value) / len(known))
        assert row.all_known == len(everyone)
        assert row.all_estimate == pytest.approx(everyone.count(row.value) / len(everyone))
        assert row.low <= row.estimate <= row.high
    (months,) = counted[counted["outcome"] == "months"].to_dict("records")
    values = [float(given["months"][g]) for g in near]
    assert months["estimate"] == pytest.approx(np.mean(values))
    assert (months["kind"], months["known"]) == ("mean", len(values))
    assert months["all_estimate"] == pytest.approx(np.mean(given["months"][ranked].astype(float)))
    assert months["low"] < months["estimate"] < months["high"]
    assert NO_ADVICE in found.note
    assert "90%" in found.note
    again = similar_groups(run, groups[0], k=5, outcomes=outcomes)
    pd.testing.assert_frame_equal(again.outcomes, counted)
    seeded = override(run.config, seed=8, assign__confidence=0.5)
    other = similar_groups(run, groups[0], k=5, outcomes=outcomes, config=seeded).outcomes
    (narrow,) = other[other["outcome"] == "months"].to_dict("records")
    assert narrow["high"] - narrow["low"] < months["high"] - months["low"]


def test_the_patients_own_outcome_is_not_counted(run, groups, folder, outcomes):
    by_name = similar_groups(run, groups[4], k=8, outcomes=outcomes).outcomes
    copied = similar_groups(run, folder, k=9, outcomes=outcomes).outcomes
    pd.testing.assert_frame_equal(copied, by_name)
    with pytest.raises(DataError, match=r"none of the 0 .* larger -k than 1"):
        similar_groups(run, folder, k=1, outcomes=outcomes)


def test_intervals_by_hand():
    values = np.array([0.0, 1.0, 1.0, 4.0])
    low, high, how = interval_of(values, 0.8, seed=5)
    means = [values[rows].mean() for rows in np.random.default_rng(5).integers(4, size=(2000, 4))]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.1, 0.9])))
    assert how == "bootstrap"
    assert interval_of(values, 0.8, seed=5) == (low, high, how)
    for ones in (0, 5):
        exact = binomtest(ones, 5).proportion_ci(0.9, "exact")
        numbers = np.full(5, float(ones > 0))
        assert interval_of(numbers, 0.9, shares=True)[:2] == pytest.approx((exact.low, exact.high))
    for few in ([], [3.0], [3.0, 3.0]):
        low, high, how = interval_of(np.array(few))
        assert np.isnan([low, high]).all()
        assert how == ""


@pytest.mark.parametrize(("n", "lowest", "highest"), [(5, 0.72, 0.84), (60, 0.84, 0.95)])
def test_intervals_hold_the_mean_about_as_often_as_they_say(n, lowest, highest):
    """90% intervals of a normal mean; of a few values they are known to be too narrow."""
    rng, hits = np.random.default_rng(0), 0
    for trial in range(500):
        low, high, _ = interval_of(rng.normal(2, 3, n), 0.9, seed=trial)
        hits += low <= 2 <= high
    assert lowest <= hits / 500 <= highest


def test_shares_hold_the_truth_about_as_often_as_they_say():
    rng, hits = np.random.default_rng(1), 0
    for trial in range(300):
        low, high, _ = interval_of(rng.binomial(1, 0.3, 20).astype(float), 0.9, trial, shares=True)
        hits += low <= 0.3 <= high
    assert hits / 300 >= 0.82


def test_a_value_that_nobody_near_has_and_outcomes_that_nobody_has():
    table = pd.DataFrame(
        {
            "stage": ["mean", "mean", "II", None],
            "empty": [None] * 4,
            "dead": [1.0, 1.0, 0.0, np.nan],
        },
        index=["a", "b", "c", "d"],
    )
    found = summarise_outcomes(table, ["b", "a", "gone", "d"]).set_index(["outcome", "value"])
    assert found.loc[("stage", "mean"), "n"] == 2
    assert found.loc[("stage", "II"), "n"] == 0
    assert found.loc[("stage", "II"), "high"] == pytest.approx(1 - 0.05**0.5)
    assert found.loc[("stage", "II"), "all_estimate"] == pytest.approx(1 / 3)
    assert found.loc[("empty", ""), "known"] == 0
    assert np.isnan(found.loc[("empty", ""), "estimate"])
    assert found.loc[("dead", ""), "low"] == pytest.approx(0.05**0.5)
    assert found.loc[("dead", ""), "interval"] == "exact"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,x\na,1\n", "no column 'group'.*it has patient, x"),
        ("Group,x\na,1\n", "did you mean 'Group'"),
        ("group\na\n", "no column beside 'group'"),
        ("group,x,x\na,1,2\n", "2 columns 'x'"),
        ("group,group,x\na,a,2\n", "2 columns 'group'"),
        ("group,,x\na,1,2\n", "column 2 has no name"),
        ("group,x\n,1\n", "line 2: no group"),
        ("group,x\na,yes\nb,no\na,no\n", "line 4: group 'a' has x 'no', and 'yes' in another row"),
        ("group,x\na,1\na,1.5\n", "line 3: group 'a'"),
        ("group,x\na,1\nb,nan\n", "line 3: x is 'nan' and otherwise a number"),
        ("group,x\na,1\nb,inf\n", "line 3: x is 'inf'"),
        ("group,x\na,1\nb,1e999\n", "line 3: x is '1e999'"),
        ("group,x\na,1\nb,N/A\n", "line 3: x is 'N/A'.*leave the cell empty"),
        ("group,x\n", "no rows; add a row for each patient"),
        ("", "empty"),
        ("group,x\na,1,2\n", "line 2: 3 cells for 2 columns"),
    ],
)  # fmt: skip
def test_outcomes_that_cannot_be_used(text, message, tmp_path):
    path = tmp_path / "o.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_outcomes(path, "group", {"a", "b"})


def test_outcomes_as_they_are_written(tmp_path):
    path = tmp_path / "o.csv"
    text = "group;x".replace(";", ",") + (
        ",y,z,w,\n a ,2,1_000,none,\n\nb,-.5e1,=1+1,inf,,\na,2,,none,\nc,1,3,no,\n"
    )
    path.write_bytes(text.encode("utf-8-sig"))
    table = read_outcomes(path, "group", {"a", "b", "d"})
    assert table.index.tolist() == ["a", "b"]
    assert table["x"].tolist() == [2.0, -5.0]
    assert table["y"].tolist() == ["1_000", "=1+1"]
    assert table["z"].tolist() == ["none", "inf"]
    assert table["w"].isna().all()


def test_decimal_commas_are_no_kinds_of_their_own(tmp_path):
    path = tmp_path / "o.csv"
    path.write_text("group;x;y\na;1,5;1, 2\nb;2;3\nc;;3\n")
    with pytest.raises(DataError, match=r"line 2: x is '1,5'; write numbers with a point, not a"):
        read_outcomes(path, "group", {"a"})
    path.write_text(path.read_text().replace("1,5", "1.5"))
    assert read_outcomes(path, "group", {"a"}).loc["a"].tolist() == [1.5, "1, 2"]


@given(st.lists(st.text(max_size=6), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_any_text_is_an_outcome_or_one_clear_error(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("any") / "o.csv"
    rows = pd.DataFrame({"group": [f"g{i}" for i in range(len(cells))], "x": cells})
    path.write_bytes(
        rows.to_csv(index=False, quoting=csv.QUOTE_ALL).encode("utf-8", "surrogatepass")
    )
    try:
        table = read_outcomes(path, "group", set(rows["group"]))
    except DataError:
        return
    summary = summarise_outcomes(table, rows["group"].tolist())
    assert summary["known"].max() == sum(bool(c.strip()) for c in cells)


def test_the_command(command, run, groups, outcomes):
    base = ("similar", groups[0], "--run", run.path, "--by", "group")
    code, out, err = command(*base, "-k", 3)
    assert (code, err) == (0, "")
    assert len(out.split("\n\n")[0].splitlines()) == 3
    table = similar_groups(run, groups[0], k=3).table
    first = table.iloc[0]
    assert out.splitlines()[0] == (
        f"{first['similarity'] * 100:.1f}% similarity  {first['label']}  {first['image']}  "
        f"{first['group']}  ({first['n_images']} images)"
    )
    assert NO_ADVICE in out
    code, out, _ = command(*base, "-k", 4, "--outcomes", outcomes)
    assert code == 0
    assert "recurrence: known of" in out
    assert "=1+1" in out
    assert "<script>" in out
    assert "90% interval" in out
    assert "all: " in out
    assert NO_ADVICE in out
    code, out, _ = command(*base, "-k", 50, "--json", "--outcomes", outcomes)
    summary = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [row["group"] for row in summary["similar"]] != []
    assert {row["outcome"] for row in summary["outcomes"]} == {"recurrence", "months", "comment"}
    assert NO_ADVICE in summary["note"]
    code, out, _ = command(*base, "--json")
    assert "outcomes" not in json.loads(out)


def test_mistakes_at_the_command_line(command, failing, run, groups, outcomes, sample, tmp_path):
    by = ("--run", run.path, "--by", "group")
    line = failing(groups[0] + "x", *by)
    assert "no group of this run" in line
    assert f"did you mean '{groups[0]}'" in line
    picture = next(sample.glob("labeled/*/*"))
    assert "no image in" in failing(tmp_path, *by)
    assert "labels.csv is a table and not a patient" in failing(sample / "labels.csv", *by)
    code, _, err = command("similar", picture, "--run", run.path, "--outcomes", outcomes)
    assert code == 2
    assert "add --by group" in err
    assert "none.csv cannot be read" in failing(groups[0], *by, "--outcomes", tmp_path / "none.csv")
    strange = tmp_path / "strange.csv"
    strange.write_bytes("group,x\nM\xfcller,1\n".encode("latin-1"))
    assert "not UTF-8" in failing(groups[0], *by, "--outcomes", strange)
    strange.write_text("group,x\nsomebody,1\n")
    line = failing(groups[0], *by, "--outcomes", strange)
    assert "none of the 5 most similar patients" in line
    assert "names them as the run does" in line
    last = similar_groups(run, groups[0], k=50).table["group"].iloc[-1]
    strange.write_text(f"group,x\n{last},1\n")
    assert "larger -k than 2" in failing(groups[0], *by, "--outcomes", strange, "-k", 2)
    missing = tmp_path / "no" / "c.png"
    assert "cannot write" in failing(groups[0], *by, "--cams", missing)


@pytest.mark.parametrize("query", ["name", pytest.param("folder", marks=pytest.mark.slow)])
def test_a_picture_with_a_row_a_patient(command, run, groups, folder, query, tmp_path):
    target = tmp_path / "cams.png"
    asked = groups[0] if query == "name" else folder
    heights = []
    for k in (1, 3):
        code, _, err = command("similar", asked, "--run", run.path, "--by", "group", "-k", k,
                               "--cams", target, "-q")  # fmt: skip
        assert code == 0, err
        with Image.open(target) as picture:
            assert picture.format == "PNG"
            assert picture.width > 800
            assert np.asarray(picture).std() > 10
            heights.append(picture.height)
    assert heights[1] > 2 * heights[0]
    assert not list(tmp_path.glob("*.partial"))
    assert struct.unpack(">II", target.read_bytes()[16:24])[1] == heights[1]


def test_names_that_a_picture_must_not_take_for_formulas(sample, run, tmp_path):
    manifest = run.manifest.copy()
    manifest["group"] = [g.replace("patient", "$x^{") + "\n$" for g in manifest["group"]]
    odd = Run(**{**vars(run), "manifest": manifest})
    similar_groups(odd, manifest["group"].iloc[0], k=2, cams=tmp_path / "odd.png")
    assert (tmp_path / "odd.png").stat().st_size > 5000
    gone = Run(**{**vars(odd), "path": tmp_path / "elsewhere" / "run"})
    with pytest.raises(ClusterkitError, match="put the data back"):
        similar_groups(gone, manifest["group"].iloc[0], k=2, cams=tmp_path / "gone.png")
    assert not (tmp_path / "gone.png").exists()


@pytest.mark.slow
def test_patients_of_dicom_files_are_known_by_their_ids(
    sample, config, own_key, monkeypatch, caplog, tmp_path
):
    """The run has hashes only; a person may say PatientID where the key is."""
    from tests.dicoms import dicom, save

    rows, lines = pd.read_csv(sample / "labels.csv"), []
    for number, row in enumerate(rows.itertuples()):
        pixels = np.asarray(Image.open(sample / row.image).convert("RGB"))
        patient = row.group.replace("patient-", "PAT-")
        save(dicom(pixels, patient), tmp_path / "in" / patient / f"{number}.dcm")
        lines.append(f"{patient}/{number}.dcm,{row.label}")
    (tmp_path / "in" / "labels.csv").write_text("image,label\n" + "\n".join(lines))
    made = fit(tmp_path / "in" / "labels.csv", config=config, run=tmp_path / "run")
    assert "PAT-" not in "".join(made.manifest["group"])
    known = similar_groups(made, "PAT-04", k=50)
    assert len(known.table) == rows["group"].nunique() - 1
    folder = tmp_path / "in" / "PAT-04"
    queried = similar_groups(made, folder, k=50, cams=tmp_path / "c.png").table
    assert "that group is left out" in caplog.text
    assert queried["group"].tolist() == known.table["group"].tolist()
    assert np.allclose(queried["similarity"], known.table["similarity"], atol=1e-5)
    table = tmp_path / "o.csv"
    table.write_text("group,x\n" + "\n".join(f"PAT-{i:02d},{i}" for i in range(1, 10)))
    (mean,) = similar_groups(made, "PAT-04", k=8, outcomes=table).outcomes.to_dict("records")
    assert mean["estimate"] == pytest.approx((sum(range(1, 10)) - 4) / 8)
    (tmp_path / "other.key").write_text("a key of another hospital\n")
    monkeypatch.setenv("CLUSTERKIT_KEY_FILE", str(tmp_path / "other.key"))
    with pytest.raises(DataError, match="no group of this run"):
        similar_groups(made, "PAT-04")
    assert "hashed with another key" in caplog.text
    similar_groups(made, folder, cams=tmp_path / "c.png")
    assert "holds images of" not in caplog.text
