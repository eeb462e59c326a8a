"""The configuration: what is allowed stands beside every field, and files are read key by key."""

import dataclasses
import inspect
import os
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest

import clusterkit
from clusterkit.cli import cli
from clusterkit.commands.options import ConfigOption
from clusterkit.config import (
    Config,
    config_from_dict,
    lay_over,
    load_config,
    override,
    setting_names,
    settings,
    with_settings,
)
from clusterkit.config_fields import Check, Doc, Range
from clusterkit.errors import ConfigError


def annotations():
    """Yield (key, type, marks) of every field."""
    for section in (f for f in dataclasses.fields(Config)):
        default = getattr(Config(), section.name)
        inner = dataclasses.is_dataclass(default)
        cls = type(default) if inner else Config
        for name, hint in typing.get_type_hints(cls, include_extras=True).items():
            if inner or name == section.name:
                kind, *marks = typing.get_args(hint)
                key = f"{section.name}.{name}" if inner else name
                yield key, kind, {type(mark): mark for mark in marks}


def test_every_number_has_a_range_and_every_field_a_line_of_help():
    keys = []
    for key, kind, marks in annotations():
        keys.append(key)
        assert marks[Doc].text.endswith("."), key
        assert len(marks[Doc].text) < 100, key
        union = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        options = {typing.get_origin(option) or option for option in union}
        if {int, float} & options and str not in options:
            assert marks[Range].low < marks[Range].high, key
        elif {int, float, list} & options:
            assert marks[Check].words, key
    assert keys == [setting.key for setting in settings()]
    assert len(keys) > 50


def test_defaults_are_allowed():
    tree = Config().to_dict()
    assert config_from_dict(tree) == Config()


def test_every_range_refuses_what_is_beyond_it():
    ranges = [(key, marks[Range]) for key, _, marks in annotations() if Range in marks]
    assert len(ranges) > 25
    for key, allowed in ranges:
        section, _, name = key.rpartition(".")
        for value in (allowed.low - 1, allowed.high + 1):
            number = type(value)(value)
            tree = {section: {name: number}} if section else {name: number}
            with pytest.raises(ConfigError, match=f"{name} = .* must be between .* and "):
                config_from_dict(tree)


def test_settings_are_described_in_words():
    by_key = {setting.key: setting for setting in settings()}
    size = by_key["image.size"]
    assert (size.type, size.default, size.allowed) == ("whole number or none", None, "32 to 4096")
    error = by_key["assign.max_error"]
    assert (error.type, error.default_text, error.allowed) == (
        "number or none", "0.05", "1e-06 to 0.999999")  # fmt: skip
    assert by_key["image.resize"].choices == ("squish", "crop", "pad")
    assert by_key["engine.label_shift"].default_text == "true"
    assert "brain" in by_key["image.window"].allowed
    assert by_key["train.epochs"].default_text == "none"


def test_a_file_is_laid_over_key_by_key():
    fitted = config_from_dict({"engine": {"pool_top": 1}, "assign": {"max_error": "none"}})
    config = lay_over(fitted, {"engine": {"novelty_alpha": 0.2}, "seed": 4}, "f.toml")
    assert (config.engine.pool_top, config.engine.novelty_alpha, config.seed) == (1, 0.2, 4)
    assert config.assign.max_error is None
    assert fitted.engine.novelty_alpha == 0.1
    with pytest.raises(ConfigError, match=r"f.toml: unknown key 'engine.pool_tap'.*'pool_top'"):
        lay_over(fitted, {"engine": {"pool_tap": 2}}, "f.toml")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "cannot read config .*: Is a directory"),
        (lambda path: path.write_bytes(b"seed = 1 # \xff"), "it is not UTF-8 text"),
        (lambda path: path.write_text("seed ="), "is not valid TOML"),
        (lambda path: path.write_text("x = " + "[" * 100_000), "is not valid TOML"),
        (lambda path: path.write_text("seed = " + "9" * 5000), "is not valid TOML"),
        (lambda path: path.symlink_to("nowhere.toml"), "cannot read config .*: No such file"),
    ],
)
def test_a_config_file_that_cannot_be_read(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "clusterkit.toml")
    for path in (None, "clusterkit.toml", tmp_path / "clusterkit.toml"):
        with pytest.raises(ConfigError, match=message) as error:
            load_config(path)
        assert "\n" not in str(error.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_config_file_without_permission(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 1")
    path.chmod(0)
    with pytest.raises(ConfigError, match=r"cannot read config .*: Permission denied"):
        load_config(path)


def test_the_config_is_light_to_import():
    code = ("import sys, clusterkit.config; "
            "print({'torch', 'numpy', 'pandas', 'fastai'} & set(sys.modules))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[1])  # fmt: skip
    assert done.stdout.strip() == "set()"


FUNCTIONS = {"fit": "fit", "assign": "assign", "audit": "audit", "embed": "embed",
             "inspect": "inspect", "similar": "similar"}  # fmt: skip

# Of the terminal alone: what is printed, shown or exited with, and what is not in this version.
ONLY_COMMAND = {
    "config_file", "as_json", "log_json", "quiet", "verbose", "help", "strict", "ask", "engine",
    "address", "serve", "port", "data", "unlabeled",
}  # fmt: skip
# `audit --image` is `sheet`'s, `similar --outcomes` is `similar_groups`'.
ELSEWHERE = {("audit", "image"), ("similar", "outcomes")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_option_of_a_command_is_a_keyword_of_its_function(name):
    options = {option.name for option in cli.commands[name].params} - ONLY_COMMAND
    options -= {option for command, option in ELSEWHERE if command == name}
    keywords = inspect.signature(getattr(clusterkit, name)).parameters
    assert options <= set(keywords), sorted(options - set(keywords))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_and_keywords_of_one_name_are_one_setting(name):
    keys = setting_names(name)
    for option in cli.commands[name].params:
        if isinstance(option, ConfigOption):
            assert keys[option.name] == option.key


def test_settings_as_keywords():
    config = with_settings(Config(), {"max_error": 0.15, "images": Path("a"), "seed": None}, "fit")
    assert config == override(Config(), assign__max_error=0.15, data__images="a")
    assert with_settings(Config(), {"batch_size": 3}, "fit").train.batch_size == 3
    assert with_settings(Config(), {"batch_size": 3}, "assign").assign.batch_size == 3
    with pytest.raises(ConfigError, match=r"assign has no option 'max_eror' \(did you mean"):
        with_settings(Config(), {"max_eror": 0.1}, "assign")
    # What a run's calibration rests on is no option of what uses it.
    with pytest.raises(ConfigError, match="assign has no option 'backbone'"):
        with_settings(Config(), {"backbone": "resnet34"}, "assign")
    with pytest.raises(ConfigError, match="max_error"):
        with_settings(Config(), {"max_error": 7}, "assign")
