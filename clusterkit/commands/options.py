"""Options that all commands share, the progress bar, and the printing of results."""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from clusterkit.commands.event_log import EventLog
from clusterkit.commands.exit_codes import exit_code_of, line_of
from clusterkit.config import (
    Config,
    Setting,
    config_from_dict,
    default_file,
    override,
    read_toml,
    settings,
)
from clusterkit.errors import OutputError
from clusterkit.launched import launched
from clusterkit.output import write_reason
from clusterkit.progress import Bar, Progress, silent

if TYPE_CHECKING:
    from clusterkit.data.left_out import LeftOut
    from clusterkit.formats.run import Run

# Where a command keeps, while it runs, the stdout that its JSON goes to.
_STDOUT = "clusterkit.stdout"

# Any function that click turns into a command.
Command = Callable[..., Any]


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        click.echo(prefix + record.getMessage(), err=True)


class PlacePath(click.Path):
    """A path, or an address as it was written: a `Path` would take one of its slashes away."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what was given; see `remote_places.place_of`, which imports nothing of it yet."""
        if isinstance(value, str) and "://" in value:
            return value
        return super().convert(value, param, ctx)


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
        if keys and not _is_quiet():
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
    @click.option(
        "--log-json",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Append what happens, one JSON object a line.",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Errors only, and with --json the summary.")
    @click.option("-v", "--verbose", count=True, help="Say more; twice: tracebacks.")
    @wraps(function)
    def wrapped(
        config_file: Path | None,
        device: str | None,
        seed: int | None,
        as_json: bool,
        log_json: Path | None,
        quiet: bool,
        verbose: int,
        **kwargs: Any,
    ) -> None:
        # Of several processes one leads, and speaks for all.
        follows = launched().follows
        set_up(quiet or follows, verbose)
        with _logged(None if follows else log_json) as progress:
            bar = Bar(not quiet and not follows and sys.stderr.isatty(), progress)
            options = CommonOptions.read(config_file, device, seed, bar, as_json)
            try:
                with _summary_alone(as_json):
                    function(common=options, **kwargs)
            finally:
                bar.close()

    return wrapped  # fmt: skip


@contextmanager
def _summary_alone(as_json: bool) -> Iterator[None]:
    """Send what others print, such as a network that is loaded, to stderr where JSON is wanted."""
    if not as_json:
        yield
        return
    click.get_current_context().meta[_STDOUT] = sys.stdout
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _logged(path: Path | None) -> Iterator[Progress]:
    """Keep a log of the command while the block runs, where it is asked for."""
    if path is None:
        yield silent
        return
    context = click.get_current_context()
    events = EventLog(path, context.info_name or "", context.obj or [])
    logger = logging.getLogger("clusterkit")
    # The file has all messages, whatever is said on the terminal.
    for handler in logger.handlers:
        handler.setLevel(logger.level)
    logger.setLevel(logging.INFO)
    logger.addHandler(events)
    try:
        yield events.progress
    except BaseException as error:
        events.end(exit_code_of(error), line_of(error))
        raise
    else:
        events.end(0)
    finally:
        logger.removeHandler(events)


def run_option(function: Command) -> Command:
    """Add --run, for commands that read one."""
    return click.option("--run", type=click.Path(path_type=Path), metavar="DIR",
                        help="Default: the newest run under ./runs.")(function)  # fmt: skip


def encoder_options(function: Command) -> Command:
    """Add --backbone, --weights and --size: which encoder, and what it is fed with."""
    for option in (
        config_option("--size", key="image.size", type=int, help="Pixels per side"),
        config_option("--weights", key="model.weights", metavar="auto|none|FILE|DIR",
                      help="Pretrained weights"),
        config_option("--backbone", key="model.backbone",
                      help="A network of torchvision, of timm or of the hub, or your own; a+b"),
    ):  # fmt: skip
        function = option(function)
    return function


def features_option(function: Command) -> Command:
    """Add --features, for commands that can take features in the place of pixels."""
    return click.option(
        "--features",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Features in the place of pixels: .npz, .npy with a CSV, .parquet, .h5 or a folder of "
        "them; may be given again.",
    )(function)


def engine_options(function: Command) -> Command:
    """Add --engine and --address, for commands that compute many images."""
    options = [
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Compute on this machine, or on a Ray cluster.",
        ),
        click.option(
            "--address",
            metavar="auto|HOST:PORT",
            help="Of the Ray cluster. Default: RAY_ADDRESS, else one of this machine alone.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def left_out_lines(left_out: "LeftOut") -> list[str]:
    """Return the lines of a summary about files that became no row, one for each reason."""
    return [f"left out   {sentence}" for sentence in left_out.sentences()]


def print_summary(summary: dict, as_json: bool, lines: list[str]) -> None:
    """Print the summary of a command; under --quiet only where JSON is asked for by name."""
    summary = _finite(summary)
    for handler in logging.getLogger("clusterkit").handlers:
        if isinstance(handler, EventLog):
            handler.say("summary", summary=summary)
    if as_json:
        context = click.get_current_context(silent=True)
        out = sys.stdout if context is None else context.meta.get(_STDOUT, sys.stdout)
        # Of another encoding's escapes JSON does not know all.
        narrow = (getattr(out, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
        _say(json.dumps(summary, ensure_ascii=narrow), out)
    elif not _is_quiet():
        _say("\n".join(lines))


def _say(text: str, out: IO[Any] | None = None) -> None:
    try:
        click.echo(text, file=out)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the summary cannot be written to stdout: {write_reason(error)}; what "
                          "it is about is done") from error  # fmt: skip


def _finite(value: Any) -> Any:
    """Put None in the place of numbers that JSON does not have: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_quiet() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.params.get("quiet"))


def set_up(quiet: bool, verbose: int) -> None:
    logger = logging.getLogger("clusterkit")
    logger.handlers = [_Stderr()]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    if verbose < 2:
        import warnings

        # Other libraries' remarks about themselves are nothing that a user can act on.
        warnings.simplefilter("ignore")
