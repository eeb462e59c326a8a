"""`fit` of several processes: the run of one, and one word where it fails."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clusterkit import Run, fit
from clusterkit.cli import run_command
from clusterkit.config import ImageConfig, config_from_dict, override
from clusterkit.data import loading
from clusterkit.encoders.encoder import EncoderInput
from clusterkit.encoders.registry import load_backbone
from clusterkit.errors import ConfigError, DataError, OthersError, RankError
from clusterkit.formats.fit_journal import KeepsNothing
from clusterkit.formats.run_reservation import journal_of
from clusterkit.launched import Launched, launched
from clusterkit.training import cached_features, keep_epochs, learners, process_group
from clusterkit.training.cached_features import encoding
from clusterkit.training.fastai_names import set_seed
from clusterkit.training.history import History
from clusterkit.training.joining import joined
from clusterkit.training.loaders import TrainingSplit
from clusterkit.training.process_group import ProcessGroup, set_current
from clusterkit.training.shards import embed_paths_shared, in_turns
from clusterkit.training.shared_statistics import part_of_batch
from clusterkit.training.stage_journal import StageJournal
from tests.training.test_fit_resumed import Stop, Stopped, contents
from tests.training.together import together

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")

HOST = socket.gethostname()


def test_a_run_of_two_processes_is_that_of_one(run, sample, config, tmp_path, monkeypatch):
    """All files, byte for byte; both return it."""
    monkeypatch.setattr(cached_features, "CHUNK", 32)
    first, second = together(
        lambda rank: fit(sample / "labels.csv", config=config, run=tmp_path / "run").path
    )
    assert first.resolve() == second.resolve() == tmp_path / "run"
    assert contents(tmp_path / "run") == contents(run.path)
    assert not journal_of(tmp_path / "run").exists()


def pool_embedded(rank, refs, known=()):
    """Embed images at `refs` by a small network; returns features and what was kept."""
    torch.manual_seed(0)
    encoder = load_backbone("squeezenet1_1", "none", 48).encoder
    kept, how = [], ImageConfig(size=48)
    with joined({}, "cpu") as group:
        if not group.leads:
            return group.follow()
        found = embed_paths_shared(
            encoding(encoder, "cpu"), refs, how, "cpu", lambda done, total: None, dict(known),
            lambda number, _: kept.append(number),
        )  # fmt: skip
        group.dismiss("done")
    return found.classifier.numpy(), kept


@pytest.fixture(scope="module")
def refs(sample):
    paths = sorted((sample / "labeled").rglob("*.png")) + sorted(
        (sample / "unlabeled").rglob("*.png")
    )
    return [
        (str(path), None) for path in [*paths[:40], paths[0].parent / "none.png", *paths[40:70]]
    ]


def test_images_of_the_pool_are_read_and_embedded_by_both(refs):
    """One cannot be read by anybody: it is left out, as for one process."""
    alone, _ = pool_embedded(0, refs)
    (features, kept), done = together(partial(pool_embedded, refs=refs))
    assert done == "done"
    assert kept == [0, 1, 2]
    assert len(features) == len(refs) - 1
    np.testing.assert_array_equal(features, alone)


def test_an_image_that_one_machine_lacks_is_named(refs):
    def work(rank):
        read = loading.read_identified

        def lacking(path, frame):
            if path == refs[35][0]:
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return read(path, frame)

        if rank:
            loading.read_identified = lacking
        return pool_embedded(rank, refs)

    first, second = together(work)
    assert isinstance(first, DataError)
    assert f"rank 1 ({HOST}) cannot read '{refs[35][0]}'" in str(first)
    assert "on a disk that all share" in str(first)
    assert isinstance(second, OthersError)


class _Small(torch.nn.Sequential):
    channels = 8
    expects, side = EncoderInput(), 16

    def __init__(self):
        super().__init__(
            torch.nn.Conv2d(3, 8, 3, stride=2, bias=False),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 8, 3, bias=False),
            torch.nn.BatchNorm2d(8),
        )


def finetuned(train, n_classes=(), epochs=3):
    """Train without what is drawn by chance in each process; returns weights and losses."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 20)
    images = rng.integers(0, 180, (60, 16, 16, 3), dtype=np.uint8)
    images[np.arange(60), :, :, labels] += 70
    augment = {"flip_horizontal": False, "flip_vertical": False, "max_rotate": 0, "max_zoom": 1.0,
               "max_lighting": 0, "max_warp": 0}  # fmt: skip
    # No number of processes but one divides it.
    config = config_from_dict({"device": "cpu", "train": {"batch_size": 11}, "augment": augment})
    set_seed(0)
    encoder, history = _Small(), History()
    data = TrainingSplit(images, labels, np.arange(45), np.arange(45, 60), True)
    stage = StageJournal(KeepsNothing(), "of-0", history)
    with joined({}, "cpu") as group:
        if not group.leads:
            return group.follow()
        head = train(encoder, data, *n_classes, config, epochs, stage, lambda done, total: None)
        group.dismiss("")
    losses = [(row["train_loss"], row["valid_loss"]) for row in history.rows]
    weights = [value.float() for part in (encoder, head) for value in part.state_dict().values()]
    return torch.cat([value.flatten() for value in weights]).numpy(), losses


@pytest.mark.parametrize(
    ("train", "n_classes", "size"),
    [
        (learners.finetune_classifier, (3,), 2),
        pytest.param(learners.finetune_classifier, (3,), 3, marks=pytest.mark.long),
        pytest.param(learners.finetune_siamese, (), 2, marks=pytest.mark.long),
        (learners.finetune_siamese, (), 3),
    ],
    ids=["classifier-2", "classifier-3", "siamese-2", "siamese-3"],
)
def test_steps_of_fine_tuning_are_those_of_one_process(size, train, n_classes, monkeypatch):
    """Gradients, BatchNorm, schedule and validation, where parts of batches are unequal."""
    monkeypatch.setattr(learners, "create_head", partial(learners.create_head, ps=0.0))
    alone, losses = finetuned(train, n_classes)
    (weights, of_all), *_ = together(lambda rank: finetuned(train, n_classes), size)
    np.testing.assert_allclose(of_all, losses, rtol=1e-3)
    np.testing.assert_allclose(weights, alone, rtol=1e-3, atol=1e-3)


@given(st.integers(1, 200), st.integers(1, 9))
def test_parts_of_a_batch_are_all_of_it_and_alike(images, size):
    parts = []
    try:
        for rank in range(size):
            set_current(ProcessGroup(Launched(rank, size)))
            parts.append(list(range(images))[part_of_batch(images)])
    finally:
        set_current(ProcessGroup())
    assert [image for part in parts for image in part] == list(range(images))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def turns(rank, parts):
    with joined({}, "cpu") as group:
        if not group.leads:
            return group.follow()
        found = list(in_turns(partial(np.add, 1), iter(parts)))
        group.dismiss("done")
        return found


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_turns_give_all_results_in_order(count):
    assert together(partial(turns, parts=range(count))) == [list(range(1, count + 1)), "done"]


def test_other_settings_of_one_process_are_named(sample, config, tmp_path):
    def work(rank):
        return fit(sample, config=replace(config, seed=rank), run=tmp_path / "run")

    first, second = together(work)
    assert isinstance(first, ConfigError)
    assert f"rank 1 ({HOST}) was called with config.seed = 1, and rank 0" in str(first)
    assert isinstance(second, OthersError)
    assert list(tmp_path.iterdir()) == []


def test_another_version_of_one_process_is_named(sample, config, tmp_path):
    def work(rank):
        import clusterkit

        clusterkit.__version__ = f"0.{rank}"
        return fit(sample, config=config, run=tmp_path / "run")

    first, second = together(work)
    assert str(first).startswith(f"rank 1 ({HOST}) has clusterkit 0.1, and rank 0")
    assert isinstance(second, OthersError)


def test_an_error_of_the_leader_is_said_once(tmp_path, config):
    first, second = together(lambda rank: fit(tmp_path / "none", config=config))
    assert isinstance(first, DataError)
    assert isinstance(second, OthersError)


def test_an_error_of_another_process_names_it(sample, config, tmp_path, monkeypatch):
    monkeypatch.setattr(cached_features, "CHUNK", 16)

    def fail(*_, **__):
        raise OSError(28, "No space left on device", "a file")

    def work(rank):
        if rank:
            cached_features.embed_chunk = fail
        return fit(sample / "labels.csv", config=config, run=tmp_path / "run").path

    first, second = together(work)
    assert isinstance(second, RankError)
    assert str(second).startswith(f"rank 1 ({HOST}): OSError: ")
    assert isinstance(first, OthersError)


def test_a_process_that_dies_is_noticed():
    def work(rank):
        with joined({}, "cpu") as group:
            if not group.leads:
                return group.follow()
            return list(in_turns(partial(_die_elsewhere, os.getpid()), range(2)))

    first, second = together(work)
    assert isinstance(first, RankError)
    assert f"rank 1 ({HOST}) of this fit has ended without a word" in str(first)
    assert second is None


def _die_elsewhere(survivor, part):
    if os.getpid() != survivor:
        os._exit(9)
    return part


def test_batches_smaller_than_the_processes_are_refused(sample, config, tmp_path):
    few = override(config, train__strategy="finetune", train__batch_size=2, train__epochs=1)
    first, *others = together(lambda rank: fit(sample / "labels.csv", config=few), 3)
    assert "batches of 2 images cannot be divided among 3 processes" in str(first)
    assert all(isinstance(other, OthersError) for other in others)


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_a_device_that_cannot_be_shared_is_refused(sample, config, device, monkeypatch):
    monkeypatch.setattr("clusterkit.training.joining.choose_device", torch.device)
    wanted = override(config, device=device)
    first, second = together(lambda rank: fit(sample, config=wanted))
    assert isinstance(first, ConfigError)
    assert "--device" in str(first)
    assert isinstance(second, OthersError)


def test_more_processes_than_gpus_are_refused(sample, config, monkeypatch):
    monkeypatch.setattr("clusterkit.training.joining.choose_device", torch.device)
    first, _ = together(lambda rank: fit(sample, config=override(config, device="cuda")))
    assert f"rank 0 ({HOST}) has no GPU of its own" in str(first)


@pytest.mark.long
def test_others_that_cannot_be_met_are_one_line(sample, config, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(process_group, "PATIENCE", timedelta(seconds=1))
    with pytest.raises(RankError, match=r"rank 1 of 2 has not met the others at 127.0.0.1:1 \("):
        fit(sample, config=config)


@pytest.mark.parametrize(
    "environment",
    [{"WORLD_SIZE": "two"}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "2", "RANK": "2"},
     {"WORLD_SIZE": "2", "RANK": "0"}, {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here"},
     {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "port"}],
)  # fmt: skip
def test_an_environment_that_cannot_be_is_one_line(environment, monkeypatch, command):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError):
        launched()
    code, _, err = command("fit", "nowhere")
    assert code == 1
    assert err.count("\n") == 1
    assert "unset it" in err


def test_a_process_that_nobody_joins_says_so(monkeypatch, caplog):
    monkeypatch.setattr(process_group, "PATIENCE", timedelta(seconds=1))
    monkeypatch.setattr(process_group, "UNEXPLAINED", 0.1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RankError, match="rank 0 of 2 has not met the others"):
        ProcessGroup(Launched(0, 2)).connect()
    assert "waits at 127.0.0.1" in caplog.text
    assert "unset WORLD_SIZE" in caplog.text


def test_one_process_of_a_launcher_is_the_ordinary_way(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert launched() == Launched()


def test_other_commands_run_in_one_process(monkeypatch, command):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("RANK", "0")
    code, _, err = command("assign", "unlabeled")
    assert code == 2
    assert "only fit is divided among several" in err


@pytest.mark.long
def test_the_command_speaks_once(sample, tmp_path, capfd):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "somebody's").touch()
    work = ["fit", str(sample), "--run", str(tmp_path / "run")]
    assert together(lambda rank: run_command(work)) == [1, 1]
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.long
def test_fine_tuning_goes_on_with_the_same_numbers(sample, config, tmp_path, monkeypatch):
    """Augmentation of the other process too."""
    monkeypatch.setattr(keep_epochs, "LARGEST_SHARE", 1e9)
    tuned = override(config, train__strategy="finetune", train__epochs=3, train__folds=1)

    def work(rank, name, stop=None):
        return fit(sample / "labels.csv", config=tuned, run=tmp_path / name, progress=stop).path

    together(partial(work, name="undisturbed"))
    first, second = together(partial(work, name="run", stop=Stop("fine-tune", 4)))
    assert isinstance(first, Stopped)
    assert isinstance(second, OthersError)
    assert (journal_of(tmp_path / "run") / "classifier-0-by-2-epoch.safetensors").exists()
    together(partial(work, name="run"))
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")


def torchrun(*arguments, processes=2, **more):
    # What torchrun takes for its own prefix of --run is the command's after "--".
    whole = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}",
             "-m", "--", "clusterkit", *map(str, arguments)]  # fmt: skip
    return subprocess.Popen(
        whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def said(err):
    """Return the lines that are clusterkit's, and not torchrun's."""
    return [
        line
        for line in err.splitlines()
        if line.startswith(("error: ", "interrupted", "terminated;"))
    ]


@pytest.mark.long
@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("rank", [0, 1, None], ids=["leader", "other", "torchrun"])
def test_torchrun_survives_the_end_of_a_process(ended, rank, sample, tmp_path):
    """Nobody hangs, one line is said, and the same command goes on."""
    if rank is None and ended == signal.SIGKILL:
        pytest.skip("nobody is left to end the others")
    arguments = ["fit", sample / "labels.csv", "--run", tmp_path / "run", "--size", "48", "-v"]
    process = torchrun(*arguments)
    while "strategy head" not in process.stderr.readline():
        assert process.poll() is None
    listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    ranks = [int(pid) for pid in listed.stdout.split()]
    os.kill(process.pid if rank is None else ranks[rank], ended)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert len(said(err)) == 1
    assert not (tmp_path / "run").exists()
    out, err = torchrun(*arguments).communicate(timeout=100)
    assert out.count("held out") == 1
    assert said(err) == []
    assert Run.load(tmp_path / "run").info.data.images == 54
