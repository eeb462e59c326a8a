"""`assign`: from a folder of images to `assignments.csv`, batch by batch, resumable."""

import hashlib
import json
import logging
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config
from clusterkit.data.files import reading_processes
from clusterkit.data.loading import Batch, load_batches, places_of
from clusterkit.data.manifest import read_inputs
from clusterkit.data.near import NearIndex
from clusterkit.data.patients import key_fingerprint
from clusterkit.engine.calibrate import Calibration
from clusterkit.engine.context import Context
from clusterkit.engine.fusion import Fusion
from clusterkit.engine.journal import Journal
from clusterkit.engine.judge import Judge, Reduction
from clusterkit.engine.novelty import NoveltyModel
from clusterkit.engine.precision import Precision
from clusterkit.engine.propagate import Neighbourhood
from clusterkit.engine.questions import summarise_clusters
from clusterkit.engine.rows import build_table
from clusterkit.engine.similarity import Gallery
from clusterkit.engine.table import STATUSES, write_assignments
from clusterkit.models.forward import FLOAT32
from clusterkit.models.networks import Embeddings, choose_device, embed, start_embedding
from clusterkit.models.run import Run
from clusterkit.models.siamese import FactoredSiamese

log = logging.getLogger("clusterkit")

Report = Callable[[str, int, int], None]

# Characters: the column reason is a short sentence.
_LONGEST_ERROR = 200


@dataclass(frozen=True)
class Assignment:
    """What `assign` wrote.

    Attributes
    ----------
    table : DataFrame
        The rows of `assignments.csv`.
    summary : dict
        What is in `assignments.json`.
    path : Path
        The CSV.
    """

    table: pd.DataFrame
    summary: dict
    path: Path


class Engine:
    """A loaded run, ready to turn images into evidence.

    Parameters
    ----------
    run : Run
    config : Config
        Device and engine settings.
    """

    def __init__(self, run: Run, config: Config) -> None:
        self.run, self.config = run, config
        self.device = choose_device(config.device)
        # Folded on the CPU, so before the networks move.
        siamese = FactoredSiamese.from_head(run.networks.siamese_head)
        self.networks = run.networks.to(self.device)
        self.calibration = Calibration.from_dict(run.calibration)
        labels, stored, pool_top = run.labels, run.gallery, config.engine.pool_top
        exemplars = stored["exemplar"].numpy().astype(bool)
        self.gallery = Gallery(siamese, stored["features"], labels, len(run.classes), exemplars)
        reduction, neighbours = Reduction.stored_in(run), _neighbours(run)
        self.judge = Judge(self.networks, self.gallery, reduction, neighbours, pool_top)
        self.precision = Precision(**run.info["precision"])
        on_gpu = self.device.type == "cuda"
        self._copying = torch.cuda.Stream(self.device) if on_gpu else None
        self.near = NearIndex(stored["signatures"].numpy())
        self.novelty = NoveltyModel.from_tensors(run.part_of_gallery("novelty"))

    def features(self, images: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Encode uint8 RGB (B, S, S, 3) to Siamese features (B, D) and class logits (B, K).

        In float32, as the labelled images were: a few images are compared with those.
        """
        embeddings = embed(self.networks, images, self.device, FLOAT32)
        return embeddings.siamese, self.judge.logits(embeddings).numpy()

    def evidence(self, batch: Batch) -> dict[str, np.ndarray]:
        """Turn one batch into the arrays that the journal keeps: see `Context`."""
        return self.finish(batch, self.start(batch))

    def stream(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
        """Yield each batch with its `evidence`.

        On a GPU the next batch is on its way before this one is finished, so that the GPU does
        not wait for the processor.
        """
        ahead = 1 if self._copying else 0
        running: deque[tuple[Batch, Embeddings]] = deque()
        for batch in batches:
            running.append((batch, self.start(batch)))
            if len(running) > ahead:
                first, started = running.popleft()
                yield first, self.finish(first, started)
        for first, started in running:
            yield first, self.finish(first, started)

    def start(self, batch: Batch) -> Embeddings:
        """Begin to encode a batch; a GPU goes on while the batch before it is finished."""
        return start_embedding(self.networks, self._sent(batch.images), self.device)

    def finish(self, batch: Batch, started: Embeddings) -> dict[str, np.ndarray]:
        """Turn what `start` began into evidence."""
        found = self._weigh(started.cpu(), batch.looks)
        close = self.precision.is_close(found["probs"])
        if close.any():
            plain = embed(self.networks, batch.images[close], self.device, FLOAT32)
            for name, values in self._weigh(plain, batch.looks[close]).items():
                found[name][close] = values
        near, score = self.near.match(batch.signatures)
        errors = batch.errors.astype(f"U{_LONGEST_ERROR}")
        return {"ids": batch.ids, "errors": errors, "near": near, "near_score": score, **found}

    def _weigh(self, embeddings: Embeddings, looks: np.ndarray) -> dict[str, np.ndarray]:
        return weigh(self.judge, self.calibration.fusion, self.novelty, embeddings, looks)

    def _sent(self, images: np.ndarray) -> torch.Tensor:
        """Return images (B, S, S, 3) uint8 on the device; a GPU copies beside what it computes."""
        batch = torch.from_numpy(images)
        if self._copying is None:
            return batch.to(self.device)
        with torch.cuda.stream(self._copying):
            sent = batch.pin_memory().to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copying)
        # The memory must not be given to another batch while this one is read from it.
        sent.record_stream(computing)
        return sent


def weigh(
    judge: Judge, fusion: Fusion, novelty: NoveltyModel, embeddings: Embeddings, looks: np.ndarray
) -> dict[str, np.ndarray]:
    """Return all that rows rest on of N images, given their embeddings and `appearance`."""
    scores, found, gate = judge.compare(embeddings, fusion)
    return {
        "classifier": fusion.classifier_probs(scores.logits).astype(np.float32),
        "probs": fusion.probs(scores, gate).astype(np.float32),
        "gate": gate,
        "pooled": found.pooled,
        "nearest": found.nearest,
        "nearest_logit": found.nearest_logit,
        "novelty": novelty.score(embeddings.siamese, looks),
        "reduced": judge.reduction(embeddings.siamese),
    }


def _neighbours(run: Run) -> Neighbourhood | None:
    stored = run.part_of_gallery("neighbours")
    return Neighbourhood(**{k: v.numpy() for k, v in stored.items()}) if stored else None


def assign(
    run: Run | Path | str,
    source: Path | str,
    *,
    config: Config | None = None,
    out: Path | str | None = None,
    fresh: bool = False,
    progress: Report | None = None,
) -> Assignment:
    """Label the images of a folder or CSV, or refuse to, and write `assignments.csv`.

    Parameters
    ----------
    run : Run or path
    source : path
        A folder (searched to the bottom), a CSV with a column image, or one image.
    config : Config or None
        None: the run's. Its sections `engine`, `assign` and `data` matter here.
    out : path or None
        The CSV; None: ``<run>/assignments.csv``. A JSON of the same name is put beside it.
    fresh : bool
        Start anew even if an interrupted call with the same input could be resumed.
    progress : callable or None
        Called with (stage, done, total).

    Raises
    ------
    ClusterkitError
        The run or input cannot be used. Single unreadable images are `failed` rows instead.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    config = config or run.config
    out = Path(out) if out is not None else run.path / "assignments.csv"
    started = time.perf_counter()
    inputs = read_inputs(source, replace(config, image=run.config.image), progress)
    _check_key(run, inputs, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(out, _key(run, inputs, config), fresh)
    try:
        resumed = _embed_missing(run, inputs, config, journal, progress)
        evidence = journal.evidence()
        context = Context.of(run, config, evidence)
        table = build_table(inputs, evidence, context)
        summary = _summary(run, source, out, inputs, table, context)
        summary["cluster_summaries"] = summarise_clusters(table, evidence)
        summary |= {"fingerprint": journal.fingerprint, "resumed_batches": resumed}
        seconds = time.perf_counter() - started
        summary |= {"seconds": round(seconds, 3), "images_per_second": len(table) / seconds}
        write_assignments(table, out)
        _write_json(out.with_suffix(".json"), summary)
    except BaseException:
        journal.close()
        raise
    journal.remove()
    return Assignment(table, summary, out)


def _embed_missing(
    run: Run, inputs: pd.DataFrame, config: Config, journal: Journal, progress: Report | None
) -> int:
    """Compute the batches that the journal lacks; returns how many it had."""
    done = journal.done()
    batch_size = config.assign.batch_size
    workers = reading_processes(config.assign.workers)
    # Starting workers costs more than reading a handful of images.
    workers = 0 if len(inputs) <= 2 * batch_size else workers
    if done:
        log.info("resuming: %d batches were done before", len(done))
    if len(done) * batch_size >= len(inputs):
        return len(done)
    places, finished = places_of(inputs), len(done) * batch_size
    # Before the engine, so that the first images are being decoded while it is made ready.
    batches = load_batches(places, run.config.image, batch_size, workers, skip=done)
    engine = Engine(run, config)
    engine.networks.make_ready(engine.device)
    for batch, evidence in engine.stream(batches):
        journal.write(batch.number, evidence)
        finished += len(batch.ids)
        if progress:
            progress("assign", min(finished, len(places)), len(places))
    return len(done)


def _check_key(run: Run, inputs: pd.DataFrame, config: Config) -> None:
    known = run.info["data"].get("patient_key")
    if known and key_fingerprint(inputs["group"], config.data.key_file) not in (known, None):
        log.warning("patient ids are hashed with another key than when the run was fitted: one "
                    "patient has two names; name the key with data.key_file")  # fmt: skip


def _key(run: Run, inputs: pd.DataFrame, config: Config) -> dict:
    """Everything that decides what is in the journal's batches."""
    listed = hashlib.sha256()
    for path, frame in zip(inputs["path"], inputs["frame"], strict=True):
        try:
            found = os.stat(path)
            stamp = (found.st_size, found.st_mtime_ns)
        except OSError:
            stamp = None
        listed.update(json.dumps([path, frame, stamp]).encode())
    return {
        "clusterkit": clusterkit.__version__,
        "torch": torch.__version__,
        "run": run.info["id"],
        "inputs": listed.hexdigest(),
        "device": str(choose_device(config.device)),
        "batch_size": config.assign.batch_size,
        "pool_top": config.engine.pool_top,
    }


def _summary(
    run: Run,
    source: Path | str,
    out: Path,
    inputs: pd.DataFrame,
    table: pd.DataFrame,
    context: Context,
) -> dict:
    source = Path(source)
    data = context.config.data
    root = Path(data.images or source.parent) if source.is_file() else source
    counts = table["status"].value_counts()
    labels = table["predicted_label"][table["status"].isin(["assigned", "duplicate"])]
    return {
        "images": len(table),
        "status": {s: int(counts.get(s, 0)) for s in STATUSES},
        "assigned_by_class": {c: int((labels == c).sum()) for c in run.classes},
        "clusters": int(table["cluster"].nunique()),
        "near_duplicates": int(
            ((table["duplicate_of"] != "") & (table["status"] != "duplicate")).sum()
        ),
        "class_shares": {
            "labelled": dict(zip(run.classes, context.calibration.prior.round(6), strict=True)),
            "estimated": dict(zip(run.classes, context.prior.round(6), strict=True)),
        },
        "promise": context.to_dict(),
        "promise_text": context.text,
        "confidence": context.config.assign.confidence,
        "run": run.info["id"],
        # Relative, so that a run and its data can move together and no absolute path is kept.
        "input_root": os.path.relpath(root, out.parent),
        "device": str(choose_device(context.config.device)),
        "versions": {
            "clusterkit": clusterkit.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _write_json(path: Path, values: dict) -> None:
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
