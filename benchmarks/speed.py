"""How close `clusterkit` comes to what the machine can do, all measured in one run.

Prints a table of figures beside what they must and should reach, and writes all of them as JSON:

    python -m benchmarks.speed --out speed.json

The parts: `inference` (bare forward, decoding, `assign`, the article's loop, pairs), `default`
(`assign` with the default encoder), `startup`, `growth` (memory to 100,000 images, time for n,
2n, 4n), `agreement` (labels beside float32's) and `fitting` (seconds to equal accuracy beside
fastai as in the article). The last two need CLUSTERKIT_DATA. All of it takes an hour and a half
on 2 cores; `--only` and `--quick` take less.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.speeding.goals import print_goals

# Figure, what it must reach, what it should; the sign says which side is better.
_GOALS = [
    ("assign small ÷ limit", ">=", 0.85, 0.95),
    ("assign large ÷ limit", ">=", 0.65, 0.8),
    ("queries ÷ the article's loop", ">=", 90, 110),
    ("default: assign ÷ min(decode, forward)", ">=", 0.8, 0.95),
    ("default: assign ÷ resnet34's", ">=", 3, 5),
    ("article ÷ ours", ">=", 5, 10),
    ("clusterkit --help, s", "<=", 0.3, 0.1),
    ("first batch ÷ import and weights", "<=", 1.6, 1.2),
    ("memory_main_ratio", "<=", 1.3, 1.1),
    ("seconds_ratio", "<=", 4.1, 4.0),
    ("same labels", ">=", 0.995, 1.0),
    ("other status, not near the threshold", "<=", 0, 0),
]


def _inference(folder: Path, quick: bool) -> dict[str, float]:
    from benchmarks.speeding import inference

    return inference.measure(folder, rounds=2 if quick else 3, scale=0.25 if quick else 1.0)


def _default(folder: Path, quick: bool) -> dict[str, float]:
    from benchmarks.speeding import default_encoder

    return default_encoder.measure(folder, rounds=2 if quick else 3, scale=0.25 if quick else 1.0)


def _startup(folder: Path, quick: bool) -> dict[str, float]:
    from benchmarks.speeding import startup

    return startup.measure(folder, rounds=3 if quick else 7)


def _growth(folder: Path, quick: bool) -> dict[str, float]:
    from benchmarks.speeding import growth

    return growth.measure(quick, folder)


def _agreement(folder: Path, quick: bool) -> dict[str, float]:
    from benchmarks.speeding import agreement

    return agreement.measure(quick)


def _fitting(folder: Path, quick: bool) -> dict[str, float]:
    # In a process of its own, in which threads do not spin while they wait: beside fastai's
    # loading processes the article's training is quicker so.
    code = (
        "import json; from benchmarks.speeding.fitting import measure;"
        f"print(json.dumps(measure({quick})))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    return json.loads(found.stdout.splitlines()[-1])


PARTS: dict[str, Callable[[Path, bool], dict[str, float]]] = {
    "inference": _inference,
    "default": _default,
    "startup": _startup,
    "growth": _growth,
    "agreement": _agreement,
    "fitting": _fitting,
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for name in options.only:
        if name in ("agreement", "fitting") and "CLUSTERKIT_DATA" not in os.environ:
            print(f"{name}: left out, CLUSTERKIT_DATA is not set")
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[name](Path(folder), options.quick)
        print(f"\n{name}", *(f"  {k:62} {v:12.4g}" for k, v in found.items()), sep="\n", flush=True)
        figures |= found
        if options.out:
            options.out.write_text(json.dumps({"machine": _machine(), **figures}, indent=1) + "\n")
    print_goals(_GOALS, figures)


def _machine() -> dict:
    import torch

    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
            "threads": torch.get_num_threads(), "torch": torch.__version__,
            "python": platform.python_version()}  # fmt: skip


if __name__ == "__main__":
    main()
