"""Label and cluster image datasets from a small labelled fraction, with evidence.

Glossary, the same everywhere:

``probs`` (N, K)
    Class probabilities, rows sum to 1, columns in the order of ``classes``.
``features`` (N, D) float32
    Pooled encoder features, one row an image.
``similarity`` in [0, 1]
    Probability that two images show the same class; rises with likeness.
``confidence`` in [0, 1]
    Calibrated probability that ``predicted_label`` is right.
``group``
    What must stay together in a split: a patient, a slide, a smear.
"""

__version__ = "0.1.0"

# Name → module. Nothing is imported until it is asked for: `clusterkit --help` must not pay
# for torch, and `clusterkit assign` must not pay for fastai.
_EXPORTS = {
    "Config": "clusterkit.config",
    "ClusterkitError": "clusterkit.errors",
    "Run": "clusterkit.formats.run",
    "SimilarityFinder": "clusterkit.retrieval.finder",
    "assign": "clusterkit.inference.assign",
    "audit": "clusterkit.auditing.audit",
    "certify": "clusterkit.certifying.certify",
    "embed": "clusterkit.inference.embed",
    "evidence": "clusterkit.auditing.evidence_pictures",
    "export": "clusterkit.exporting.export",
    "fit": "clusterkit.training.fit",
    "inspect": "clusterkit.inspection.inspect",
    "load_config": "clusterkit.config",
    "read_assignments": "clusterkit.formats.assignments",
    "read_manifest": "clusterkit.data.manifest",
    "review": "clusterkit.reviewing",
    "similar": "clusterkit.retrieval.finder",
    "similar_groups": "clusterkit.retrieval.groups",
    "verify": "clusterkit.certifying.verify",
}

# A star import must not put `inspect` in the place of Python's module of that name.
__all__ = sorted({*_EXPORTS, "__version__"} - {"inspect"})


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'clusterkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "inspect"])
