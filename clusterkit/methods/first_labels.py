"""The images to label first, where no label says anything yet: coverage of the feature space."""

import warnings
from collections import Counter

import numpy as np

from clusterkit.methods.label_propagation import unit_length

# So many directions, all of one length, tell images apart; more of them are mostly noise.
_DIRECTIONS = 16
_FITTED_ON = 5000
# More clusters only take longer: the clusters are then visited again.
_MOST_CLUSTERS = 1000
# Of a cluster, the nearest part to its centre, where an image of a new group is preferred.
_NEAR_CENTRE = 0.5


def whitened_directions(features: np.ndarray, scale: np.ndarray, seed: int) -> np.ndarray:
    """Points (N, P) float32 of length 1: the first principal components, all of variance 1.

    Parameters
    ----------
    features : (N, D) float
    scale : (D,) float > 0
        By which each feature is divided; see `models.scaling.shrunk_variance`.
    seed : int
        Of the randomized decomposition, and of the sample where there are many images.

    Returns
    -------
    (N, P) float32
        P is 16, or less where there are fewer images or features. Zeros where all are the same.
    """
    from sklearn.decomposition import PCA

    rng, total = np.random.default_rng(seed), len(features)
    sample = rng.choice(total, _FITTED_ON, replace=False) if total > _FITTED_ON else slice(None)
    scaled = features / scale
    centre = scaled[sample].mean(axis=0)
    known = scaled[sample] - centre
    if len(known) < 2 or not known.any():
        return np.zeros((total, 1), dtype=np.float32)
    count = min(_DIRECTIONS, len(known) - 1, known.shape[1])
    fitted = PCA(count, svd_solver="randomized", random_state=seed).fit(known)
    # A direction that all images share is rounding alone.
    real = fitted.explained_variance_ > 1e-6 * fitted.explained_variance_[0]
    axes = fitted.components_[real] / np.sqrt(fitted.explained_variance_[real])[:, None]
    return unit_length((scaled - centre) @ axes.T)


def choose_first(
    points: np.ndarray,
    groups: np.ndarray,
    pictures: np.ndarray,
    labelled: np.ndarray,
    count: int,
    seed: int,
) -> np.ndarray:
    """Images to label first, the largest uncovered cluster's first.

    As TypiClust (Hacohen et al. 2022, arXiv 2202.02794) does, there are as many k-means clusters
    as images labelled and asked for, and the cluster with the fewest labels is asked of, of these
    the largest. Of a cluster the image nearest its centre is taken; of the nearer half, one of a
    group that none is labelled or asked of is preferred. `benchmarks/pick.py` compares this rule
    with others, ProbCover's among them (Yehuda et al. 2022, arXiv 2205.11320).

    Parameters
    ----------
    points : (N, P) float
        See `whitened_directions`.
    groups : (N,) str
        Patients; "" where there is none.
    pictures : (N,) int
        Number of the picture that an image is a near duplicate of; -1: of none.
    labelled : (N,) bool
        Images that have a label: what is near them counts as covered.
    count : int ≥ 1
    seed : int
        Of k-means.

    Returns
    -------
    (n,) int
        Rows in the order of asking, n ≤ count: fewer where no other picture is left.
    """
    open_ = ~labelled & ~np.isin(pictures, pictures[labelled & (pictures >= 0)])
    if not open_.any():
        return np.zeros(0, dtype=int)
    chosen = list[int]()
    cluster, distance = _clusters(points, count + int(labelled.sum()), seed)
    taken = np.bincount(cluster[labelled], minlength=cluster.max() + 1)
    size = np.bincount(cluster)
    members = [np.flatnonzero(cluster == c) for c in range(len(size))]
    members = [rows[np.argsort(distance[rows], kind="stable")] for rows in members]
    used = Counter(groups[labelled & (groups != "")].tolist())
    left = np.bincount(cluster[open_], minlength=len(size))
    while len(chosen) < count and left.any():
        own = int(np.lexsort([-size, taken, left == 0])[0])
        rows = members[own][open_[members[own]]]
        near = rows[: max(1, int(len(rows) * _NEAR_CENTRE))]
        visits = [used[groups[row]] for row in near]
        chosen.append(best := int(near[int(np.argmin(visits))]))
        taken[own] += 1
        if groups[best] != "":
            used[groups[best]] += 1
        open_[best] = False
        if pictures[best] >= 0:
            open_ &= pictures != pictures[best]
        left = np.bincount(cluster[open_], minlength=len(size))
    return np.array(chosen, dtype=int)


def _clusters(points: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster (N,) of each point, and its distance (N,) to the centre."""
    from sklearn.cluster import KMeans

    model = KMeans(min(count, len(points), _MOST_CLUSTERS), n_init=3, random_state=seed)
    with warnings.catch_warnings():
        # Fewer different points than clusters: some are empty, which is no fault here.
        warnings.simplefilter("ignore")
        cluster = model.fit_predict(points)
    return cluster, np.linalg.norm(points - model.cluster_centers_[cluster], axis=1)
