"""The size of a batch, and who reads it, changes no row by more than rounding."""

import numpy as np
import pytest

from clusterkit import assign
from clusterkit.config import override

# What docs/explanation/speed.md says.
TOLERANCE = 1e-4


@pytest.mark.parametrize(("size", "workers"), [(1, 0), (7, 2), (50, 1)])
def test_rows_are_the_same_whatever_the_size(run, assignment, sample, config, tmp_path, size,
                                             workers):  # fmt: skip
    known = assignment.table
    other = override(config, assign__batch_size=size, assign__workers=workers)
    table = assign(run, sample / "unlabeled.csv", config=other, out=tmp_path / "a.csv").table
    assert list(table) == list(known)
    assert len(table) == len(known) > size // 2
    for column in known:
        if known[column].dtype == float:
            np.testing.assert_allclose(table[column], known[column], rtol=0, atol=TOLERANCE)
        else:
            # A reason may name a number.
            one, two = (t[column].astype(str).str.replace(r"\d\.\d+", "", regex=True)
                        for t in (table, known))  # fmt: skip
            assert one.tolist() == two.tolist(), column
