"""A batch of its own for each test that certifies."""

import pandas as pd
import pytest

from clusterkit import read_assignments
from tests.certifying.checked_batch import copied_batch


@pytest.fixture
def batch(run, assignment, sample):
    table = pd.read_csv(sample / "truth.csv", keep_default_na=False)
    named = dict(zip(table["image"], table["label"], strict=True))
    rows = read_assignments(assignment.path)
    truth = {identity: named.get(image, "") for identity, image in
             zip(rows["image_id"], rows["image"], strict=True)}  # fmt: skip
    return copied_batch(run.path, truth)
