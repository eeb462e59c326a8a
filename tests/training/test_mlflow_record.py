"""The MLflow record of a fit: what it has, what it never has, and that it fails no fit."""

import logging
import math
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest

from clusterkit import fit
from clusterkit.config import override
from clusterkit.errors import ConfigError, OutputError
from clusterkit.training.fit_key import fit_key
from clusterkit.training.mlflow_record import (
    MlflowRecord,
    open_record,
    recorded_metrics,
    recorded_settings,
)


class Client:
    """MLflow's client, of which notes are taken."""

    made = ()

    def __init__(self, target):
        if "refused" in target:
            raise ConnectionError(f"HTTPConnectionPool(host='x'): {target} (Caused by many words)")
        self.target, self.params, self.metrics, self.ended = target, {}, [], None
        Client.made.append(self)

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="7") if name == "clusterkit" else None

    def create_run(self, experiment, run_name, tags):
        assert experiment == "7"
        self.name, self.tags = run_name, tags
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def log_batch(self, record, metrics=(), params=()):
        self.params |= dict(params)
        self.metrics += metrics

    def set_terminated(self, record, status):
        self.ended = status


@pytest.fixture
def client(monkeypatch):
    """A stand-in for MLflow; the clients that were made."""
    mlflow, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    mlflow.MlflowClient = Client
    entities.Metric = lambda key, value, time, step: (key, value, step)
    entities.Param = lambda key, value: (key, value)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setattr(Client, "made", [])
    return Client.made


def test_a_record_has_settings_metrics_and_losses(client, run, tmp_path):
    MlflowRecord(str(tmp_path / "records")).write(run)
    (made,) = client
    assert made.target == (tmp_path / "records").as_uri()
    assert made.name == made.tags["clusterkit.run"] == run.info.id
    assert made.params["image.size"] == "48"
    assert made.params["strategy"] == "head"
    found = {(key, step): value for key, value, step in made.metrics}
    assert found["accuracy", 0] == run.info.metrics["accuracy"]
    losses = [key for key, _ in found if key.endswith("train_loss")]
    assert len(losses) == len(run.history)
    assert all(math.isfinite(value) for value in found.values())
    assert made.ended == "FINISHED"


def test_a_record_has_no_path_and_no_name_of_the_data(run, sample):
    info = replace(run.info, backbone="local-dir:/home/somebody/nets/one", weights="none")
    settings = recorded_settings(replace(run, info=info))
    assert settings["backbone"] == "local-dir:one"
    assert not any(name.startswith("data") or name.endswith("mlflow") for name in settings)
    said = str(settings) + str(list(recorded_metrics(run)))
    assert "/" not in str(settings.values())
    assert not any(str(group) in said for group in run.manifest["group"].unique())
    assert not any(str(image) in said for image in run.manifest["image"])


def test_names_of_metrics_are_such_as_mlflow_takes(run):
    metrics = run.info.metrics | {"within_groups": False, "of": {"a+b": 1, "words": "c"}}
    other = replace(run, info=replace(run.info, metrics=metrics))
    found = [name for name, *_ in recorded_metrics(other)]
    assert "of.a-b" in found
    assert "of.words" not in found
    assert "within_groups" not in found


@pytest.mark.slow
def test_fit_writes_it_and_keeps_the_place_to_itself(client, run, sample, config, tmp_path):
    place = str(tmp_path / "records")
    config = override(config, train__mlflow=place, train__folds=1)
    found = fit(sample / "labels.csv", config=config, run=tmp_path / "run")
    assert [made.name for made in client] == [found.info.id]
    assert found.info.config["train"]["mlflow"] is None
    assert place not in (tmp_path / "run" / "run.json").read_text()


def test_without_mlflow_nothing_is_learned(monkeypatch, sample, config, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"needs mlflow.*pip install 'clusterkit\[mlflow\]'"):
        fit(sample / "labels.csv", config=config, run=tmp_path / "run", mlflow=tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://me:secret@refused:5000", "written to http://refused:5000: ConnectionError: "),
        ("file", "cannot write .*file.*; give another --mlflow"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line_before_the_work(client, tmp_path, target, message):
    (tmp_path / "file").write_text("mine")
    target = str(tmp_path / target) if target == "file" else target
    with pytest.raises(OutputError, match=message) as error:
        open_record(target)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_record_that_breaks_off_is_a_warning(client, run, tmp_path, monkeypatch, caplog):
    record = MlflowRecord(str(tmp_path / "records"))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Client, "log_batch", full)
    with caplog.at_level(logging.WARNING, "clusterkit"):
        record.write(run)
    assert len(caplog.messages) == 1
    assert "the run is written, and its MLflow record in" in caplog.messages[0]
    assert "No space left" in caplog.messages[0]


@pytest.mark.parametrize("target", ["", " "])
def test_an_empty_place_is_not_the_folder_of_the_process(target):
    with pytest.raises(ConfigError, match="is empty; give a folder"):
        open_record(target)


def test_nobody_wants_one(run):
    assert open_record(None).write(run) is None


def test_the_journal_of_a_fit_does_not_depend_on_it(run, config):
    from clusterkit.encoders.registry import load_backbone

    backbone = load_backbone("squeezenet1_1", "none", 48)
    keys = [fit_key(run.manifest, override(config, device="cpu", train__mlflow=place), backbone,
                    None) for place in (None, "records")]  # fmt: skip
    assert keys[0] == keys[1]


def test_mlflow_itself(run, tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is not installed (extra mlflow)")
    MlflowRecord(str(tmp_path / "records")).write(run)
    from mlflow import MlflowClient

    client = MlflowClient((tmp_path / "records").as_uri())
    experiment = client.get_experiment_by_name("clusterkit").experiment_id
    (found,) = client.search_runs([experiment])
    assert found.data.metrics["accuracy"] == run.info.metrics["accuracy"]
    assert found.data.params["strategy"] == "head"
    assert found.info.status == "FINISHED"
    assert set(found.data.tags) == {"clusterkit.run", "clusterkit.version", "torch.version",
                                    "mlflow.runName"}  # fmt: skip
    stage, fold = run.history.iloc[0][["stage", "fold"]]
    steps = client.get_metric_history(found.info.run_id, f"{stage}/fold {fold}/train_loss")
    assert [one.step for one in steps] == list(range(len(steps)))
