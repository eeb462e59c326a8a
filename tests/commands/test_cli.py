"""The commands as a user types them: files, exit codes, one clear line for every mistake."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from clusterkit import Run, assign, fit, read_assignments
from clusterkit.cli import cli
from clusterkit.config import override
from clusterkit.errors import RunError
from clusterkit.formats.assignments import COLUMNS
from clusterkit.inference.journal import Journal


@pytest.fixture
def failing(command):
    """Run a command that must fail with 1 and one line, and return the line."""

    def call(*arguments):
        code, out, err = command(*arguments)
        assert code == 1, (code, out, err)
        lines = [line for line in err.splitlines() if not line.startswith("warning:")]
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in err
        return lines[0]

    return call


@pytest.fixture(scope="session")
def toml(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(
        '[image]\nsize = 48\n[model]\nbackbone = "squeezenet1_1"\nweights = "none"\n'
        '[train]\nstrategy = "head"\nsiamese_epochs = 2\nfolds = 2\n'
        "[assign]\nmax_error = 0.4\nworkers = 0\n[audit]\nlimit = 8\n"
    )
    return path


def test_fit_assign_audit_similar(command, sample, toml, tmp_path):
    run = tmp_path / "run"
    code, out, _ = command("fit", sample / "labels.csv", "--config", toml, "--run", run, "--json")
    assert code == 0
    assert json.loads(out)["classes"] == ["dots", "ring", "rod"]
    for name in ("run.json", "manifest.csv", "weights.safetensors", "gallery.safetensors",
                 "calibration.json", "history.csv"):  # fmt: skip
        assert (run / name).is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    code, out, _ = command("assign", sample / "unlabeled.csv", "--run", run)
    assert code == 0
    assert "status" in out
    table = read_assignments(run / "assignments.csv")
    inputs = pd.read_csv(sample / "unlabeled.csv")
    assert table["image"].tolist() == sorted(inputs["image"])
    code, out, _ = command("audit", "--run", run, "--limit", 8)
    assert code == 0
    page = (run / "audit" / "index.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    metrics = json.loads((run / "audit" / "metrics.json").read_text())
    assert sum(map(sum, metrics["confusion"])) == metrics["held_out_images"]
    picture = sample / table["image"][table["status"] != "failed"].iloc[0]
    code, out, _ = command("similar", picture, "--run", run, "-k", 3, "--cams", tmp_path / "c.png")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "% similarity  " in out
    assert (tmp_path / "c.png").stat().st_size > 5000
    code, out, _ = command("similar", picture, "--run", run, "--by", "group", "-k", 50, "--json",
                           "--within", "all")  # fmt: skip
    groups = [row["group"] for row in json.loads(out)["similar"]]
    assert len(groups) == len(set(groups)) == 9


def test_no_absolute_path_is_in_a_run(run, assignment, sample):
    for path in run.path.glob("*.*"):
        if path.suffix in (".json", ".csv"):
            assert str(sample) not in path.read_text(), path.name


def test_assignments_follow_the_contract(run, assignment, sample):
    header = (run.path / "assignments.csv").read_bytes().split(b"\n")[0].decode("utf-8-sig")
    assert header.split(",") == COLUMNS
    table = read_assignments(run.path / "assignments.csv").set_index("image")
    truth = pd.read_csv(sample / "truth.csv", keep_default_na=False).set_index("image")
    assert len(table) == (truth["kind"] != "labeled").sum()
    kinds = truth["kind"].loc[table.index]
    copies = table[(kinds == "exact_duplicate").to_numpy()]
    assert set(copies["status"]) == {"duplicate"}
    assert (copies["predicted_label"] == truth.loc[copies.index, "label"]).all()
    assert (copies["duplicate_of"] == truth.loc[copies.index, "of"]).all()
    (broken,) = table[table["status"] == "failed"].itertuples()
    assert kinds[broken.Index] == "unreadable"
    assert "truncated" in broken.reason
    assert broken.predicted_label == ""
    assert pd.isna(broken.confidence)
    known = table[table["status"] != "failed"]
    assert known["confidence"].between(0, 1).all()
    assert known["novelty_p"].between(0, 1).all()
    refused = table["status"].isin(["review", "novel"])
    assert (table["cluster"].notna() == refused).all()
    sets = known["label_set"].str.split("|")
    assert all(p in s for p, s in zip(known["predicted_label"], sets, strict=True))
    summary = json.loads((run.path / "assignments.json").read_text())
    assert summary["status"] == {s: int((table["status"] == s).sum()) for s in summary["status"]}
    threshold = summary["promise"]["threshold"]
    if threshold is not None:
        assert (table[table["status"] == "assigned"]["confidence"] >= threshold - 1e-6).all()


@pytest.mark.slow
def test_same_seed_same_csv(sample, config, run, tmp_path):
    again = fit(sample / "labels.csv", config=config, run=tmp_path / "again")
    first = assign(run, sample / "unlabeled.csv", config=config, out=tmp_path / "1.csv")
    second = assign(again, sample / "unlabeled.csv", config=config, out=tmp_path / "2.csv")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_loaded_run_gives_the_same_csv(sample, config, run, assignment, tmp_path):
    assign(run.path, sample / "unlabeled.csv", out=tmp_path / "1.csv")
    assert (tmp_path / "1.csv").read_bytes() == assignment.path.read_bytes()


def test_worker_processes_give_the_same_csv(sample, config, run, assignment, tmp_path):
    workers = override(config, assign__workers=2)
    assign(run, sample / "unlabeled.csv", config=workers, out=tmp_path / "1.csv")
    assert (tmp_path / "1.csv").read_bytes() == assignment.path.read_bytes()


def test_interrupted_assign_resumes_to_the_same_bytes(
    sample, config, run, assignment, tmp_path, monkeypatch
):
    write, calls = Journal.write, []

    def stop_at_third(self, listing, number, arrays):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(number)
        write(self, listing, number, arrays)

    out = tmp_path / "a.csv"
    monkeypatch.setattr(Journal, "write", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        assign(run, sample / "unlabeled.csv", config=config, out=out)
    assert not out.exists()
    monkeypatch.setattr(Journal, "write", write)
    result = assign(run, sample / "unlabeled.csv", config=config, out=out)
    assert result.summary["resumed_batches"] == 2
    assert out.read_bytes() == assignment.path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.csv.journal", "a.json"]


def test_two_assigns_of_one_csv_do_not_mix(tmp_path):
    first = Journal(tmp_path / "a.csv", {"run": 1}, fresh=False)
    with pytest.raises(RunError, match="another clusterkit"):
        Journal(tmp_path / "a.csv", {"run": 1}, fresh=False)
    first.close()


def test_assign_everything(command, run, sample, tmp_path):
    out = tmp_path / "all.csv"
    code, _, _ = command("assign", sample / "unlabeled.csv", "--run", run.path, "--max-error",
                         "none", "--out", out)  # fmt: skip
    assert code == 0
    assert set(read_assignments(out)["status"]) == {"assigned", "duplicate", "failed"}


def test_quiet_prints_nothing_but_what_is_asked_for_by_name(command, run, sample, tmp_path):
    about = ["--run", run.path]
    image = sample / "unlabeled" / "cell-0001.png"
    (tmp_path / "new").mkdir()
    shutil.copy(image, tmp_path / "new")
    commands = {
        "assign": [tmp_path / "new", *about, "--out", tmp_path / "a.csv", "--ask", 3],
        "inspect": [sample / "labels.csv"],
        "similar": [image, *about],
        "export": ["--to", "coco", *about, "--assignments", tmp_path / "a.csv",
                   "--status", "all", "--out", tmp_path / "coco"],
    }  # fmt: skip
    for name, arguments in commands.items():
        assert command(name, *arguments, "-q") == (0, "", ""), name
        code, out, err = command(name, *arguments, "--quiet", "--json")
        assert (code, err) == (0, ""), name
        assert json.loads(out), name
        assert command(name, *arguments)[1], name
    code, out, err = command("similar", tmp_path / "none.png", *about, "-q")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")


def test_strict(failing, run, sample, tmp_path):
    line = failing("assign", sample / "unlabeled.csv", "--run", run.path, "--strict", "--out",
                   tmp_path / "a.csv")  # fmt: skip
    assert "1 images failed" in line
    assert (tmp_path / "a.csv").is_file()


def test_mistakes_in_data(failing, sample, toml, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.csv").write_text("file,class\nx,y\n")
    (tmp_path / "blank.csv").write_text(f"image,label\n{next(sample.glob('labeled/*/*')).name}, \n")
    for data, message in [
        (tmp_path / "none", "does not exist"),
        (tmp_path / "empty", "no image in"),
        (tmp_path / "wrong.csv", "no column 'image'; it has file, class"),
        (tmp_path / "blank.csv", "no image has a label"),
    ]:
        assert message in failing("fit", data, "--config", toml, "--run", run)
    one_class = tmp_path / "one"
    shutil.copytree(sample / "labeled" / "ring", one_class / "ring")
    assert "at least two" in failing("fit", one_class, "--config", toml, "--run", run)
    assert not run.exists()


def test_bad_single_images_do_not_stop_fit(command, sample, toml, tmp_path):
    shutil.copytree(sample / "labeled", tmp_path / "data")
    (tmp_path / "data" / "ring" / "text.jpg").write_text("not a picture")
    (tmp_path / "data" / "ring" / "empty.png").write_bytes(b"")
    run = tmp_path / "run"
    code, _, err = command("fit", tmp_path / "data", "--config", toml, "--run", run)
    assert code == 0
    assert "2 labelled images are left out" in err
    assert "ring/text.jpg" not in (run / "manifest.csv").read_text()


def test_single_bad_images_are_failed_rows(command, run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    out = tmp_path / "a.csv"
    code, _, _ = command("assign", folder, "--run", run.path, "--out", out)
    assert code == 0
    table = read_assignments(out)
    assert table["status"].tolist() == ["failed", "failed"]
    assert table["reason"].tolist() == ["empty file (0 bytes)", "not an image that Pillow can read"]


def test_mistakes_about_weights(failing, sample, toml, tmp_path):
    from torchvision.models import alexnet

    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"x": print}, tmp_path / "code.pth")
    fit_command = ("fit", sample / "labels.csv", "--config", toml, "--run", tmp_path / "run")
    for options, message in [
        (("--weights", tmp_path / "alexnet.pth"), "do not fit backbone 'squeezenet1_1'"),
        (("--weights", tmp_path / "text.pth"), "is not a file of plain tensors"),
        (("--weights", tmp_path / "code.pth"), "is not a file of plain tensors"),
        (("--weights", tmp_path / "none.pth"), "does not exist"),
        (("--backbone", "resnet19"), "did you mean 'resnet1"),
        (("--size", 4), "between 32 and 4096"),
        (("--device", "cuda:99"), "device 'cuda:99' cannot be used"),
    ]:
        assert message in failing(*fit_command, *options)
    assert not (tmp_path / "run").exists()


def test_mistakes_about_runs(failing, run, sample, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = sample / "unlabeled.csv"
    assert "no run under runs/" in failing("assign", data)
    (tmp_path / "plain").mkdir()
    assert "is not a run" in failing("assign", data, "--run", tmp_path / "plain")
    newer = tmp_path / "newer"
    shutil.copytree(run.path, newer, ignore=shutil.ignore_patterns("audit"))
    info = json.loads((newer / "run.json").read_text())
    (newer / "run.json").write_text(json.dumps(info | {"format": 99}))
    assert "upgrade clusterkit" in failing("assign", data, "--run", newer)
    for damage, message in [
        ('{"format": 1}', "has run format 1"),
        ("[]", "holds no JSON object"),
        ("{", "cannot be read as JSON"),
        (json.dumps(info | {"config": {"x": 1}}), "unknown key 'x'"),
        (json.dumps(info | {"classes": ["a"]}), "is damaged"),
    ]:
        (newer / "run.json").write_text(damage)
        assert message in failing("assign", data, "--run", newer)
    (newer / "run.json").write_text(json.dumps(info))
    (newer / "weights.safetensors").write_bytes(b"\x80\x04K\x01.")
    assert "damaged" in failing("assign", data, "--run", newer)
    line = failing("fit", sample / "labels.csv", "--run", run.path)
    assert line == f"error: {run.path} exists and is not an empty folder; give another --run"


def test_mistakes_in_config(failing, tmp_path):
    path = tmp_path / "c.toml"
    for text, message in [
        ("[modl]\n", "did you mean 'model'"),
        ("[model]\nbackbon = 1\n", "did you mean 'backbone'"),
        ("[image]\nsize = 'big'\n", "image.size = 'big' must be of type int"),
        ("[image]\nresize = 'stretch'\n", "allowed: squish, crop, pad"),
        ("seed = -1\n", "between"),
        ("x =\n", "not valid TOML"),
    ]:
        path.write_text(text)
        assert message in failing("fit", "x", "--config", path)
    assert "cannot read config" in failing("fit", "x", "--config", tmp_path / "none.toml")


def test_wrong_usage_exits_with_2(command):
    assert command("assign")[0] == 2
    assert command("fit", "--nonsense")[0] == 2
    assert command("assign", "x", "--max-error", "much")[0] == 2


def test_readme_names_every_command():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name, item in cli.commands.items():
        assert f"clusterkit {name}" in readme
        assert item.help
        for option in item.params:
            named = option.param_type_name == "argument" or option.name in ("within", "engine")
            assert named or option.help, (name, option.name)


def test_every_shipped_config_is_read():
    from clusterkit.config import Config, load_config

    folder = Path(__file__).parents[2] / "configs"
    paths = sorted(folder.glob("*.toml"))
    assert len(paths) >= 4
    for path in paths:
        load_config(path)
    assert load_config(folder / "default.toml") == Config()


HEAVY = """
import sys
from clusterkit.cli import run_command
code = run_command(sys.argv[1:])
print(code, "torch" in sys.modules, "fastai" in sys.modules)
"""


def modules_after(*arguments) -> str:
    done = subprocess.run([sys.executable, "-c", HEAVY, *map(str, arguments)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.splitlines()[-1]


def test_help_imports_no_torch():
    assert modules_after("--help") == "0 False False"


@pytest.mark.long
def test_what_runs_often_imports_no_fastai(run, sample, tmp_path):
    picture = next(sample.glob("labeled/*/*"))
    assert modules_after("similar", picture, "--run", run.path) == "0 True False"
    out = ("--out", tmp_path / "a.csv")
    assert modules_after("assign", picture, "--run", run.path, *out) == "0 True False"
    # What takes long to import and the first batch does without.
    code = "import sys, clusterkit.inference.assign; print({'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("error", ["0", "1", "-0.1", "1.5", "nan"])
def test_errors_that_nobody_can_promise(failing, run, sample, error, tmp_path):
    line = failing("assign", sample / "unlabeled.csv", "--run", run.path, "--max-error", error,
                   "--out", tmp_path / "a.csv")  # fmt: skip
    assert "max_error" in line
    assert "0.05 is 5%" in line
    assert "none" in line
    assert not list(tmp_path.iterdir())


def test_a_promise_for_each_class(command, run, sample, tmp_path):
    code, out, _ = command("assign", sample / "unlabeled.csv", "--run", run.path, "--per-class",
                           "--out", tmp_path / "a.csv", "--json")  # fmt: skip
    assert code == 0
    summary = json.loads(out)
    promises = summary["promise"]["per_class"]
    assert list(promises) == run.classes
    assert "each class" in summary["promise_text"]
    table = read_assignments(tmp_path / "a.csv")
    for label, promise in promises.items():
        # Three promises that hold together: each is made at 1 - 0.1 / 3.
        assert promise["level"] == pytest.approx(1 - 0.1 / 3)
        rows = table[(table["predicted_label"] == label) & (table["status"] == "assigned")]
        if promise["threshold"] is None:
            assert rows.empty
        else:
            assert (rows["confidence"] >= promise["threshold"] - 1e-6).all()


def test_thin_evidence_is_said_aloud(sample, config, tmp_path, caplog):
    """A class within one group cannot be measured, and a handful of images is little to go by."""
    rows = pd.read_csv(sample / "labels.csv")
    first = sorted(rows["group"].unique())[:3]
    rows = rows[rows["group"].isin(first)]
    rows.loc[rows["group"] == first[0], "label"] = "only here"
    (tmp_path / "l.csv").write_text(rows.to_csv(index=False))
    run = fit(tmp_path / "l.csv", config=override(config, data__images=str(sample)),
              run=tmp_path / "run")  # fmt: skip
    assert "the errors of 'only here' could not be measured" in caplog.text
    assert "could be held out: confidence is little more than a guess" in caplog.text
    assert "only here" in run.classes
    assert run.info["data"]["units_of_several_classes"] == 2
    result = assign(run, sample / "unlabeled.csv", config=config)
    assert "assigned" not in set(result.table["status"])
    assert "Nothing could be assigned" in result.summary["promise_text"]
    assert "Nothing is assigned as only here" in result.summary["promise_text"]
    record = json.loads((run.path / "calibration.json").read_text())
    del record["chosen"]
    (run.path / "calibration.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"is damaged \(no inputs were chosen\); fit it again"):
        assign(Run.load(run.path), sample / "unlabeled.csv", config=config, fresh=True)
