"""`clusterkit demo`: the whole path on a sample that the package makes itself."""

import ctypes
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from clusterkit.config import Config, config_from_dict
from clusterkit.output import writing
from clusterkit.progress import Progress, with_bar
from clusterkit.sample import make_sample

# Small pictures without an up or down, and 24 labelled patients: an error of 5% would take 45
# patients to promise, 15% takes 15.
DEMO = {
    "image": {"size": 96},
    "augment": {"flip_horizontal": True, "flip_vertical": True},
    "assign": {"max_error": 0.15},
    "audit": {"limit": 120},
}


@dataclass(frozen=True)
class DemoResult:
    """Files of the demo, and its labels compared with the truth.

    Attributes
    ----------
    folder, page, assignments : Path
    counts : dict
        Images: right, wrong (both of those labelled), refused (in all, and of the class that
        nobody labelled), failed.
    promise : str
    """

    folder: Path
    page: Path
    assignments: Path
    counts: dict[str, int]
    promise: str


@with_bar
def demo(
    out: Path | str = "clusterkit-demo",
    *,
    config: Config | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Make the sample, fit, assign, audit, and compare with the truth.

    Parameters
    ----------
    out : path
        Made if it is not there; an earlier demo's is replaced.
    config : Config or None
        None: `DEMO`.
    progress : callable or None
        As of `fit`.

    Raises
    ------
    DataError
        `out` holds something else.
    """
    from clusterkit.auditing.audit import audit
    from clusterkit.inference.assign import assign
    from clusterkit.training.fit import fit

    folder = Path(out)
    with writing(folder, "--out DIR"):
        make_sample(folder)
    config = config or config_from_dict(DEMO)
    # Left by an earlier demo; `make_sample` has refused folders that are none.
    shutil.rmtree(folder / "run", ignore_errors=True)
    run = fit(folder / "labels.csv", config=config, run=folder / "run", progress=progress)
    _return_freed_memory()
    result = assign(run, folder / "unlabeled.csv", config=config, progress=progress)
    _return_freed_memory()
    truth = pd.read_csv(folder / "truth.csv", keep_default_na=False)
    # Only of the sample is the place of an image's class known: CAMs can be checked against it.
    page = audit(run, config=config, places=truth, progress=progress)
    counts = compare(result.table, truth)
    return DemoResult(folder, page, result.path, counts, result.summary["promise_text"])


def _return_freed_memory() -> None:
    """Give back what is free: glibc keeps it, and each step of the demo has other needs."""
    # Other systems have no such function, and Windows no library without a name.
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def compare(table: pd.DataFrame, truth: pd.DataFrame) -> dict[str, int]:
    """Count right, wrong and refused labels against the truth.

    Parameters
    ----------
    table : DataFrame
        Assignments.
    truth : DataFrame
        image, label, kind.
    """
    true = truth.drop_duplicates("image").set_index("image").loc[table["image"]]
    labelled = table["status"].isin(["assigned", "reviewed", "duplicate"]).to_numpy()
    right = (table["predicted_label"].to_numpy() == true["label"].to_numpy()) & labelled
    refused = table["status"].isin(["review", "novel"]).to_numpy()
    novel = (true["kind"] == "novel").to_numpy()
    return {
        "images": len(table),
        "right": int(right.sum()),
        "wrong": int((labelled & ~right).sum()),
        "refused": int(refused.sum()),
        "refused_unknown_class": int((refused & novel).sum()),
        "unknown_class": int(novel.sum()),
        "failed": int((table["status"] == "failed").sum()),
    }
