"""`embed`: the features of an encoder in a file, for other tools and for ``--features``."""

import hashlib
import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clusterkit.config import Config, takes_settings, with_settings
from clusterkit.data.cache import room_for
from clusterkit.data.frames import names_of
from clusterkit.data.inputs import read_inputs
from clusterkit.data.left_out import LeftOut
from clusterkit.data.loading import ImageBatch, ImageRef, image_refs
from clusterkit.data.mirror_images import mirror_images
from clusterkit.data.remote_places import Place
from clusterkit.encoders.encoder import Encoder
from clusterkit.encoders.registry import load_backbone
from clusterkit.errors import DataError, RunError, shown
from clusterkit.formats.feature_files import Features, check_out, write_features
from clusterkit.formats.run import Run
from clusterkit.inference.engines import Engine, EngineName, open_engine
from clusterkit.models.expected_input import as_expected
from clusterkit.models.forward import FLOAT32
from clusterkit.models.networks import Embeddings, Networks, choose_device, start_embedding
from clusterkit.progress import Progress, silent, with_bar

log = logging.getLogger("clusterkit")

# Images of a batch, as many as `fit` encodes at a time: sums are rounded alike.
BATCH = 32

# Mebibytes of vectors in memory; more are in a temporary file.
_MEMORY_MB = 1024


@dataclass(frozen=True)
class Embedded:
    """What `embed` wrote.

    Attributes
    ----------
    path : Path
    images : int
        How many have features.
    dimension : int
        Numbers an image.
    views : int
        1, or 4 with mirror images.
    backbone, weights : str
    failed : int
        Images that could not be read: the file does not have them.
    left_out : LeftOut
        Files that are no images.
    """

    path: Path
    images: int
    dimension: int
    views: int
    backbone: str
    weights: str
    failed: int
    left_out: LeftOut


@dataclass(frozen=True)
class _Source:
    """An encoder and what is to be said of it."""

    encoder: Encoder
    backbone: str
    weights: str
    config: Config

    def about(self) -> dict[str, Any]:
        image = self.config.image
        chains = self.encoder.chains
        depths = [channels for chain in chains for channels in chain]
        several = {"parts": [len(chain) for chain in chains]} if len(chains) > 1 else {}
        return {"backbone": self.backbone, "weights": self.weights, "size": image.pixels,
                "resize": image.resize, "tensors": _digest(self.encoder),
                "depths": depths} | several  # fmt: skip


@takes_settings
@with_bar
@torch.random.fork_rng(devices=[])  # the host's random numbers are its own
def embed(
    source: Place | str,
    out: Path | str,
    *,
    config: Config | None = None,
    run: Run | Path | str | None = None,
    views: bool = False,
    engine: EngineName = "local",
    address: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Embedded:
    """Write the pooled features of images, one vector an image, in float32.

    Parameters
    ----------
    source : path or URL
        As of `assign`: a folder, a CSV with a column image, or one image, here or in a store.
    out : path
        ``.npz``, ``.parquet`` or ``.h5``.
    config : Config or None
        Which encoder, how images are read and listed; None: the defaults, or the run's.
    run : Run or path or None
        Take the encoder of a run (the classifier's, where the models have one each), which reads
        images as the run does.
    views : bool
        Add the features of each image's mirror images: left to right, up and down, both.
    engine, address : str
        Where images are computed; see `open_engine`.
    progress : callable or None
        Called with (stage, done, total); None: a bar where a person is there.
    **settings : options of the command, e.g. ``size=96``, ``backbone="resnet34"``

    Raises
    ------
    ClusterkitError
        The images, the encoder or `out` cannot be used; nothing is written then. Single unreadable
        images are left out with a warning.
    """
    out, progress = Path(out), progress or silent
    check_out(out)
    if run is not None and not isinstance(run, Run):
        run = Run.load(run)
    if settings:
        config = config or (Config() if run is None else run.config)
        config = with_settings(config, settings, "embed")
    chosen, left_out = _source(config, run), LeftOut()
    with open_engine(engine, address, chosen.config) as where:
        rows = read_inputs(source, chosen.config, progress, left_out, unread=False)
        vectors, ids, errors = _encode(chosen, image_refs(rows), views, where, progress)
    names, read = names_of(rows), errors == ""
    _report_unreadable(names, errors, source)
    groups = [group if isinstance(group, str) else "" for group in rows["group"][read]]
    features = Features(
        names[read].tolist(), ids[read].tolist(), groups if any(groups) else [], vectors,
        chosen.about(),
    )  # fmt: skip
    write_features(features, out)
    return Embedded(out, int(read.sum()), vectors.shape[2], len(vectors), chosen.backbone,
                    chosen.weights, int((~read).sum()), left_out)  # fmt: skip


def _encode(
    chosen: _Source, refs: list[ImageRef], views: bool, where: Engine, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors (V, M, D) of the M images that can be read, and ids and errors (N,) of all."""
    make = partial(_Embedder, chosen.encoder, chosen.config, views)
    vectors, count = np.zeros((1, 0, 0), np.float32), 0
    ids, errors = np.full((2, len(refs)), "", dtype=object)
    with closing(where.compute(make, chosen.config.image, refs, BATCH)) as computed:
        for number, found in computed:
            if not count:
                shape = (found["vectors"].shape[1], len(refs), found["vectors"].shape[2])
                vectors = room_for(shape, np.float32, _MEMORY_MB, f"{len(refs)} vectors")
            rows = slice(number * BATCH, number * BATCH + len(found["ids"]))
            ids[rows], errors[rows] = found["ids"], found["errors"]
            vectors[:, rows] = found["vectors"].swapaxes(0, 1)
            count += len(found["ids"])
            progress("embed", count, len(refs))
    return _without(vectors, errors != ""), ids, errors


def _without(vectors: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Return vectors (V, N, D) without those of images that failed, moved up in their place."""
    to = 0
    for row in np.flatnonzero(~failed) if failed.any() else ():
        vectors[:, to] = vectors[:, row]
        to += 1
    return vectors[:, :to] if failed.any() else vectors


class _Embedder:
    """An encoder as a `BatchModel`: the features of a batch, and of its mirror images."""

    def __init__(self, encoder: Encoder, config: Config, views: bool) -> None:
        self.image, self.device, self._views = config.image, choose_device(config.device), views
        self._networks = Networks(encoder, nn.Identity(), nn.Sequential()).to(self.device)

    def make_ready(self) -> None:
        """Convert the encoder once for all processes."""
        self._networks.forward_of(self._networks.encoder, self.device, FLOAT32)

    def start(self, batch: ImageBatch) -> list[Embeddings]:
        """Begin to encode a batch and its mirror images."""
        seen = mirror_images(batch.images, self._views, self._views)
        sent = [torch.from_numpy(np.ascontiguousarray(view)).to(self.device) for view in seen]
        return [start_embedding(self._networks, view, self.device, FLOAT32) for view in sent]

    def finish(self, batch: ImageBatch, started: list[Embeddings]) -> dict[str, np.ndarray]:
        """Return ``vectors`` (B, V, D), ``ids`` and ``errors`` (B,)."""
        vectors = torch.stack([found.cpu().classifier for found in started], dim=1).numpy()
        return {"vectors": vectors, "ids": batch.ids, "errors": batch.errors}


def _source(config: Config | None, run: Run | None) -> _Source:
    if run is None:
        config = config or Config()
        # Random weights are part of the result, so the seed has to stand before them.
        torch.manual_seed(config.seed)
        backbone = load_backbone(config.model.backbone, config.model.weights, config.image.size)
        config = as_expected(config, backbone)
        return _Source(backbone.encoder, backbone.name, backbone.weights, config)
    if run.info.features is not None:
        raise RunError(
            f"the run {run.path} was fitted on given features ({run.info.features.name}) and has "
            "no encoder; name one with --backbone"
        )
    chosen = run.config_with(config)
    return _Source(run.networks.encoder, run.info.backbone, run.info.weights, chosen)


def _report_unreadable(names: np.ndarray, errors: np.ndarray, source: Place | str) -> None:
    bad = np.flatnonzero(errors != "")
    if not len(bad):
        return
    example = f"e.g. '{shown(names[bad[0]], 100)}': {errors[bad[0]]}"
    if len(bad) == len(errors):
        raise DataError(f"none of the {len(bad)} images in {source} can be read, {example}")
    log.warning("%d of %d images cannot be read and are left out, %s", len(bad), len(errors),
                example)  # fmt: skip


def _digest(encoder: Encoder) -> str:
    """16 hex digits of the SHA-256 of an encoder's tensors: which weights they really are."""
    found = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        found.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        found.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
