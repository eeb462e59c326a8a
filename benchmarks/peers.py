"""What a user would pick instead: scikit-learn on frozen features, and the article's rule."""

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

# The article looks at the first so many images of the predicted class.
_COMPARE_N = 15


def predict(
    method: str, features: np.ndarray, labelled: np.ndarray, rest: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the rest from the labelled, as reference.csv does.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    features : (N, D) float
        Standardised here on all images.
    labelled, rest : (n,), (m,) int
        Rows of `features`.
    labels : (n,) int in [0, K)

    Returns
    -------
    classes : (m,) int, confidence : (m,) float.
    """
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-6)
    known, asked = scaled[labelled], scaled[rest]
    with warnings.catch_warnings():
        # scikit-learn remarks on a label spreading that has not converged; that is its result.
        warnings.simplefilter("ignore")
        probs = METHODS[method](known, labels, asked)
    classes = probs.argmax(axis=1)
    if method == "article":
        return classes, _first_exemplars(known, labels, asked, classes)
    return classes, probs.max(axis=1)


def _logistic() -> LogisticRegression:
    return LogisticRegression(C=0.01, max_iter=5000)


def _logreg(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return _logistic().fit(known, labels).predict_proba(asked)


def _knn(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    model = KNeighborsClassifier(min(5, len(labels)), metric="cosine", weights="distance")
    return model.fit(known, labels).predict_proba(asked)


def _self_training(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    model = SelfTrainingClassifier(_logistic(), threshold=0.95)
    targets = np.r_[labels, np.full(len(asked), -1)]
    return model.fit(np.r_[known, asked], targets).predict_proba(asked)


def _label_spreading(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    model = LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.2, max_iter=100)
    model.fit(np.r_[known, asked], np.r_[labels, np.full(len(asked), -1)])
    # Images that no label reaches have no distribution: they count as the first class, unsure.
    return np.nan_to_num(model.label_distributions_[len(known) :])


METHODS = {
    "logreg": _logreg,
    "knn5": _knn,
    "selftrain": _self_training,
    "labelspread": _label_spreading,
    # The article labels by the classifier, and trusts by the closest of the first 15 images.
    "article": _logreg,
}


def _first_exemplars(
    known: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    unit_known = known / np.linalg.norm(known, axis=1, keepdims=True)
    unit_asked = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    closest = np.zeros(len(asked))
    for label in np.unique(classes):
        of_class = classes == label
        first = unit_known[labels == label][:_COMPARE_N]
        closest[of_class] = (unit_asked[of_class] @ first.T).max(axis=1)
    return closest


def oracle_coverage(confidence: np.ndarray, right: np.ndarray, max_error: float) -> float:
    """Return the largest part that could be labelled at this error if the truth were known."""
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(errors <= max_error)
    return float(within[-1] + 1) / len(order) if len(within) else 0.0
