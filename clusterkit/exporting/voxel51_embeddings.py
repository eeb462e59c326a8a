"""Embeddings of exported images: features on the axes in which the run finds clusters."""

import logging

import numpy as np

from clusterkit.data.loading import load_batches, workers_for
from clusterkit.exporting.voxel51_samples import SampleToWrite
from clusterkit.formats.run import Run
from clusterkit.inference.scorer import Reduction
from clusterkit.models.networks import choose_device, embed
from clusterkit.progress import Progress

log = logging.getLogger("clusterkit")

_BATCH = 32
# Without a GPU some fifty images take a second.
_MOST_ON_CPU = 10_000


def embeddings_of(
    samples: list[SampleToWrite],
    run: Run,
    stored: dict[str, np.ndarray],
    progress: Progress | None = None,
) -> tuple[list[np.ndarray | None], str]:
    """Return the embedding of each image, and why not all have one ("": all have).

    Those of labelled images are in the run; others are encoded.

    Parameters
    ----------
    samples : list of SampleToWrite
    run : Run
    stored : dict of str to (P,) array
        Embeddings of this run that are known already, by image id.
    progress : callable or None
        Called with ("embed", done, total).

    Returns
    -------
    vectors : list of (P,) float32 array or None
    reason : str
    """
    axes = Reduction.stored_in(run)
    known = stored | dict(
        zip(run.manifest["image_id"], axes(run.gallery["features"].float()), strict=True)
    )
    vectors = [known.get(sample.values["image_id"]) for sample in samples]
    missing = [i for i, vector in enumerate(vectors) if vector is None]
    if not missing:
        return vectors, ""
    if run.info.features is not None:
        return vectors, f"of {len(missing)} images: the run has no encoder, it was given features"
    device = choose_device(run.config.device)
    if device.type == "cpu" and len(missing) > _MOST_ON_CPU:
        return vectors, (f"of {len(missing)} images: more than {_MOST_ON_CPU:,} take long without "
                         "a GPU")  # fmt: skip
    networks = run.networks.to(device)
    refs = [(samples[i].source, str(samples[i].frame) if samples[i].frame >= 0 else None)
            for i in missing]  # fmt: skip
    start = 0
    for batch in load_batches(refs, run.config.image, _BATCH, workers_for(refs)):
        readable = np.flatnonzero(batch.errors == "")
        if len(readable):
            images = np.ascontiguousarray(batch.images[readable])
            found = axes(embed(networks, images, device).classifier.float())
            for place, vector in zip(readable.tolist(), found, strict=True):
                vectors[missing[start + place]] = vector
        start += len(batch.ids)
        if progress:
            progress("embed", start, len(refs))
    unread = sum(vectors[i] is None for i in missing)
    return vectors, f"of {unread} images that cannot be read" if unread else ""
