"""The whole circle through the commands and a browser: audit, review, export, fit --reviews."""

import json
import os
import shutil

import pytest

from clusterkit import Run
from clusterkit.formats.reviews import read_reviews
from tests.pages import data_of


@pytest.mark.slow
def test_from_the_page_to_the_next_run(run, assignment, sample, config, command, visit, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("audit"))
    record = json.loads((folder / "assignments.json").read_text())
    record["input_root"] = os.path.relpath(sample, folder)
    (folder / "assignments.json").write_text(json.dumps(record))
    code, out, err = command("audit", "--run", folder, "--limit", 40)
    assert code == 0, err
    page = folder / "audit" / "index.html"
    assert str(page) in out

    tab = visit(page.as_uri())
    tab.tab.select_option("#sort", "image")
    tab.press("j")
    # Ten images: three labels by number, accepted, rejected and skipped ones, a step undone.
    tab.press(*"123axsa12uua")
    tab.press("j", "j", "1", "2", "3")
    tab.tab.click("[data-tab=clusters]")
    tab.press("j", "l")
    tab.tab.keyboard.type("rosette")
    tab.press("Enter", "Enter")
    tab.export(folder / "reviews.csv")
    rows = read_reviews(folder / "reviews.csv")
    images = rows[rows["cluster"].isna()]
    assert len(images) >= 10

    code, _, err = command("review", folder / "reviews.csv")
    assert code == 0, err
    settings = tmp_path / "c.toml"
    settings.write_text(
        '[image]\nsize = 48\n[model]\nbackbone = "squeezenet1_1"\nweights = "none"\n'
        '[train]\nstrategy = "head"\nsiamese_epochs = 4\nfolds = 3\n'
    )
    code, _, err = command("fit", sample / "labels.csv", "--reviews", folder / "reviews.csv",
                           "--run", tmp_path / "next", "--config", settings)  # fmt: skip
    assert code == 0, err
    manifest = Run.load(tmp_path / "next").manifest.set_index("image_id")
    for row in images.itertuples():
        if row.decision in ("accept", "relabel"):
            assert manifest.loc[row.image_id, ["label", "provenance"]].tolist() == [
                row.label, "reviewed"
            ]  # fmt: skip
        elif row.decision == "reject":
            assert row.image_id not in manifest.index
    (named,) = rows[rows["cluster"].notna()].itertuples()
    members = [c for c in data_of(page)["cards"] if c["cluster"] == named.cluster]
    own = set(images["image_id"][images["decision"] != "skip"])
    open_ = [c["image_id"] for c in members if c["image_id"] not in own]
    assert set(manifest.loc[open_, "label"]) <= {"rosette"}
    # Ten of its images are looked at before a name goes for all.
    checked = images[images["note"] == f"checked with cluster {named.cluster}"]
    assert 0 < len(checked) <= 10
    assert set(manifest.loc[checked["image_id"], "label"]) == {"rosette"}
    assert "rosette" in Run.load(tmp_path / "next").classes
