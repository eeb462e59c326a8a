"""Labels spread over a graph of neighbours."""

import numpy as np

from clusterkit.methods.label_propagation import Neighbourhood


def test_labels_spread_along_what_lies_together():
    """Two rings, one label each: neighbours carry it round, where a line between them fails."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    inner = np.c_[ring, np.full(60, 3.0)]
    outer = np.c_[3 * ring, np.full(60, 3.0)]
    labelled, pool = np.stack([inner[0], outer[0]]), np.r_[inner[1:], outer[1:]]
    unsure = np.full((118, 2), 0.5)
    spread = Neighbourhood.build(labelled, np.array([0, 1]), pool, unsure)
    # Half way round takes more rounds than are made; near the labels they have arrived.
    near = np.r_[0:4, 55:59]
    assert (spread.beliefs[2:61][near].argmax(1) == 0).all()
    assert (spread.beliefs[61:][near].argmax(1) == 1).all()
    assert spread.beliefs[:2].tolist() == [[1, 0], [0, 1]]
    assert np.allclose(spread.beliefs.sum(1), 1, atol=1e-5)


def test_an_image_does_not_vote_for_itself_and_may_have_no_neighbours():
    rng = np.random.default_rng(0)
    pool = rng.normal([5, 0, 0], 0.1, (30, 3))
    labelled = rng.normal([5, 0, 0], 0.1, (2, 3))
    probs = np.tile([0.0, 1.0], (30, 1))
    probs[0] = [1.0, 0.0]
    graph = Neighbourhood.build(labelled, np.array([1, 1]), pool, probs)
    assert graph.vote(pool[:1])[0, 0] < 0.3
    assert np.isnan(graph.vote(np.array([[0.0, 0.0, 5.0]]))).all()
