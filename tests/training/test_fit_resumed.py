"""`fit` survives: what was done before an interruption is not done again; the run is the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from clusterkit import Run, fit
from clusterkit.config import override
from clusterkit.data.manifest import read_manifest
from clusterkit.encoders.registry import load_backbone
from clusterkit.errors import DataError, RunError
from clusterkit.formats.run_reservation import journal_of
from clusterkit.training import keep_epochs
from clusterkit.training.fit_key import fit_key

FILES = ("weights.safetensors", "gallery.safetensors", "calibration.json", "manifest.csv",
         "history.csv")  # fmt: skip

# What differs between two runs of the same data and settings.
OF_ONE_RUN = ("id", "created")


class Stopped(BaseException):
    """Stands for a power failure: nothing that catches errors catches it."""


class Stop:
    """Progress that stops the fit at the n-th call of a stage, and counts the calls."""

    def __init__(self, stage: str = "", at: int = 1):
        self.stage, self.at, self.seen = stage, at, []

    def __call__(self, stage, done, total):
        self.seen.append(stage)
        if stage == self.stage and self.seen.count(stage) == self.at:
            raise Stopped


def contents(run):
    info = json.loads((run / "run.json").read_text())
    return {name: (run / name).read_bytes() for name in FILES} | {
        "run.json": {k: v for k, v in info.items() if k not in OF_ONE_RUN}
    }


class Case:
    """A fit with settings, and the run that it gives undisturbed."""

    def __init__(self, folder, source, config):
        self.folder, self.source, self.config = folder, source, config
        self.progress = Stop()
        self.fit("undisturbed", self.progress)
        self.expected = contents(folder / "undisturbed")

    def fit(self, name, progress=None, **more):
        return fit(self.source, config=self.config, run=self.folder / name, progress=progress,
                   **more)  # fmt: skip

    def stop(self, name, stage, at=1):
        with pytest.raises(Stopped):
            self.fit(name, Stop(stage, at))
        assert not (self.folder / name).exists()
        return sorted(p.name for p in journal_of(self.folder / name).glob("*.safetensors"))

    def go_on(self, name, **more):
        progress = Stop()
        self.fit(name, progress, **more)
        assert contents(self.folder / name) == self.expected
        assert not journal_of(self.folder / name).exists()
        return progress.seen


@pytest.fixture(scope="module")
def head(sample, config, tmp_path_factory):
    own = override(config, data__unlabeled=str(sample / "unlabeled"), train__self_training=1)
    return Case(tmp_path_factory.mktemp("head"), sample / "labels.csv", own)


def tuned(sample, config, folder, **more):
    own = override(config, train__strategy="finetune", train__epochs=3, train__siamese_epochs=3,
                   augment__flip_horizontal=True, **more)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keep_epochs, "LARGEST_SHARE", 1e9)
        yield Case(folder, sample / "labels.csv", own)


@pytest.fixture(scope="module")
def shared(sample, config, tmp_path_factory):
    yield from tuned(sample, config, tmp_path_factory.mktemp("shared"), train__folds=1)


@pytest.fixture(scope="module")
def separate(sample, config, tmp_path_factory):
    more = {"model__encoder": "separate", "train__folds": 2}
    folder = tmp_path_factory.mktemp("separate")
    yield from tuned(sample, override(config, train__batch_size=12), folder, **more)


def test_heads_go_on_where_they_were_stopped(head, caplog):
    assert len(head.stop("a", "embed pool")) >= 1
    kept = head.stop("a", "fit", 2)
    assert {name.partition("-")[0] for name in kept} == {"choice", "linear", "pairs", "pool",
                                                         "views"}  # fmt: skip
    assert "going on with an interrupted fit" in caplog.text
    head.go_on("a")


def test_fresh_begins_anew(head, caplog):
    assert head.stop("b", "fit", 1)
    with pytest.raises(Stopped):
        head.fit("b", Stop("read"), fresh=True)
    assert "going on" not in caplog.text
    assert not journal_of(head.folder / "b").exists()


@pytest.mark.long
def test_damaged_pieces_are_computed_again(head, caplog):
    kept = head.stop("c", "fit", 1)
    for number, name in enumerate(kept):
        path = journal_of(head.folder / "c") / name
        data = bytearray(path.read_bytes())
        data[(number + 1) * len(data) // (len(kept) + 2)] ^= 16
        path.write_bytes(data)
    head.go_on("c")
    assert caplog.text.count("is damaged and is thrown away") == len(kept)


def test_fine_tuning_goes_on_after_its_last_epoch(shared):
    batches = shared.progress.seen.count("fine-tune") - 1
    assert shared.stop("a", "fine-tune", batches) == ["classifier-0-epoch.safetensors"]
    # Two of three epochs were kept, and a network that is trained is not trained again.
    assert shared.stop("a", "embed", 1) == ["classifier-0.safetensors"]
    assert "fine-tune" not in shared.go_on("a")


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fine_tuning_in_half_precision_goes_on(
    sample, config, tmp_path_factory, monkeypatch, dtype
):
    """As a GPU trains: with float16 the scale of the gradients is a part of what is kept."""
    for module in ("callbacks", "learners"):
        monkeypatch.setattr(f"clusterkit.training.{module}.half_precision", lambda device: dtype)
    folder = tmp_path_factory.mktemp("half")
    for case in tuned(sample, config, folder, train__folds=1):
        batches = case.progress.seen.count("fine-tune") - 1
        assert case.stop("a", "fine-tune", batches) == ["classifier-0-epoch.safetensors"]
        case.go_on("a")


@pytest.mark.long
def test_fine_tuning_goes_on_from_any_moment(separate):
    calls, rng = separate.progress.seen, random.Random(1)
    for number in range(3):
        for cut in sorted(rng.sample(range(1, len(calls)), 2)):
            stage = calls[cut]
            # What was done before is reported once: later calls of a stage may not come.
            try:
                separate.fit(f"r{number}", Stop(stage, 1 + calls[:cut].count(stage)))
            except Stopped:
                continue
            break
        if not (separate.folder / f"r{number}").exists():
            separate.go_on(f"r{number}")
        assert contents(separate.folder / f"r{number}") == separate.expected


def test_a_second_fit_of_one_name_is_told_at_once(head):
    def meanwhile(stage, done, total):
        with pytest.raises(RunError, match="another clusterkit is fitting"):
            head.fit("twice", lambda *step: pytest.fail("it has begun"))
        raise Stopped

    with pytest.raises(Stopped):
        head.fit("twice", meanwhile)


def test_an_unnamed_fit_goes_on_under_its_name(head, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stopped):
        fit(head.source, config=head.config, progress=Stop("embed pool"))
    (journal,) = (tmp_path / "runs").iterdir()
    assert list(journal.glob("views-*"))

    def meanwhile(stage, done, total):
        if stage != "embed":
            return
        # Whoever does the same at the same time has another name.
        with pytest.raises(Stopped):
            fit(head.source, config=head.config, progress=Stop("embed"))
        assert len(list((tmp_path / "runs").iterdir())) == 2
        raise Stopped

    with pytest.raises(Stopped):
        fit(head.source, config=head.config, progress=meanwhile)
    assert f"what {journal.relative_to(tmp_path)} holds is not computed again" in caplog.text


@pytest.mark.long
def test_unnamed_fits_at_once_all_have_their_run(head, tmp_path):
    code = "import sys\nfrom clusterkit.cli import run_command\nsys.exit(run_command(sys.argv[1:]))"
    arguments = ["fit", head.source, "--backbone", "squeezenet1_1", "--weights", "none", "--size",
                 "48", "--epochs", "1"]  # fmt: skip
    started = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, *arguments], cwd=tmp_path)
        for _ in range(3)
    ]
    assert [process.wait(timeout=200) for process in started] == [0, 0, 0]
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == 3
    first, *others = [contents(run) for run in runs]
    assert others == [first, first]


def test_wrong_data_leave_nothing(tmp_path, config):
    (tmp_path / "labels.csv").write_text("image,label\nnone.png,a\n")
    with pytest.raises(DataError):
        fit(tmp_path / "labels.csv", config=config, run=tmp_path / "new" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]


def test_wrong_data_leave_what_another_call_had_done(head, tmp_path):
    kept = head.stop("d", "fit", 1)
    (tmp_path / "labels.csv").write_text("image,label\nnone.png,a\n")
    with pytest.raises(DataError):
        fit(tmp_path / "labels.csv", config=head.config, run=head.folder / "d")
    found = sorted(p.name for p in journal_of(head.folder / "d").glob("*.safetensors"))
    assert found == kept


@pytest.mark.long
def test_other_data_between_and_nothing_is_reused(head, sample, tmp_path, config, caplog):
    shutil.copytree(sample, tmp_path / "data")
    table = pd.read_csv(tmp_path / "data" / "labels.csv")
    with pytest.raises(Stopped):
        fit(tmp_path / "data" / "labels.csv", config=config, run=tmp_path / "run",
            progress=Stop("fit", 2))  # fmt: skip
    table["label"] = table["label"].replace({"rod": "ring", "ring": "rod"})
    table.to_csv(tmp_path / "data" / "labels.csv", index=False)
    plain = fit(tmp_path / "data" / "labels.csv", config=config, run=tmp_path / "plain")
    run = fit(tmp_path / "data" / "labels.csv", config=config, run=tmp_path / "run")
    assert "is of a fit with other data, settings or versions, and is thrown away" in caplog.text
    assert contents(run.path) == contents(plain.path)


def test_what_a_journal_is_of(sample, config):
    config = override(config, device="cpu")
    backbone = load_backbone("squeezenet1_1", "none", 48)
    manifest = read_manifest(sample / "labels.csv", config)

    def key(rows=manifest, own=config, network=backbone):
        return json.dumps(fit_key(rows, own, network, None), sort_keys=True)

    for column, value in (("label", "x"), ("image_id", "0"), ("group", "p"), ("split", "valid")):
        changed = manifest.copy()
        changed.loc[3, column] = value
        assert key(changed) != key(), column
    assert key(manifest[1:]) != key()
    assert key(own=override(config, seed=1)) != key()
    assert key(own=override(config, train__C=0.5)) != key()
    # Other random weights.
    assert key(network=load_backbone("squeezenet1_1", "none", 48)) != key()
    moved = manifest.assign(path="/elsewhere/" + manifest["image"])
    assert key(moved) == key()


def test_interrupted_by_a_person(command, head, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("clusterkit.training.fit.load_labelled", interrupted)
    code, out, err = command("fit", head.source, "--run", tmp_path / "run")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == (
        "interrupted; give the same command again, and fit goes on from what it had done"
    )
    assert not list(tmp_path.iterdir())


def killed_at(case, name, seconds):
    """Fit in a process of its own that is killed after so many seconds of work."""
    code = (
        "import os, sys, threading, time\n"
        "from clusterkit.config import Config, config_from_dict\n"
        "from clusterkit.training import keep_epochs\n"
        "from clusterkit import fit\n"
        "import json\n"
        "keep_epochs.LARGEST_SHARE = 1e9\n"
        "source, run, config, seconds = sys.argv[1:]\n"
        "kill = threading.Timer(float(seconds), os.kill, (os.getpid(), 9))\n"
        "kill.daemon = True\n"
        "kill.start()\n"
        "fit(source, config=config_from_dict(json.loads(config)), run=run)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, case.source, case.folder / name,
         json.dumps(case.config.to_dict()), str(seconds)],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["head", "shared", "separate"])
def test_killed_at_any_moment(request, name):
    """`kill -9` again and again, then once to the end: the same bytes, and nothing is left."""
    case, rng = request.getfixturevalue(name), random.Random(7)
    started = time.monotonic()
    assert killed_at(case, "timed", 1000)
    longest = time.monotonic() - started
    for number in range(3):
        run = f"k{number}"
        for _ in range(rng.randint(1, 3)):
            if killed_at(case, run, rng.uniform(0.1, longest)) or (case.folder / run).exists():
                break
        if not (case.folder / run).exists():
            assert killed_at(case, run, 1000)
        assert contents(case.folder / run) == case.expected
        Run.load(case.folder / run)
    left = {p.name for p in case.folder.iterdir() if p.name.endswith((".journal", ".partial"))}
    # A kill between the run and the end of its journal leaves that for the next fit here.
    assert len(left) <= 1
    assert os.listdir(case.folder)
