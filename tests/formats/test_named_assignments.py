"""Which assignments reviews are about, where somebody names them."""

import json
import shlex
import shutil

import pytest

from clusterkit.errors import ConfigError, RunError
from clusterkit.formats.named_assignments import fit_command, named_for_each


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def downloaded(run, assignment, tmp_path):
    """A project that Label Studio exported into a folder that has nothing to do with the run."""
    row = assignment.table.iloc[0]
    result = [{"type": "choices", "from_name": "label", "value": {"choices": ["rod"]}}]
    path = tmp_path / "my downloads" / "project.json"
    path.parent.mkdir()
    task = {"id": 1, "data": {"image_id": row["image_id"]},
            "annotations": [{"result": result, "completed_by": 1}]}  # fmt: skip
    path.write_text(json.dumps([task]))
    return path


def test_the_next_step_names_the_run(command, run, sample, downloaded, tmp_path):
    """As it is printed, but for the labelled images, which are not where it is given."""
    code, text, _ = command("review", downloaded, "--run", run.path)
    assert code == 0
    (step,) = [line for line in text.splitlines() if line.startswith("next ")]
    words = shlex.split(step.removeprefix("next"))
    assert words == ["clusterkit", "fit", "LABELED", "--reviews", str(downloaded), "--reviews-of",
                     str(run.path)]  # fmt: skip
    shutil.copy(sample / "labels.csv", tmp_path)
    _, text, _ = command("review", downloaded, "--run", run.path)
    assert "next       clusterkit fit --reviews " in text
    # Beside the assignments there is nothing to be named.
    shutil.copy(run.path / "assignments.csv", downloaded.parent)
    _, text, _ = command("review", downloaded)
    assert text.endswith(f"clusterkit fit --reviews '{downloaded}'\n")


def test_assignments_are_named_by_run_folder_or_file(command, run, assignment, downloaded):
    csv = downloaded.parent.parent / "batch 2.csv"
    shutil.copy(run.path / "assignments.csv", csv)
    assert named_for_each([downloaded], run.path) == [run.path / "assignments.csv"]
    assert named_for_each(["a", "b"], [str(csv)]) == [csv, csv]
    assert named_for_each(["a", "b"], [csv, run.path]) == [csv, run.path / "assignments.csv"]
    assert named_for_each(["a", "b"], None) == [None, None]
    assert named_for_each([], ()) == []
    code, text, _ = command("review", downloaded, "--run", csv)
    assert code == 0
    assert f"against    {csv}\n" in text
    assert fit_command("r.csv", csv, "given").endswith(f"fit --reviews r.csv --reviews-of '{csv}'")
    with pytest.raises(ConfigError, match="given 2 times and --reviews 3 times; give it once"):
        named_for_each(["a", "b", "c"], [csv, csv])
    with pytest.raises(RunError, match="does not exist; name the run whose images were reviewed"):
        named_for_each(["a"], "nowhere")


def test_what_is_no_run_is_one_line(command, run, sample, downloaded, tmp_path):
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(run.path / "run.json", fresh)
    fit = ("fit", sample / "labels.csv", "--run", tmp_path / "new", "--reviews", downloaded)
    for more, message in [
        (("--reviews-of", fresh), f"error: the run {fresh} has no assignments.csv; name the run"),
        (("--reviews-of", sample), f"error: the folder {sample} has no assignments.csv; name"),
        (("--reviews-of", "x"), "error: x does not exist; name the run whose images"),
    ]:
        code, out, err = command(*fit, *more)
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert err.startswith(message)
    code, _, err = command("review", downloaded, "--run", fresh)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "has no assignments.csv" in err
    code, _, err = command("fit", sample / "labels.csv", "--reviews-of", run.path)
    assert code == 1
    assert "give --reviews FILE as well" in err
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "runs").exists()
