"""States of random generators come back through the journal's plain values."""

import json
import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.formats.fit_journal import Piece
from clusterkit.training.random_states import random_states, restore_random_states

CPU = torch.device("cpu")


def draw(own):
    normal = torch.randn(3), np.random.standard_normal(3), random.gauss(0, 1), own.gauss(0, 1)
    return [torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random(), own.random(),
            *[np.asarray(n).tolist() for n in normal]]  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_drawing_goes_on_where_it_was(seed, drawn):
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    own = random.Random(seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for _ in range(drawn):
        draw(own)
    states = random_states(CPU, own)
    expected = draw(own)
    draw(own)
    other = random.Random(1)
    kept = Piece(states.tensors, json.loads(json.dumps(states.values)))
    restore_random_states(kept, CPU, other)
    assert draw(other) == expected
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])
