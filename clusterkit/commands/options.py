"""Options that all commands share, the progress bar, and the printing of results."""

import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.config import (
    Config,
    Setting,
    config_from_dict,
    default_file,
    override,
    read_toml,
    settings,
)

if TYPE_CHECKING:
    from tqdm import tqdm

    from clusterkit.formats.run import Run

# Any function that click turns into a command.
Command = Callable[..., Any]

# What a stage counts, if not images.
_UNITS = {"fit": " models", "headers": " files"}


class Bar:
    """Turns (stage, done, total) into a tqdm bar on a terminal, with speed and time left."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.stage = quiet or not sys.stderr.isatty(), ""
        self.bar: tqdm | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self.quiet:
            return
        from tqdm import tqdm

        # A stage comes again for another fold: it has a speed of its own.
        if self.bar is None or stage != self.stage or done < self.bar.n:
            self.close()
            unit = _UNITS.get(stage, " images")
            self.bar, self.stage = tqdm(total=total, desc=stage, unit=unit, file=sys.stderr), stage
        # Training that ends early has fewer images than it began with.
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        click.echo(prefix + record.getMessage(), err=True)


def setting_of(key: str) -> Setting:
    """Return the description of a key of the config, e.g. ``image.size``."""
    return next(setting for setting in settings() if setting.key == key)


class ConfigOption(click.Option):
    """An option that stands for a key of the config; its help ends with the key's default.

    Parameters
    ----------
    names : sequence of str
    key : str
        E.g. ``image.size``.
    help : str
        One line without the default.
    otherwise : str
        The words for a default of None, e.g. ``by strategy``.
    """

    def __init__(
        self, names: Sequence[str], *, key: str, help: str, otherwise: str = "none", **options: Any
    ) -> None:
        self.key = key
        setting = setting_of(key)
        default = otherwise if setting.default is None else setting.default_text
        if setting.choices:
            options.setdefault("type", click.Choice(setting.choices))
        super().__init__(names, help=f"{help}; default {default}.", **options)


def config_option(*names: str, key: str, help: str, **options: Any) -> Callable[[Command], Command]:
    """Add an option that stands for a key of the config; see `ConfigOption`."""
    return click.option(*names, cls=ConfigOption, key=key, help=help, **options)


@dataclass(frozen=True)
class CommonOptions:
    """Options that all commands take, read.

    Attributes
    ----------
    config : Config
        The settings file over the defaults, and options over both.
    bar : Bar
    as_json : bool
        The summary is printed as JSON.
    file : Path or None
        The settings file.
    named : bool
        It was named on the command line, and not found in the current folder.
    values : dict
        What it holds.
    seed : int or None
        Of the command line.
    """

    config: Config
    bar: Bar
    as_json: bool
    file: Path | None = None
    named: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None

    @classmethod
    def read(
        cls, file: Path | None, device: str | None, seed: int | None, bar: Bar, as_json: bool
    ) -> "CommonOptions":
        """Read the settings file that is named, else ``./clusterkit.toml`` if there is one."""
        named, file = file is not None, file or default_file()
        values = read_toml(file) if file else {}
        config = override(config_from_dict(values, where=str(file)), device=device, seed=seed)
        return cls(config, bar, as_json, file, named, values, seed)

    def load_run(self, run: Path | None) -> "tuple[Run, Config]":
        """Load a run, else the newest; the settings file and options are laid over its settings."""
        from clusterkit.formats.run import Run, find_run
        from clusterkit.formats.run_settings import laid_over_keys, with_file

        loaded = Run.load(run or find_run())
        keys = [] if self.named else laid_over_keys(self.values)
        # A file that lies in the folder is taken unasked: it is said which of its keys count.
        if keys and logging.getLogger("clusterkit").isEnabledFor(logging.WARNING):
            click.echo(f"note: {self.file}: laid over the run's settings: {', '.join(keys)}",
                       err=True)  # fmt: skip
        config = with_file(loaded.config, self.values, str(self.file))
        # A run may be used on another machine than where it was fitted.
        return loaded, override(config, device=self.config.device, seed=self.seed)


def common(function: Command) -> Command:
    """Add the options that all commands take; the command gets them as `common`."""

    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="Settings; default ./clusterkit.toml if there is one.",
    )
    @config_option("--device", key="device", help="auto, cpu, cuda, cuda:N or mps")
    @click.option("--seed", type=int, help="Same seed and data: same result.")
    @click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
    @click.option("-q", "--quiet", is_flag=True, help="Errors only.")
    @click.option("-v", "--verbose", count=True, help="Say more; twice: tracebacks.")
    @wraps(function)
    def wrapped(
        config_file: Path | None,
        device: str | None,
        seed: int | None,
        as_json: bool,
        quiet: bool,
        verbose: int,
        **kwargs: Any,
    ) -> None:
        set_up(quiet, verbose)
        bar = Bar(quiet)
        options = CommonOptions.read(config_file, device, seed, bar, as_json)
        try:
            function(common=options, **kwargs)
        finally:
            bar.close()

    return wrapped  # fmt: skip


# The options that say where labels are, as they are called in `config.data`.
_DATA = ("images", "label_pattern", "image_column", "label_column", "group_column", "label_tag",
         "keep_tags", "unlabeled", "keep_localizers", "label_map")  # fmt: skip


def data_options(function: Command) -> Command:
    """Add the options that say where images and labels are; see `data_settings`."""

    @images_option
    @config_option(
        "--label-pattern",
        key="data.label_pattern",
        metavar="REGEX",
        help="Labels from file names, e.g. '^(.+)_\\d+.jpg$'",
    )
    @config_option("--image-column", key="data.image_column", help="Of a CSV: the images' paths")
    @config_option(
        "--label-column", key="data.label_column", help="Of a CSV: labels, empty where unlabelled"
    )
    @config_option(
        "--group-column",
        key="data.group_column",
        help="Of a CSV: e.g. the patient; none: no column",
    )
    @config_option(
        "--label-tag",
        key="data.label_tag",
        metavar="TAG",
        help="DICOM: the element that holds the label",
    )
    @keep_tags_option
    @config_option(
        "--unlabeled", key="data.unlabeled", metavar="DIR", help="More images, without labels"
    )
    @keep_localizers_option
    @label_map_option
    @wraps(function)
    def wrapped(**kwargs: Any) -> None:
        function(**kwargs)

    return wrapped  # fmt: skip


def data_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return what `data_options` gave a command as arguments of `config.override`."""
    return {f"data__{name}": options[name] for name in _DATA}


def run_option(function: Command) -> Command:
    """Add --run, for commands that read one."""
    return click.option("--run", type=click.Path(path_type=Path), metavar="DIR",
                        help="Default: the newest run under ./runs.")(function)  # fmt: skip


def images_option(function: Command) -> Command:
    """Add --images, for commands that read a CSV of images."""
    text = "Root of a CSV's image paths"
    return config_option("--images", key="data.images", help=text, otherwise="the CSV's folder")(
        function
    )


def label_map_option(function: Command) -> Command:
    """Add --label-map, for commands that read labels or reviews."""
    text = "Columns old, new: labels to rename and merge"
    return config_option("--label-map", key="data.label_map", metavar="CSV", help=text)(function)


def keep_tags_option(function: Command) -> Command:
    """Add --keep-tags, for commands that read DICOM headers into tables."""

    def split(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
        # A tag's number, (0010,1010), has a comma of its own.
        tags = re.findall(r"\([^)]*\)|[^,()\s]+", text or "")
        return None if text is None else list(dict.fromkeys(tags))

    # The default, an empty list, in words.
    text = "DICOM elements to add as columns; none is written unless named."
    return click.option("--keep-tags", callback=split, metavar="TAG,…", help=text)(function)


def keep_localizers_option(function: Command) -> Command:
    """Add --keep-localizers, for commands that list DICOM files."""

    def given(_: click.Context, __: click.Parameter, flag: bool) -> bool | None:
        # Not given, the config's counts.
        return flag or None

    return click.option("--keep-localizers", is_flag=True, callback=given,
                        help="DICOM: localizers (scouts) are images too.")(function)  # fmt: skip


def print_summary(summary: dict, as_json: bool, lines: list[str]) -> None:
    click.echo(json.dumps(summary, ensure_ascii=False) if as_json else "\n".join(lines))


def set_up(quiet: bool, verbose: int) -> None:
    logger = logging.getLogger("clusterkit")
    logger.handlers = [_Stderr()]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    if verbose < 2:
        import warnings

        # Other libraries' remarks about themselves are nothing that a user can act on.
        warnings.simplefilter("ignore")
