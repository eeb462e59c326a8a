"""How far one machine goes: seconds and peak memory of each stage for 10k, 100k and 1M images.

A simulation, and this is what is simulated: images are neither decoded nor encoded. A folder of
PNG files of one pixel, no two alike, is written, listed and read for its ids; the place of
`inference.workers.compute` is taken by a reader, which gives each image the evidence of one of the
real images of IMAGES (drawn by chance, with noise). Everything else is the commands as they are:
`assign`, the same again when a hundredth more images have come (`grown`), `certify`, `audit` and
`export`, each in a process of its own.

    python -m benchmarks.scale RUN IMAGES --work DIR --out FILE.json

Memory is what the process held at most, importing torch included; "the rest" is what no stage
counts, the reader among it. Seconds are by the clock and, in brackets, of the processor, which
programs beside it change little: the ratio is theirs. The folder of images takes 4 GB of disk for a
million, and is removed at the end.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scaling.simulated import make_folder, reader, remove_folder, stored_evidence
from benchmarks.scaling.stages import Stages

# Of each command: what is counted for a stage, by the function that does it.
_ASSIGN = {
    "clusterkit.inference.assign:read_inputs": "list and read headers",
    "clusterkit.inference.assign:check_target": "check the target",
    "clusterkit.inference.assign:EarlierRows.found": "find the rows of before",
    "clusterkit.inference.assign:EarlierRows.continued_by": "put them into their places",
    "clusterkit.inference.assign:Journal": "read the journal back",
    "clusterkit.inference.assign:missing_of": "find what is missing",
    "clusterkit.inference.assign:check_evidence": "check what was there",
    "clusterkit.inference.journal:Journal.write": "write the journal",
    "clusterkit.inference.assign:transduce": "transduction",
    "clusterkit.inference.assign:DecisionRule.of": "novelty, class shares, promise",
    "clusterkit.inference.assign:decide": "statuses (BH over the batch)",
    "clusterkit.inference.decisions:cluster_in_parts": "clusters",
    "clusterkit.inference.decisions:order_points": "order of questions",
    "clusterkit.inference.assign:rows_of": "rows",
    "clusterkit.inference.batch_record:ladder_of": "ladder",
    "clusterkit.inference.batch_record:summarise_clusters": "summaries of clusters",
    "clusterkit.inference.assign:write_pair": "write the table",
}
_CERTIFY = {
    "clusterkit.certifying.certify:read_batch_to_certify": "read the table",
    "clusterkit.certifying.certify:agreed_plan": "draw the sample",
    "clusterkit.certifying.certify:_write_page": "draw the page",
    "clusterkit.certifying.certify:_conclude": "certify",
}
_AUDIT = {
    "clusterkit.auditing.audit:read_batch": "read the table",
    "clusterkit.auditing.audit:typical_rows": "choose the cards",
    "clusterkit.auditing.audit:choose_rows": "choose the cards",
    "clusterkit.auditing.audit:draw_plots": "plots",
    "clusterkit.auditing.audit:summarise": "summary",
    "clusterkit.auditing.tiles:Tiles.draw": "tiles of clusters",
}
_EXPORT = {
    "clusterkit.exporting.export:load_batch": "read and find the images",
    "clusterkit.exporting.export:read_assignments": "read the table",
    "clusterkit.exporting.export:_write": "write",
}
_TARGETS = ("folders", "label-studio", "coco", "parquet")


def main() -> None:
    """Measure each number of images, one process after another, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path, help="real images, for their evidence")
    parser.add_argument("--work", type=Path, required=True, help="folder to work in")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", help="commands, e.g. assign certify audit folders")
    parser.add_argument("--format", default="csv", choices=["csv", "parquet"])
    parser.add_argument("--no-transduction", action="store_true", help="most of the time is its")
    parser.add_argument("--keep", action="store_true", help="leave the images for another call")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.part:
        print(json.dumps(_measured(options.part, options)))
        return
    found = {}
    for rows in options.rows:
        folder = options.work / f"images-{rows}"
        make_folder(folder, rows)
        for part in options.only or ("torch", "assign", "grown", "certify", "audit", *_TARGETS):
            found[f"{part} {rows}"] = _in_process(part, rows, options)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1))
        if not options.keep:
            remove_folder(folder)
    _print_table(found, options.rows)


def _in_process(part: str, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", str(options.run), str(options.images),
               "--work", str(options.work), "--rows", str(rows), "--part", part,
               "--format", options.format]  # fmt: skip
    command += ["--no-transduction"] * options.no_transduction
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    last = done.stdout.strip().split("\n")[-1]
    found = (
        json.loads(last)
        if not done.returncode
        else {"failed": dict.fromkeys(("seconds", "processor", "mb"), 0)}
    )
    print(part, rows, found, flush=True)
    return found


def _measured(part: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure one command in this process."""
    stages = Stages()
    with stages.stage("import torch"):
        import torch

        torch.set_num_threads(1)
    if part == "torch":
        return stages.found()
    watched = {"assign": _ASSIGN, "grown": _ASSIGN, "certify": _CERTIFY, "audit": _AUDIT}.get(
        part, _EXPORT
    )
    with stages.stage("import clusterkit"):
        for place, name in watched.items():
            stages.watch(place, name)
    _command(part, options, stages)()
    return stages.found()


def _command(part: str, options: argparse.Namespace, stages: Stages) -> Callable[[], object]:
    import clusterkit
    from clusterkit.inference import engines

    rows, run = options.rows[0], options.run
    csv = options.work / f"{rows}" / "assignments.csv"
    if part in ("assign", "grown"):
        stored = stored_evidence(run, options.images, options.work / "evidence.npz")
        engines.compute = reader(stored)  # type: ignore[attr-defined]
        how = {"format": options.format}
        how |= {"transduction": "off"} if options.no_transduction else {}
        folder = options.work / f"images-{rows}"
        if part == "grown":
            make_folder(folder, rows // 100, rows)
        how |= {"fresh": part == "assign"}
        return lambda: clusterkit.assign(run, folder, out=csv, overwrite=True, **how)
    if part == "certify":
        return lambda: clusterkit.certify(run, assignments=csv, fresh=True)
    if part == "audit":
        return lambda: clusterkit.audit(run, assignments=csv, out=csv.parent / "audit", limit=60)
    out = csv.parent / part
    return lambda: clusterkit.export(run, part, out, assignments=csv, status="all")


def _print_table(found: dict[str, dict[str, Any]], numbers: list[int]) -> None:
    """Print a line a stage: seconds and MB for each number of images, and the last ratio."""
    print("| command, stage | " + " | ".join(f"{n:,}: s (s), MB" for n in numbers) + " | ratio |")
    print("|---" * (len(numbers) + 2) + "|")
    for part in dict.fromkeys(name.split()[0] for name in found):
        of = [found[f"{part} {n}"] for n in numbers]
        for stage in of[-1]:
            _print_line(f"{part}: {stage}", [found.get(stage) for found in of])
        _print_line(f"**{part}**", [
            {**{name: sum(s[name] for s in found.values()) for name in ("seconds", "processor")},
             "mb": max(s["mb"] for s in found.values())} for found in of
        ])  # fmt: skip


def _print_line(name: str, cells: list[dict[str, float] | None]) -> None:
    texts = ["" if c is None else f"{c['seconds']:.1f} ({c['processor']:.1f}), {c['mb']:,.0f}"
             for c in cells]  # fmt: skip
    ratio = ""
    if len(cells) > 1 and cells[-1] and cells[-2]:
        ratio = f"{cells[-1]['processor'] / max(cells[-2]['processor'], 0.001):.1f}"
    print(f"| {name} | " + " | ".join(texts) + f" | {ratio} |")


if __name__ == "__main__":
    main()
