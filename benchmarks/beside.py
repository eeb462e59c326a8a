"""`fit` and `assign` from Python, alone and two at once: what another program beside them costs.

On a machine of two processors two at once should take about twice as long as one alone. Threads
that spin while they wait for each other made it five times.

    python -m benchmarks.beside [--repeats 3] [--out FILE.json]

Each process is a plain script that calls the functions; nothing is set for it. The sample that the
package ships, default encoder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

_SCRIPT = """
import sys, time
import clusterkit

sample, out = sys.argv[1:]
started = time.perf_counter()
run = clusterkit.fit(sample + "/labels.csv", run=out)
fitted = time.perf_counter()
clusterkit.assign(run, sample + "/unlabeled")
print(fitted - started, time.perf_counter() - fitted)
"""


def main() -> None:
    """Measure, and print a line for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()

    from clusterkit.sample import make_sample

    with tempfile.TemporaryDirectory() as folder:
        sample = make_sample(Path(folder) / "sample").root
        found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for repeat in range(chosen.repeats):
            for count in found:
                found[count].append(_seconds(sample, Path(folder) / f"{repeat}-{count}", count))
    alone, two = (median(fit + assign for fit, assign in found[count]) for count in found)
    result = {
        "processors": os.cpu_count(),
        "alone": found[1],
        "two at once": found[2],
        "ratio": two / alone,
    }
    for name in ("alone", "two at once"):
        fit, assign = (median(times) for times in zip(*result[name], strict=True))
        print(f"{name:<12} fit {fit:6.1f} s   assign {assign:6.1f} s")
    print(f"two at once ÷ alone: {result['ratio']:.2f} on {result['processors']} processors")
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _seconds(sample: Path, out: Path, count: int) -> tuple[float, float]:
    """Return the seconds of `fit` and of `assign`, the longest of so many processes at once."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(sample), f"{out}-{number}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for number in range(count)
    ]  # fmt: skip
    times = [process.communicate()[0].split() for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a process failed; run the script in this module by hand")
    return max(float(t[0]) for t in times), max(float(t[1]) for t in times)


if __name__ == "__main__":
    main()
