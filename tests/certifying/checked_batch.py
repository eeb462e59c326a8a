"""A batch to be checked: a copy of the fitted run's assignments, and answers from the truth."""

import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pandas as pd

from clusterkit import read_assignments

_NUMBERS = count()


@dataclass(frozen=True)
class CheckedBatch:
    """A run of its own whose labels may be certified.

    Attributes
    ----------
    run : Path
    truth : dict of str to str
        Label by image_id.
    """

    run: Path
    truth: dict[str, str]

    @property
    def csv(self) -> Path:
        return self.run / "assignments.csv"

    @property
    def folder(self) -> Path:
        return self.run / "certify"

    def sample(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "sample.csv", encoding="utf-8-sig", dtype=str)

    def labels(self) -> dict[str, str]:
        """Label by image_id, as assign set it."""
        table = read_assignments(self.folder / "assignments.csv")
        return dict(zip(table["image_id"], table["predicted_label"], strict=True))

    def write(self, rows: list[dict[str, str]], name: str = "reviews.csv") -> Path:
        """Write reviews beside the assignments."""
        path = self.run / name
        columns = ["image_id", "image", "label", "decision", "reviewer", "time", "note"]
        pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
        return path

    def rows(self, ids, wrong=(), reviewer="Dr A", day=1) -> list[dict[str, str]]:
        """Answers that agree with the labels, but for those of `wrong`."""
        labels, out = self.labels(), []
        for i, identity in enumerate(ids):
            label = labels[identity]
            other = next(name for name in ("dots", "ring", "rod") if name != label)
            agrees = identity not in wrong
            out.append({"image_id": identity, "label": label if agrees else other,
                        "decision": "accept" if agrees else "relabel", "reviewer": reviewer,
                        "time": f"2099-01-{day:02d}T10:{i // 60:02d}:{i % 60:02d}Z"}
                       )  # fmt: skip
        return out


def copied_batch(run: Path, truth: dict[str, str]) -> CheckedBatch:
    """Copy a run beside itself: its images stay where they are."""
    copy = run.with_name(f"{run.name}-checked-{next(_NUMBERS)}")
    copy.mkdir()
    for path in run.iterdir():
        if path.is_file():
            shutil.copy(path, copy / path.name)
    return CheckedBatch(copy, truth)
