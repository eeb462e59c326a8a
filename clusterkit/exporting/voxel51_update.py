"""Writes samples into a FiftyOne dataset: new ones are added, those that are there are renewed.

What a person added is not touched: other fields, tags, views and brain runs, tags and attributes
of a label. A label that a person put in the place of an exported one moves into `review`.
"""

from collections import defaultdict
from typing import Any

import numpy as np

from clusterkit.errors import ConfigError, shown
from clusterkit.exporting.voxel51_samples import FIELDS, OWN_TAGS, SampleToWrite
from clusterkit.exporting.voxel51_views import EMBEDDING
from clusterkit.formats.fiftyone_answers import (
    ACCEPT,
    EARLIER,
    EXPORTED,
    GROUND_TRUTH,
    IMAGE_ID,
    IMAGE_NAME,
    PREDICTION,
    REVIEW,
    REVIEW_TIME,
    SampleThere,
    review_of,
)
from clusterkit.formats.fiftyone_dataset import PREFIX, label_there, samples_there

_LABELS = {PREDICTION: "predicted", GROUND_TRUTH: "known"}
_AT_ONCE = 1000


class DatasetWriter:
    """One dataset, and what is in it.

    Parameters
    ----------
    fo : module
        `fiftyone`.
    dataset : Dataset
    """

    def __init__(self, fo: Any, dataset: Any) -> None:
        self.fo, self.dataset = fo, dataset
        self.ids: list[str] = dataset.values("id")
        self.keys = list(zip(self._values(IMAGE_ID), self._values(IMAGE_NAME), strict=True))
        self.moved = 0

    def _values(self, field: str) -> list[Any]:
        there = self.dataset.get_field(field) is not None
        return self.dataset.values(field) if there else [None] * len(self.ids)

    def check_fields(self, written: set[str]) -> None:
        """Refuse a dataset in which a person has given a field the name of one of ours.

        Parameters
        ----------
        written : set of str
            Fields that earlier exports wrote.

        Raises
        ------
        ConfigError
            It names the field.
        """
        schema = self.dataset.get_field_schema()
        classification = self.fo.Classification
        for name in [*FIELDS, *_LABELS, EMBEDDING, REVIEW, REVIEW_TIME]:
            there = schema.get(name)
            if there is None or name in written:
                continue
            if name == REVIEW and getattr(there, "document_type", None) is classification:
                continue
            raise ConfigError(
                f"FiftyOne's dataset '{shown(self.dataset.name)}' has a field '{name}' that export "
                "did not make and would overwrite; rename it there with "
                f"dataset.rename_sample_field('{name}', 'my_{name}'), or give another --name"
            )

    def stored_embeddings(self) -> dict[str, np.ndarray]:
        """Return the embeddings that are there, by image id."""
        pairs = zip(self.keys, self._values(EMBEDDING), strict=True)
        return {key[0]: np.asarray(v) for key, v in pairs if v is not None and key[0]}

    def match(self, samples: list[SampleToWrite]) -> list[int]:
        """Return for each sample its place in the dataset; -1: it is not there.

        One is the same where id and name of the image are, or else where its id is: a file may
        have been moved.
        """
        free: dict[Any, list[int]] = defaultdict(list)
        for place, key in enumerate(self.keys):
            free[key].append(place)
        found = [free[s.key].pop(0) if free.get(s.key) else -1 for s in samples]
        by_id: dict[str, list[int]] = defaultdict(list)
        for key, places in free.items():
            if key[0]:
                by_id[key[0]] += places
        for number, sample in enumerate(samples):
            same = by_id[sample.key[0]] if found[number] < 0 else []
            if same:
                found[number] = same.pop(0)
        return found

    def update(self, samples: list[SampleToWrite], vectors: list[Any]) -> tuple[int, int]:
        """Renew and add samples; returns how many were renewed, and how many are left of earlier.

        Parameters
        ----------
        samples : list of SampleToWrite
        vectors : list of array or None
            Their embeddings.
        """
        places = self.match(samples)
        there = [(p, s, v) for p, s, v in zip(places, samples, vectors, strict=True) if p >= 0]
        added = [(s, v) for p, s, v in zip(places, samples, vectors, strict=True) if p < 0]
        self._keep_answers({p: s.predicted or s.known for p, s, _ in there})
        for name in _LABELS:
            self._set_labels(name, [(p, s) for p, s, _ in there])
        for name in ("filepath", *FIELDS):
            new = {p: s.path if name == "filepath" else s.values.get(name) for p, s, _ in there}
            self._set(name, new)
        self._set(EMBEDDING, {p: v for p, _, v in there if v is not None})
        own = {p for p, _, _ in there}
        earlier = [p for p, key in enumerate(self.keys) if key[0] and p not in own]
        self._set_tags({p: s.tags for p, s, _ in there} | dict.fromkeys(earlier, (EARLIER,)))
        self.add(added)
        return len(there), len(earlier)

    def add(self, samples: list[tuple[SampleToWrite, Any]]) -> None:
        """Add new samples, each with its embedding or None."""
        for start in range(0, len(samples), _AT_ONCE):
            part = samples[start : start + _AT_ONCE]
            self.dataset.add_samples([self._new(*one) for one in part], progress=False)
        if self.dataset.get_field(REVIEW) is None:
            self.dataset.add_sample_field(REVIEW, self.fo.EmbeddedDocumentField,
                                          embedded_doc_type=self.fo.Classification)  # fmt: skip

    def _new(self, sample: SampleToWrite, vector: Any) -> Any:
        made = self.fo.Sample(filepath=sample.path, tags=list(sample.tags), **sample.values)
        for name in _LABELS:
            label = self._label(name, sample)
            if label is not None:
                made[name] = label
        if vector is not None:
            made[EMBEDDING] = vector
        return made

    def _label(self, name: str, sample: SampleToWrite, old: Any = None) -> Any:
        """Return a label to write; what a person added to the old one stays."""
        text = getattr(sample, _LABELS[name])
        if not text:
            return None
        label = old if old is not None else self.fo.Classification()
        label.label, label[EXPORTED] = text, text
        if name == PREDICTION:
            label.confidence = sample.confidence
        return label

    def _keep_answers(self, exported: dict[int, str]) -> None:
        """Move labels that a person changed into `review`, and note when answers were given.

        So is a label that was accepted and is not the one exported now.
        """
        if IMAGE_ID not in self.dataset.get_field_schema():
            return
        review: dict[int, Any] = {}
        times: dict[int, Any] = {}
        for place, (sample, path) in enumerate(samples_there(self.dataset)):
            if not sample.answered:
                continue
            if sample.time is not None:
                times[place] = sample.time
            row = review_of(sample, self._where(sample, path))
            if row is None or sample.review or not row["label"]:
                continue
            if sample.given.changed or row["label"] != exported.get(place, row["label"]):
                review[place] = self.fo.Classification(label=row["label"])
        self.moved = len(review)
        if review:
            self._write(REVIEW, review)
            self._untag_accepted([self.ids[p] for p in review])
        # Comparing with what is there: most have not changed since the last export.
        self._set(REVIEW_TIME, times)

    def _untag_accepted(self, ids: list[str]) -> None:
        """Take `accept` away where the label that was accepted stands in `review` now."""
        view = self.dataset.select(ids)
        view.untag_samples(ACCEPT)
        for name in _LABELS:
            if self.dataset.get_field(name) is not None:
                view.untag_labels(ACCEPT, label_fields=name)

    def _where(self, sample: SampleThere, path: str) -> str:
        name = shown(self.dataset.name)
        return f"{PREFIX}{name}, sample of '{shown(sample.image_name or path)}'"

    def _set_labels(self, name: str, samples: list[tuple[int, SampleToWrite]]) -> None:
        old, changes = self._values(name), {}
        for place, sample in samples:
            before = old[place]
            found = label_there(before, True)
            # Before it becomes the label to write.
            confidence = getattr(before, "confidence", None)
            wanted = getattr(sample, _LABELS[name])
            same = found.label == wanted == found.exported
            if not same or (name == PREDICTION and confidence != sample.confidence):
                changes[place] = self._label(name, sample, before)
        self._write(name, changes)

    def _set(self, name: str, new: dict[int, Any]) -> None:
        old = self._values(name)
        self._write(name, {p: v for p, v in new.items() if not _equal(old[p], v)})

    def _write(self, name: str, changes: dict[int, Any]) -> None:
        if changes:
            self.dataset.set_values(name, {self.ids[p]: v for p, v in changes.items()},
                                    key_field="id", progress=False)  # fmt: skip

    def _set_tags(self, wanted: dict[int, tuple[str, ...]]) -> None:
        # Tag by tag: what a person sets at the same moment is not overwritten.
        old = self.dataset.values("tags")
        for tag in OWN_TAGS:
            gone = [self.ids[p] for p, own in wanted.items() if tag in old[p] and tag not in own]
            new = [self.ids[p] for p, own in wanted.items() if tag in own and tag not in old[p]]
            if gone:
                self.dataset.select(gone).untag_samples(tag)
            if new:
                self.dataset.select(new).tag_samples(tag)


def _equal(old: Any, new: Any) -> bool:
    if isinstance(new, np.ndarray) or isinstance(old, np.ndarray):
        return old is not None and new is not None and np.array_equal(old, new)
    if hasattr(new, "tzinfo") and hasattr(old, "tzinfo"):
        return old.replace(tzinfo=None) == new.replace(tzinfo=None)
    return bool(old == new)
