"""`doctor`: what this machine can do, and what would fail on it."""

from pathlib import Path
from typing import Any

import click

from clusterkit.commands.options import CommonOptions, common, print_summary
from clusterkit.errors import ClusterkitError

# Packages that an extra lacks; JSON has all.
_NAMED = 3


@click.command()
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where a run is to be written, default ./runs; one that is there is loaded, to try it.",
)
@common
def doctor(common: CommonOptions, run: Path | None) -> None:
    """Say what this machine can do, and what would fail on it.

    Looked at are processors, memory, GPUs, disks, packages, extras, and the weights that are
    there; packages are imported, and a worker process reads an image, to try it. Exits with 1 if
    something would fail. No network is asked for anything.
    """
    try:
        from clusterkit.machine.examination import examine
    except ImportError as error:
        # What other packages are compared by.
        raise ClusterkitError(
            f"{error.name} cannot be imported ({error}); pip install {error.name}"
        ) from error
    found = examine(common.config, run)
    failing = [{"about": one.about, "text": one.text} for one in found.failing]
    notes = [{"about": one.about, "text": one.text} for one in found.notes]
    summary = {"ok": not failing, "failing": failing, "notes": notes, **found.facts}
    lines = [f"{key:<10} {text}" for key, text in _lines(found.facts)]
    lines += [f"{'note':<10} {one['about']}: {one['text']}" for one in notes]
    lines += [f"{'fails':<10} {one['about']}: {one['text']}" for one in failing]
    # A file may be called anything: what is no printable letter must not reach the terminal.
    print_summary(summary, common.as_json, ["".join(c if c.isprintable() else " " for c in line)
                                     for line in lines])  # fmt: skip
    if failing:
        about = ", ".join(dict.fromkeys(one["about"] for one in failing))
        things = "1 thing" if len(failing) == 1 else f"{len(failing)} things"
        raise ClusterkitError(f"{things} would fail on this machine ({about}); see the lines "
                              "'fails' of clusterkit doctor")  # fmt: skip


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    processors, memory = facts["processors"], facts["memory"]
    lines = [
        ("system", f"{facts['system']}, Python {facts['versions']['python']}"),
        ("processors", f"{processors['usable']} of {processors['present']}"),
        ("memory", f"{_gb(memory['free'])} free of {_gb(memory['total'])}"
         + (" (the container's limit)" if memory["limited"] else "")),
        *_device_lines(facts),
    ]  # fmt: skip
    for purpose, folder in facts["folders"].items():
        room = f"{_gb(folder['free'])} free of {_gb(folder['total'])}"
        lines.append(("disk", f"{purpose}: {folder['path']}, {room}"))
    versions = {name: v for name, v in facts["versions"].items() if name != "python"}
    named = ", ".join(f"{name} {v or 'missing'}" for name, v in versions.items())
    lines.append(("versions", named))
    there = [extra for extra, lacks in facts["extras"].items() if not lacks]
    lines.append(("extras", ", ".join(there) or "none"))
    absent = [f"{x} (needs {_some(lacks)})" for x, lacks in facts["extras"].items() if lacks]
    if absent:
        lines.append(("no extra", "; ".join(absent) + "; pip install 'clusterkit[NAME]'"))
    for one in facts["weights"]:
        state = {True: ", SHA-256 as it should be", False: ", damaged", None: ""}[one["whole"]]
        lines.append(("weights", f"{one['source']}: {one['name']}, {one['size'] / 1e6:,.1f} MB"
                      f"{state}, {one['path']}"))  # fmt: skip
    own = [f"{name} ({package})" for name, package in facts["encoders"].items()]
    lines += [("encoders", ", ".join(own))] if own else []
    loaded = facts["run"]
    if loaded and not loaded["wrong"]:
        lines.append(("run", f"{loaded['id']} can be loaded; encoder {loaded['backbone']}"))
    return lines


def _device_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    if facts["devices"] is None:
        return [("gpu", "not known"), ("precision", "not known")]
    lines = [
        ("gpu", f"{gpu['name']}: {gpu['model']}, {_gb(gpu['free'])} free of {_gb(gpu['total'])}, "
         f"quick in {gpu['precision']}")
        for gpu in facts["devices"]
    ] or [("gpu", "none")]  # fmt: skip
    if facts["device"] is None:
        return lines
    why = {"bfloat16": "it has the circuits", "float32": "no circuits for bfloat16"}
    quick = facts["precision"]
    return [*lines, ("precision", f"{quick} on {facts['device']}: {why[quick]}")]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _gb(count: int | None) -> str:
    return "an unknown amount" if count is None else f"{count / 1e9:,.1f} GB"
