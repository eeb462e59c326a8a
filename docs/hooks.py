"""Pages of the reference that are made from the code whenever the site is built.

Commands come from click, settings from the dataclasses of `clusterkit.config`, changes from
CHANGELOG.md, so none of them can say something else than the code does. They are not committed.
"""

import html
import tomllib
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

_COMMANDS = """# Commands

Made from the command line itself. `clusterkit COMMAND --help` prints the same.

Results go to files and a short summary goes to stdout. `--json` prints the summary as one JSON
object on one line, and nothing else goes to stdout. Long work shows a progress bar on stderr where
that is a terminal.

| exit code | |
|---|---|
| 0 | done |
| 1 | a clusterkit error: one line `error: …` on stderr that says what to do |
| 2 | wrong usage |
| 130 | interrupted by Ctrl-C |
| 143 | terminated by SIGTERM, as Slurm, Airflow, Kubernetes and systemd do |

With `--strict`, `assign` exits with 1 if any image failed, and `inspect` if it found a problem.
"""

_CONFIGURATION = """# Configuration

Made from the dataclasses of `clusterkit.config`.

Settings are read from a TOML file: `--config FILE.toml`, or `clusterkit.toml` in the working
folder. Options of a command beat the file. Keys that a file leaves out keep their default. A key
that does not exist, and a value out of its range, is an error that names what is allowed. TOML
has no null: write `"none"` to switch an optional setting off. The folder `configs/` has files to
start from.

A run keeps the settings that it was fitted with. Commands that read a run lay the file over them,
key by key. What the run's calibration was measured with always comes from the run: all of `[image]`
and `[model]`, and of `[engine]` the keys `pool_top`, `gate_mass`, `gate_max` and `max_exemplars`. A
file that says otherwise is told so in one line.
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages to the site (an event of mkdocs)."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put public names and layers where pages ask for them (an event of mkdocs)."""
    return markdown.replace("<!-- names -->", public_names()).replace("<!-- layers -->", layers())


def layers() -> str:
    """Return the layers that import-linter checks, the highest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    found = [layer for c in contracts if c["type"] == "layers" for layer in c["layers"]]
    return "\n".join(["```text", *found, "```"])


def public_names() -> str:
    """Return what mkdocstrings is to show: every public name where it is defined."""
    from clusterkit import _EXPORTS

    return "\n\n".join(f"::: {module}.{name}" for name, module in sorted(_EXPORTS.items()))


def pages() -> dict[str, str]:
    """Return path → Markdown of every generated page."""
    return {
        "reference/commands.md": commands_page(),
        "reference/configuration.md": configuration_page(),
        "reference/changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }


def commands_page() -> str:
    """Return a page with every command of the command line and every option."""
    from clusterkit.cli import cli

    commands = {name: cli.commands[name] for name in cli.commands}
    shared = _shared_options(commands)
    parts = [_COMMANDS, "## Options of every command", _table(_option_rows(shared))]
    for name, command in commands.items():
        own = [p for p in command.params if _signature(p) not in {_signature(s) for s in shared}]
        arguments = [p for p in own if isinstance(p, click.Argument)]
        usage = " ".join(["clusterkit", name, "[OPTIONS]", *map(_argument_name, arguments)])
        parts += [f"## clusterkit {name}", f"```text\n{usage}\n```", _paragraphs(command)]
        options = [p for p in own if isinstance(p, click.Option)]
        if options:
            parts.append(_table(_option_rows(options)))
    return "\n\n".join(parts) + "\n"


def _shared_options(commands: dict[str, click.Command]) -> list[click.Parameter]:
    first, *others = commands.values()
    known = [{_signature(p) for p in command.params} for command in others]
    return [p for p in first.params if all(_signature(p) in each for each in known)]


def _signature(parameter: click.Parameter) -> tuple:
    return (*parameter.opts, *parameter.secondary_opts, getattr(parameter, "help", None))


def _argument_name(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _paragraphs(command: click.Command) -> str:
    blocks = (command.help or "").split("\n\n")
    return "\n\n".join(_text(" ".join(block.split())) for block in blocks)


def _option_rows(options: list[click.Parameter]) -> list[tuple[str, str]]:
    rows = []
    for option in options:
        names = ", ".join(_code(n) for n in [*option.opts, *option.secondary_opts])
        value = _value_of(option)
        notes = " ".join([getattr(option, "help", None) or "", *_notes(option)]).strip()
        rows.append((f"{names} {_code(value)}" if value else names, _text(notes)))
    return rows


def _value_of(option: click.Parameter) -> str:
    if getattr(option, "is_flag", False) or getattr(option, "count", False):
        return ""
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return option.type.name.upper()


def _notes(option: click.Parameter) -> list[str]:
    notes = ["Required."] if option.required else []
    if getattr(option, "show_default", False) and option.default is not None:
        notes.append(f"Default: {option.default}.")
    return notes


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| option | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    """Escape what HTML, Markdown or a Markdown table would take for its own."""
    out = html.escape(text, quote=False)
    for mark in "|*_`[]\\$^":
        out = out.replace(mark, f"&#{ord(mark)};")
    return out


def configuration_page() -> str:
    """Return a page with every setting: its type, default, range and meaning."""
    from clusterkit.config import settings

    parts, section = [_CONFIGURATION], None
    for setting in settings():
        where, _, _ = setting.key.rpartition(".")
        if where != section:
            section = where
            title = f"`[{where}]`" if where else "Without a section"
            parts.append(
                f"\n## {title}\n\n| key | type | default | allowed | |\n|---|---|---|---|---|"
            )
        cells = [_code(setting.key), _text(str(setting.type)), _code(_toml(setting.default)),
                 _text(str(setting.allowed or "")), _text(str(setting.help or ""))]  # fmt: skip
        parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
