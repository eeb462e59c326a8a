"""From the command to its first words, and to its first batch, in processes of their own."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.speeding.scene import draw_folder, fit_run

# What no command that encodes with torchvision's network can do without.
_LOAD = """
import torch, torchvision
model = torchvision.models.resnet34()
model.load_state_dict(torch.load({weights!r}, weights_only=True))
model.eval()
print("loaded", flush=True)
"""


def measure(folder: Path, rounds: int = 5) -> dict[str, float]:
    """Return seconds, medians of `rounds` that alternate, and their ratio, by name."""
    import torch
    import torchvision

    run = fit_run(folder)
    pictures = draw_folder(folder / "few", 256, 500, 375, 64)
    weights = folder / "weights.pth"
    torch.save(torchvision.models.resnet34().state_dict(), weights)
    found: dict[str, list[float]] = {"help": [], "load": [], "first": []}
    for _ in range(rounds):
        found["help"].append(_whole(_command("--help")))
        found["load"].append(_until_first_line(_python(_LOAD.format(weights=str(weights)))))
        found["first"].append(_until_first_batch(run, pictures, folder / "started.csv"))
    help_, load, first = (statistics.median(values) for values in found.values())
    return {
        "clusterkit --help, s": help_,
        "import torch, torchvision and weights, s": load,
        "assign until the first batch, s": first,
        "first batch ÷ import and weights": first / load,
        "--help imports torch": float(_help_imports_torch()),
    }


def _command(*arguments: str) -> list[str]:
    script = Path(sys.executable).with_name("clusterkit")
    found = str(script) if script.is_file() else shutil.which("clusterkit")
    assert found, "clusterkit is not installed: pip install -e ."
    return [found, *arguments]


def _python(code: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-c", code]


def _whole(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _until_first_line(command: list[str]) -> float:
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        return time.perf_counter() - started


def _until_first_batch(run: Path, pictures: Path, out: Path) -> float:
    """Watch the journal: its first line is the first batch done."""
    batches = out.with_name(out.name + ".journal") / "batches"
    command = _command("assign", str(pictures), "--run", str(run), "--out", str(out), "--fresh")
    started = time.perf_counter()
    # Outside of this project's folder no settings of the user can have a part in it.
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=out.parent,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    ) as process:  # fmt: skip
        while process.poll() is None and not (batches.is_file() and batches.stat().st_size):
            time.sleep(0.002)
        seconds = time.perf_counter() - started
        process.wait()
    assert process.returncode == 0, f"assign failed: {' '.join(command)}"
    return seconds


def _help_imports_torch() -> bool:
    code = (
        "import sys; from clusterkit.cli import run_command; run_command(['--help']);"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    found = subprocess.run(_python(code), check=True, capture_output=True, text=True)
    return "True" in found.stderr
