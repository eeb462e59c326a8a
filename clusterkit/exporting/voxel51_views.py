"""What a FiftyOne dataset offers beside samples: saved views, class lists, a similarity index."""

import logging
from typing import Any

from clusterkit.exporting.voxel51_samples import LABELLED
from clusterkit.formats.fiftyone_answers import GROUND_TRUTH, PREDICTION, REVIEW, UNDECIDED

log = logging.getLogger("clusterkit")

EMBEDDING, SIMILARITY = "embedding", "clusterkit_similarity"


def save_views(dataset: Any) -> None:
    """Save the views that the dataset does not have; one that a person changed stays as it is."""
    order = dataset.get_field("order") is not None
    refused = dataset.match_tags(["review", "novel"])
    views = {
        "clusterkit: assigned": dataset.match_tags("assigned"),
        "clusterkit: to review": refused.sort_by("order") if order else refused,
        "clusterkit: labelled": dataset.match_tags(LABELLED),
    }
    if "reviewed" in dataset.distinct("tags"):
        views["clusterkit: labelled by a person"] = dataset.match_tags("reviewed")
    if dataset.get_field("cluster") is not None:
        kinds = dataset.match_tags("novel").exists("cluster").sort_by("cluster")
        views["clusterkit: new kinds by cluster"] = kinds
    for name, view in views.items():
        if not dataset.has_saved_view(name):
            dataset.save_view(name, view)


def set_classes(dataset: Any, classes: list[str]) -> None:
    """Name the classes where a person chooses one; those that are there stay, new ones are added.

    Where FiftyOne has in-App annotation, the field `review` is offered with these classes.
    """
    lists = dataset.classes or {}
    for name in (PREDICTION, GROUND_TRUTH, REVIEW):
        lists[name] = _joined(lists.get(name), classes)
    dataset.classes = lists
    dataset.default_classes = _joined(dataset.default_classes, classes)
    dataset.save()
    if not hasattr(dataset, "update_label_schema") or REVIEW in (dataset.label_schemas or {}):
        return
    choices = list(dict.fromkeys([UNDECIDED, *lists[REVIEW]]))
    schema = {"type": "classification", "component": "dropdown", "classes": choices,
              "attributes": []}  # fmt: skip
    try:
        dataset.update_label_schema(REVIEW, schema)
        dataset.activate_label_schemas(REVIEW)
    except Exception as error:
        if type(error).__name__ not in ("ExceptionGroup", "ValueError"):
            raise
        # Of another version of FiftyOne; labels can be written there all the same.
        log.info("the field %s has no label schema: %s", REVIEW, error)


def index_similarity(dataset: Any) -> bool:
    """Make the index by which similar images are found in the App; returns whether there is one.

    False where `fiftyone.brain` is not installed, or no image has an embedding.
    """
    try:
        import fiftyone.brain as brain
    except ImportError as error:
        log.info("there is no similarity index: %s", error)
        return False
    view = dataset.exists(EMBEDDING)
    if not len(view):
        return False
    if SIMILARITY in dataset.list_brain_runs():
        dataset.delete_brain_run(SIMILARITY)
    brain.compute_similarity(view, embeddings=EMBEDDING, brain_key=SIMILARITY, backend="sklearn")
    return True


def _joined(there: list[str] | None, classes: list[str]) -> list[str]:
    return list(dict.fromkeys([*(there or []), *classes]))
