"""What all commands share: common options, the progress bar, how results are printed."""

import json
import logging
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from clusterkit.config import Config, load_config, override

# What a stage counts, if not images.
_UNITS = {"fit": " models", "headers": " files"}


class Bar:
    """Turns (stage, done, total) into a tqdm bar on a terminal, with speed and time left."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.bar, self.stage = quiet or not sys.stderr.isatty(), None, None

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


def common(function: Callable) -> Callable:
    """Add the options that all commands take; the command gets `config`, `bar`, `as_json`."""

    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="Settings; default ./clusterkit.toml if there is one.",
    )
    @click.option("--device", help="auto, cpu, cuda, cuda:N or mps.")
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
        config = override(load_config(config_file), device=device, seed=seed)
        bar = Bar(quiet)
        try:
            function(config=config, chosen=config_file, bar=bar, as_json=as_json, **kwargs)
        finally:
            bar.close()

    return wrapped  # fmt: skip


# The options that say where labels are, as they are called in `config.data`.
_DATA = ("images", "label_pattern", "image_column", "label_column", "group_column", "label_tag",
         "keep_tags", "unlabeled")  # fmt: skip


def data_options(function: Callable) -> Callable:
    """Add the options that say where images and labels are; see `data_settings`."""

    @click.option("--images", help="Root of a CSV's image paths; default: the CSV's folder.")
    @click.option(
        "--label-pattern", metavar="REGEX", help="Labels from file names, e.g. '^(.+)_\\d+.jpg$'."
    )
    @click.option("--image-column", help="Default: image.")
    @click.option("--label-column", help="Default: label; empty: unlabelled.")
    @click.option("--group-column", help="Default: group; e.g. the patient.")
    @click.option("--label-tag", metavar="TAG", help="DICOM: the element that holds the label.")
    @keep_tags_option
    @click.option("--unlabeled", metavar="DIR", help="More images, without labels.")
    @wraps(function)
    def wrapped(**kwargs: Any) -> None:
        function(**kwargs)

    return wrapped  # fmt: skip


def data_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return what `data_options` gave a command as arguments of `config.override`."""
    return {f"data__{name}": options[name] for name in _DATA}


def run_option(function: Callable) -> Callable:
    """Add --run, for commands that read one."""
    return click.option("--run", type=click.Path(path_type=Path), metavar="DIR",
                        help="Default: the newest run under ./runs.")(function)  # fmt: skip


def keep_tags_option(function: Callable) -> Callable:
    """Add --keep-tags, for commands that read DICOM headers into tables."""

    def split(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
        # A tag's number, (0010,1010), has a comma of its own.
        found = re.findall(r"\([^)]*\)|[^,()\s]+", text or "")
        return None if text is None else list(dict.fromkeys(found))

    text = "DICOM elements to add as columns; none is written unless named."
    return click.option("--keep-tags", callback=split, metavar="TAG,…", help=text)(function)


def load_run(run: Path | None, config: Config, chosen: Path | None) -> tuple[Any, Config]:
    """Load a run; its own settings hold unless a config file says otherwise."""
    from clusterkit.formats.run import Run, find_run

    loaded = Run.load(run or find_run())
    if chosen is None and not Path("clusterkit.toml").is_file():
        config = override(loaded.config, device=config.device)
    return loaded, config


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
