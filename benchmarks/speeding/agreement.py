"""Do labels and statuses come out the same as in plain float32, for the same labels and images?"""

import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.protocol import SETS, data_folder, draw, weights_file
from clusterkit import assign, fit, read_manifest
from clusterkit.config import Config, override
from clusterkit.models.forward import FLOAT32

# A set, labelled images a class, images to label, and the error that is promised.
_CASES = (("bccd", 100, 1500, 0.05), ("malaria", 100, 1500, 0.2), ("busi", 60, 500, 0.4))
_NEAR_THRESHOLD = 0.01


def measure(quick: bool = False) -> dict[str, float]:
    """Fit and assign once as by default and once in float32; return how far they agree, by name."""
    found: dict[str, float] = {}
    for name, k, count, error in _CASES[:1] if quick else _CASES:
        with tempfile.TemporaryDirectory() as folder:
            found |= _compare(Path(folder), name, k, count, error)
    return found


def _compare(folder: Path, name: str, k: int, count: int, error: float) -> dict[str, float]:
    source, size = SETS[name]
    labelled, rest = draw(read_manifest(data_folder() / name / source, Config()), k, 0)
    rest = rest.sample(min(count, len(rest)), random_state=0)
    labelled[["image", "label", "group"]].to_csv(folder / "labels.csv", index=False)
    rest[["image", "group"]].to_csv(folder / "rest.csv", index=False)
    tables, runs, records = {}, {}, {}
    for precision in ("auto", FLOAT32):
        config = override(
            Config(), image__size=size, model__backbone="squeezenet1_0", device="cpu",
            model__weights=str(weights_file()), model__precision=precision,
            train__strategy="head", assign__max_error=error,
            data__images=str(data_folder() / name),
        )  # fmt: skip
        run = fit(folder / "labels.csv", config=config, run=folder / precision)
        result = assign(run, folder / "rest.csv", config=config)
        tables[precision], runs[precision] = result.table, run
        records[precision] = result.summary
    return {f"{name}: {k}": v for k, v in _agreement(tables, runs, records).items()}


def _agreement(tables: dict, runs: dict, records: dict) -> dict[str, float]:
    quick, plain = tables["auto"], tables[FLOAT32]
    threshold = (records[FLOAT32]["promise"] or {}).get("threshold")
    other = quick["status"] != plain["status"]
    near = pd.Series(False, index=plain.index)
    if threshold is not None:
        near = (plain["confidence"].astype(float) - threshold).abs() <= _NEAR_THRESHOLD
    precision = runs["auto"].info["precision"]
    return {
        "in bfloat16": float(precision["used"] != FLOAT32),
        "close calls, share": precision["close_share"],
        "same labels": float((quick["predicted_label"] == plain["predicted_label"]).mean()),
        "assigned": float((plain["status"] == "assigned").mean()),
        "other status": float(other.sum()),
        "other status, not near the threshold": float((other & ~near).sum()),
        "mean difference of confidence": float(
            (quick["confidence"].astype(float) - plain["confidence"].astype(float)).abs().mean()
        ),
    }
