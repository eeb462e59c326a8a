"""Reads the Dockerfile, and runs its steps without Docker: ``python -m tests.dockerfile WHEELS``.

The steps run in a fresh environment in a temporary folder, of the Python that runs this, with the
given folder of wheels. What Docker alone can do is left out: the base image, the mount, the user.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (instruction, what follows it), continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    steps = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, _, rest in steps]


def build_arguments(steps: list[tuple[str, str]]) -> dict[str, str]:
    return dict(rest.partition("=")[::2] for name, rest in steps if name == "ARG")


def environment(steps: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for name, rest in steps if name == "ENV"
                for pair in shlex.split(rest))  # fmt: skip


def shell_commands(steps: list[tuple[str, str]]) -> list[str]:
    """Return what RUN runs, without the options of RUN itself, arguments put in."""
    commands = []
    for name, rest in steps:
        if name == "RUN":
            command = re.sub(r"^(--\S+\s+)+", "", rest)
            for key, value in build_arguments(steps).items():
                command = command.replace(f"${{{key}}}", value)
            commands.append(command)
    return commands


def run_without_docker(wheels: Path) -> None:
    steps = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "venv", with_pip=True)
        (place / "data").mkdir()
        programs = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
        # An image knows neither this machine's packages nor its settings of pip.
        given = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
        given |= environment(steps) | {"HOME": folder, "PIP_CONFIG_FILE": os.devnull}
        given["PATH"] = f"{programs}{os.pathsep}{given['PATH']}"
        last = dict(steps)
        started = shlex.join([*json.loads(last["ENTRYPOINT"]), *json.loads(last["CMD"])])
        for command in [*shell_commands(steps), started]:
            if command.startswith("useradd"):
                continue
            command = command.replace("/wheels", shlex.quote(str(wheels.resolve())))
            # The shell says what it runs.
            subprocess.run(["sh", "-xeuc", command], cwd=place / "data", env=given, check=True)


if __name__ == "__main__":
    run_without_docker(Path(sys.argv[1]))
