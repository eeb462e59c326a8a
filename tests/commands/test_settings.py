"""Settings of the commands: defaults in the help, files over a run's, the calibration's own."""

import json
import os
import shutil

import pytest

from clusterkit import Config, Run, assign, fit
from clusterkit.cli import cli
from clusterkit.commands.options import ConfigOption
from clusterkit.config import AuditConfig, config_from_dict, override, settings
from clusterkit.formats.run_settings import calibrated_keys

# Of no key in the config: each is a path or has its default from click.
_OTHER_DEFAULTS = {
    "split_folders",
    "run",
    "out",
    "config_file",
    "assignments",
    "port",
    "engine",
    "address",
}


@pytest.mark.parametrize("name", ["fit", "assign", "audit", "similar", "inspect"])
def test_help_shows_the_defaults_of_the_config(command, name):
    code, text, _ = command(name, "--help")
    text = " ".join(text.split())
    defaults = {setting.key: setting for setting in settings()}
    options = [p for p in cli.commands[name].params if p.param_type_name == "option"]
    of_config = [o for o in options if isinstance(o, ConfigOption)]
    assert code == 0
    assert len(of_config) >= 1
    for option in of_config:
        default = defaults[option.key].default
        if default is not None:
            assert option.help.endswith(f"default {defaults[option.key].default_text}.")
        else:
            assert "; default " in option.help
        assert option.help in text
    others = [o for o in options if o not in of_config and "efault" in (o.help or "")]
    assert {o.name for o in others} <= _OTHER_DEFAULTS


def test_options_are_those_of_the_config():
    """An option that a config's key is overridden with is a `ConfigOption`."""
    keys = {s.key.rpartition(".")[2] for s in settings()} - {
        "per_class", "keep_tags", "seed", "keep_localizers", "follow_links", "link_roots",
        "split_folders",
    }  # fmt: skip
    for name in ("fit", "assign", "audit"):
        for option in cli.commands[name].params:
            if option.name in keys and option.param_type_name == "option":
                assert isinstance(option, ConfigOption), (name, option.name)


def test_a_changed_default_shows_in_the_help(monkeypatch):
    monkeypatch.setattr(AuditConfig.__init__, "__defaults__", (321, "gradcam", "copy", 200, 9))
    assert Config().audit.limit == 321
    option = ConfigOption(["--limit"], key="audit.limit", help="Images with CAMs")
    assert option.help == "Images with CAMs; default 321."


def test_what_the_calibration_rests_on():
    keys = calibrated_keys()
    assert {k.partition(".")[0] for k in keys} == {"image", "model", "engine"}
    of_engine = [k.partition(".")[2] for k in keys if k.startswith("engine.")]
    assert of_engine == ["gate_mass", "gate_max", "pool_top", "max_exemplars"]


@pytest.fixture(scope="module")
def sharp(sample, config, tmp_path_factory):
    """A run whose similarity is that of the single most similar exemplar."""
    path = tmp_path_factory.mktemp("sharp") / "run"
    one = override(config, engine__pool_top=1)
    fit(sample / "labels.csv", config=one, run=path)
    return path


@pytest.fixture
def assigned(command, sample, sharp, tmp_path, monkeypatch):
    """Call assign in a folder with a clusterkit.toml; returns the CSV's bytes and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(text, name="a.csv"):
        if text is not None:
            (tmp_path / "clusterkit.toml").write_text(text)
        code, _, err = command("assign", sample / "unlabeled.csv", "--run", sharp, "--out", name,
                               "--fresh")  # fmt: skip
        assert code == 0, err
        return (tmp_path / name).read_bytes(), err

    return call


@pytest.mark.slow
def test_a_file_with_one_other_key_changes_nothing(assigned, sharp, tmp_path):
    plain, err = assigned(None)
    assert err == ""
    with_file, err = assigned('[data]\nimage_column = "image"\n')
    assert with_file == plain
    assert err == "note: clusterkit.toml: laid over the run's settings: data.image_column\n"
    # The run's own settings hold, and not the defaults.
    assert json.loads((tmp_path / "a.json").read_text())["promise"]["max_error"] == 0.4
    assert Run.load(sharp).config.engine.pool_top == 1


def test_quiet_says_nothing_of_the_file(command, sample, sharp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clusterkit.toml").write_text("[data]\nmax_classes = 5\n[engine]\npool_top = 3\n")
    code, _, err = command("assign", sample / "unlabeled.csv", "--run", sharp, "--out", "a.csv",
                           "-q")  # fmt: skip
    assert (code, err) == (0, "")


def test_a_key_of_the_calibration_is_not_used_and_named_in_one_line(assigned):
    plain, _ = assigned(None)
    with_file, err = assigned("[engine]\npool_top = 5\n[image]\nsize = 64\n")
    assert with_file == plain
    (line,) = err.splitlines()
    assert line.startswith("warning: clusterkit.toml: not used: ")
    assert "image.size = 64 (the run's: 48)" in line
    assert "engine.pool_top = 5 (the run's: 1)" in line
    assert "run `clusterkit fit` again" in line
    # What says the same as the run is no contradiction.
    again, err = assigned("[engine]\npool_top = 1\n[image]\nsize = 48\n")
    assert (again, err) == (plain, "")


def test_other_keys_of_the_file_are_used(assigned, tmp_path):
    _, err = assigned("device = 'cpu'\n[assign]\nmax_error = 'none'\n")
    (line,) = err.splitlines()
    assert line.endswith("laid over the run's settings: device, assign.max_error")
    assert json.loads((tmp_path / "a.json").read_text())["promise"] is None


@pytest.mark.parametrize("name", ["audit", "similar", "export"])
def test_other_commands_take_the_calibration_from_the_run(
    command, sample, sharp, tmp_path, monkeypatch, name
):
    run = tmp_path / "run"
    shutil.copytree(sharp, run)
    info = json.loads((run / "run.json").read_text())
    info["data"]["root"] = os.path.relpath(sample, run)
    (run / "run.json").write_text(json.dumps(info))
    monkeypatch.chdir(tmp_path)
    assert command("assign", sample / "unlabeled.csv", "--run", run)[0] == 0
    (tmp_path / "clusterkit.toml").write_text("[image]\nsize = 64\n[audit]\nlimit = 4\n")
    arguments = {
        "audit": (),
        "similar": (next(sample.glob("labeled/*/*")), "--json"),
        "export": ("--to", "coco"),
    }
    code, _, err = command(name, "--run", run, *arguments[name])
    assert code == 0, err
    named = [line for line in err.splitlines() if "clusterkit.toml: not used" in line]
    assert len(named) == 1
    assert "image.size = 64 (the run's: 48)" in named[0]


def test_a_config_in_python_cannot_change_the_calibration(sample, config, sharp, tmp_path, caplog):
    run = Run.load(sharp)
    plain = assign(run, sample / "unlabeled.csv", out=tmp_path / "a.csv")
    assert caplog.text == ""
    other = override(config, engine__pool_top=3, engine__gate_max=1, image__size=64)
    again = assign(run, sample / "unlabeled.csv", out=tmp_path / "b.csv", config=other)
    assert again.path.read_bytes() == plain.path.read_bytes()
    (record,) = [r for r in caplog.records if "not used" in r.message]
    assert "engine.pool_top = 3 (the run's: 1)" in record.message
    assert "engine.gate_max = 1 (the run's: 5)" in record.message
    assert "image.size = 64 (the run's: 48)" in record.message
    caplog.clear()
    # A default is what somebody has who chose nothing.
    kept = run.config_with(config_from_dict({"assign": {"max_error": 0.4}}))
    assert kept.engine == run.config.engine
    assert kept.image == run.config.image
    assert kept.model == run.config.model
    assert caplog.text == ""


def test_a_file_of_weights_is_known_by_its_name(run):
    fitted = override(run.config, model__weights="cells.pth")
    from clusterkit.formats.run_settings import with_file

    values = {"model": {"weights": "../weights/cells.pth"}}
    assert with_file(fitted, values, "c.toml").model.weights == "cells.pth"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\npool_tap = 1\n", "unknown key 'engine.pool_tap' (did you mean 'pool_top'?)"),
        ("[engine]\npool_top = 0\n", "engine.pool_top = 0 must be between 1 and 1000"),
        ("[image]\nsize = 4\n", "image.size = 4 must be between 32 and 4096"),
        ("[assign]\nconfidence = 90\n", "assign.confidence = 90.0 must be between 0.5 and"),
        ("[data\n", "is not valid TOML"),
        (b"# \xff\n", "it is not UTF-8 text"),
        (None, "Is a directory"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_mistakes_in_a_file_over_a_run(
    command, run, sample, tmp_path, monkeypatch, text, message, named
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "clusterkit.toml"
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    given = ("--config", path) if named else ()
    code, _, err = command("assign", sample / "unlabeled.csv", "--run", run.path, "--out",
                           "a.csv", *given)  # fmt: skip
    (line,) = err.splitlines()
    assert (code, line[:7]) == (1, "error: ")
    assert message in line
    assert "clusterkit.toml" in line
    assert not (tmp_path / "a.csv").exists()
