"""Warnings of libraries: a notebook shows none, and its own filters stay."""

import subprocess
import sys

import pytest

SCRIPT = """
import warnings
import pandas, torch
warnings.filterwarnings("error", message="a filter of the user's own")
before = list(warnings.filters)
import clusterkit
from clusterkit.config import config_from_dict

if __name__ == "__main__":
    config = config_from_dict({settings})
    run = clusterkit.fit("{sample}/labels.csv", config=config, run="{out}/run")
    clusterkit.assign(run, "{sample}/unlabeled.csv", config=config)
    clusterkit.audit(run, config=config)
    # Libraries add filters of their own when they are imported; none of the user's is lost.
    assert [f for f in warnings.filters if f in before] == before
    assert warnings.filters[0][0] == "error" or before[0] in warnings.filters
"""


@pytest.mark.parametrize(
    ("strategy", "filters"),
    [
        pytest.param("finetune", ["-W", "always"], marks=pytest.mark.long),
        pytest.param("head", ["-W", "always"], marks=pytest.mark.long),
        pytest.param("head", [], marks=pytest.mark.slow),
    ],
)
def test_library_warnings_stay_in(strategy, filters, sample, tmp_path):
    settings = {
        "image": {"size": 32},
        "model": {"backbone": "resnet18", "weights": "none"},
        "train": {"strategy": strategy, "epochs": 1, "siamese_epochs": 1, "folds": 2},
        "assign": {"workers": 2 if filters else 0, "batch_size": 4},
        "audit": {"limit": 2},
    }
    script = tmp_path / "notebook.py"
    script.write_text(SCRIPT.format(settings=settings, sample=sample, out=tmp_path))
    done = subprocess.run(
        [sys.executable, *filters, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    own = ("only ", "class ", "labelled ")
    assert [line for line in done.stderr.splitlines() if not line.startswith(own)] == []
