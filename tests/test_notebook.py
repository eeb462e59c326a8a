"""The notebook runs from top to bottom, and leaves reviews and a run that has learned them."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOK = EXAMPLES / "review.ipynb"


@pytest.mark.slow
def test_notebook_runs_from_top_to_bottom(run, assignment, sample, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    from clusterkit import Run

    # The shared run is all tests': this one is reviewed. Its data are found by relative paths.
    folder = run.path.with_name("notebook")
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("audit"))
    monkeypatch.setenv("CLUSTERKIT_RUN", str(folder))
    monkeypatch.setenv("CLUSTERKIT_LABELS", str(sample / "labels.csv"))
    monkeypatch.setenv("CLUSTERKIT_UNLABELED", str(sample / "unlabeled.csv"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3",
                   resources={"metadata": {"path": str(tmp_path)}}).execute()  # fmt: skip
    cells = {cell["id"]: cell for cell in notebook.cells}
    (shown,) = cells["look"]["outputs"]
    assert shown["data"]["text/html"].count("data:image/jpeg;base64,") == 8 * 5
    reviews = pd.read_csv(folder / "reviews.csv", dtype=str, keep_default_na=False)
    assert list(reviews) == ["image_id", "image", "label", "decision", "reviewer", "time", "note"]
    named, single = reviews.iloc[:1], reviews.iloc[1:]
    assert named["image_id"].str.startswith("cluster:").all()
    # Those asked about, and ten of the cluster that is named.
    assert 10 <= len(single) <= 18
    (after,) = folder.parent.glob("notebook-reviewed-*")
    learned = Run.load(after).manifest.set_index("image_id")
    assert (learned.loc[single["image_id"], "provenance"] == "reviewed").all()
    # In the sample, the truth stands in for a person's eyes.
    truth = pd.read_csv(sample / "truth.csv").drop_duplicates("image").set_index("image")["label"]
    assert single["label"].tolist() == truth[single["image"]].tolist()
    assert learned.loc[single["image_id"], "label"].tolist() == single["label"].tolist()
    (compared,) = cells["compare"]["outputs"]
    assert "duplicate" in compared["data"]["text/plain"]


@pytest.mark.slow
def test_the_notebook_of_a_certificate_runs(run, assignment, sample, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    from clusterkit import verify

    folder = run.path.parent / "certified" / "run"
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("audit", "certify"))
    shutil.copy(sample / "truth.csv", folder.parent)
    # One folder deeper than the run that is copied.
    record = folder / "assignments.json"
    record.write_text(record.read_text().replace('"input_root": "', '"input_root": "../'))
    monkeypatch.setenv("CLUSTERKIT_RUN", str(folder))
    monkeypatch.setenv("CLUSTERKIT_MAX_ERROR", "0.4")
    notebook = nbformat.read(EXAMPLES / "certify.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3",
                   resources={"metadata": {"path": str(tmp_path)}}).execute()  # fmt: skip
    cells = {cell["id"]: cell for cell in notebook.cells}
    (shown,) = cells["look"]["outputs"]
    assert shown["data"]["text/html"].count("data:image/jpeg;base64,") == 12
    # Before it, that answers name a class which nobody labelled.
    *_, said = cells["certify"]["outputs"]
    assert "labels" in said["data"]["text/plain"]
    (verdict,) = cells["verify"]["outputs"]
    assert "faults=[]" in verdict["data"]["text/plain"]
    assert verify(folder / "certify").stands


@pytest.mark.parametrize("name", ["review", "certify"])
def test_notebooks_are_committed_without_outputs(name):
    import nbformat

    for cell in nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
