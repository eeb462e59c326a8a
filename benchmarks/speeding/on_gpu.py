"""The parts of `benchmarks.gpu`: what a device computes beside the CPU, and how quickly."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.speeding.inference import assign_rate, decode_rate
from benchmarks.speeding.scene import draw_folder, fit_run
from clusterkit import assign, fit
from clusterkit.config import Config, config_from_dict
from clusterkit.data.loading import ImageBatch, read_batch
from clusterkit.formats.run import Run
from clusterkit.inference.batch_streams import BatchStreams
from clusterkit.inference.predictor import Predictor
from clusterkit.inference.workers import batch_size_of, compute
from clusterkit.models.forward import FLOAT32
from clusterkit.models.networks import choose_device, embed_all
from clusterkit.models.on_device import WithinMemory
from clusterkit.sample import make_sample

# Figures by name, and lines to read.
Measured = tuple[dict[str, float], list[str]]

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": None}


@dataclass(frozen=True)
class Scene:
    """Where and on what is measured.

    Attributes
    ----------
    folder : Path
    device : torch.device
    backbones : dict
        Name → weights.
    size : int
        Pixels a side that the networks see.
    picture : (width, height, drawn, copied)
        Of those that are labelled for speed.
    sample : dict
        Of `make_sample`.
    epochs : int
        Of fine-tuning.
    seconds : float
        That a part alone is measured for.
    """

    folder: Path
    device: torch.device
    backbones: dict[str, str]
    size: int
    picture: tuple[int, int, int, int]
    sample: dict[str, int]
    epochs: int
    seconds: float

    @classmethod
    def of(cls, folder: Path, device: str, short: bool) -> "Scene":
        there = choose_device(device)
        if short:
            few = {"labeled_patients": 6, "unlabeled_patients": 2, "labeled_per_class": 2,
                   "unlabeled_per_class": 2, "novel_per_patient": 1, "size": 48}  # fmt: skip
            drawn = (64, 48, 8, 32)
            return cls(folder, there, {"squeezenet1_1": "none"}, 48, drawn, few, 1, 0.05)
        both = {"tf_efficientnet_lite0": "auto", "resnet34": "none"}
        return cls(folder, there, both, 224, (500, 375, 200, 8000), {"size": 160}, 4, 2.0)

    def config(self, backbone: str, device: str | torch.device | None = None, **train) -> Config:
        few = {"siamese_epochs": 1, "folds": 1} if self.epochs == 1 else {"folds": 3}
        return config_from_dict({
            "device": str(device or self.device),
            "image": {"size": self.size},
            "model": {"backbone": backbone, "weights": self.backbones[backbone]},
            "train": {"strategy": "head", **few, **train},
        })  # fmt: skip

    def sample_folder(self) -> Path:
        root = self.folder / "sample"
        if not root.exists():
            make_sample(root, seed=0, **self.sample)
        return root


def agreement(scene: Scene) -> Measured:
    """Fit on the device and on the CPU; label with the device's run on both."""
    root, backbone = scene.sample_folder(), next(iter(scene.backbones))
    found, runs = {}, {}
    on_both = [("device", scene.device), *[("cpu", "cpu")] * (scene.device.type != "cpu")]
    for name, device in on_both:
        started = time.perf_counter()
        runs[name] = fit(root / "labels.csv", config=scene.config(backbone, device),
                         run=scene.folder / name)  # fmt: skip
        found[f"fit on the {name}, s"] = time.perf_counter() - started
        accuracy = runs[name].info.metrics["accuracy"]
        found[f"held-out accuracy of the fit on the {name}"] = accuracy
    images = _some_pixels(scene, 8)
    own, plain = (
        embed_all(Run.load(runs["device"].path).networks.to(device), images, device,
                  precision=FLOAT32).classifier
        for device in (scene.device, "cpu")
    )  # fmt: skip
    scale = plain.abs().max()
    found["features in float32, largest difference"] = float((own - plain).abs().max() / scale)
    here, there = (
        assign(runs["device"].path, root / "unlabeled.csv", device=str(device),
               out=scene.folder / "agreement.csv", overwrite=True, fresh=True).table
        for device in ("cpu", scene.device)
    )  # fmt: skip
    read = here["status"] != "failed"
    for column, words in (("predicted_label", "labels"), ("status", "statuses")):
        same = here[column][read] == there[column][read]
        found[f"{words} as on the CPU"] = float(same.mean())
    apart = (here["confidence"][read] - there["confidence"][read]).abs()
    return found | {"confidence, mean difference": float(apart.mean())}, []


def speed(scene: Scene) -> Measured:
    """Measure each step alone, and all of them together, with each backbone."""
    pictures = draw_folder(scene.folder / "pictures", scene.picture[3], *scene.picture[:3])
    found, decoded = {}, decode_rate(pictures)
    for backbone in scene.backbones:
        predictor = _predictor(scene, backbone)
        alone = {"decode": decoded, **_steps(scene, predictor)}
        with _peak(scene.device) as peak:
            refs = [(str(p), None) for p in sorted(pictures.iterdir())]
            alone["batches"] = _batches(predictor, refs)
        alone["assign"] = assign_rate(_on(predictor.run, scene), pictures, scene.folder)
        limit = min(alone[name] for name in ("decode", "copy", "forward"))
        found |= {f"{backbone}: {name}, images/s": rate for name, rate in alone.items()}
        for name in ("batches", "assign"):
            found[f"{backbone}: {name} ÷ min(decode, copy, forward)"] = alone[name] / limit
        found[f"{backbone}: peak memory of the GPU in assign, MB"] = peak[0]
    return found, []


def training(scene: Scene) -> Measured:
    """Fine-tune in each type that the device may train in."""
    from clusterkit.training.callbacks import half_precision

    root, backbone, found = scene.sample_folder(), list(scene.backbones)[-1], {}
    config = scene.config(backbone, strategy="finetune", folds=1, epochs=scene.epochs)
    own = half_precision(scene.device)
    types = _TYPES if scene.device.type == "cuda" else {"its own type": own}
    losses = {}
    for name, dtype in [*types.items(), ("its own type again", own)]:
        started = time.perf_counter()
        with _peak(scene.device) as peak, _trains_in(dtype):
            run = fit(root / "labels.csv", config=config, run=scene.folder / f"tuned in {name}")
        losses[name] = run.history["train_loss"].to_numpy()
        found |= {
            f"fine-tuning in {name}, s": time.perf_counter() - started,
            f"fine-tuning in {name}, peak memory of the GPU, MB": peak[0],
            f"fine-tuning in {name}, held-out accuracy": run.info.metrics["accuracy"],
            f"fine-tuning in {name}, last loss": float(losses[name][-1]),
        }
    for name in set(types) & {"bfloat16", "float16"}:
        below = (found["fine-tuning in float32, held-out accuracy"]
                 - found[f"fine-tuning in {name}, held-out accuracy"])  # fmt: skip
        found[f"fine-tuning in {name}, held-out accuracy below float32's"] = below
    first = next(name for name, dtype in types.items() if dtype == own)
    same = np.array_equal(losses[first], losses["its own type again"])
    return found | {"the same seed gives the same losses": float(same)}, []


def memory(scene: Scene) -> Measured:
    """Encode a batch in a memory that is too small for it."""
    predictor = _predictor(scene, next(iter(scene.backbones)))
    forward = predictor.networks.forward_of(predictor.networks.encoder, scene.device)
    images = torch.from_numpy(_some_pixels(scene, 256 if scene.epochs > 1 else 20)).to(scene.device)
    whole = forward(images)
    with _room_for(scene.device, lambda: forward(images[: len(images) // 8])) as limit:
        parts = WithinMemory(forward, scene.device)
        found = parts(images)
    alike = torch.allclose(found, whole, rtol=0, atol=0.02 * float(whole.abs().max()))
    return {"parts of a batch give its features": float(alike),
            "room that was left, MB": limit,
            "images at once in it": float(parts.at_once or len(images))}, []  # fmt: skip


def profiled(scene: Scene) -> Measured:
    """Return the operations that take most of the time of `assign`."""
    predictor = _predictor(scene, next(iter(scene.backbones)))
    pictures = draw_folder(scene.folder / "profiled", min(640, scene.picture[3]),
                           *scene.picture[:3])  # fmt: skip
    refs = [(str(p), None) for p in sorted(pictures.iterdir())]
    on_gpu = scene.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]
    started = time.perf_counter()
    with profile(activities=activities) as seen:
        _batches(predictor, refs)
    seconds = time.perf_counter() - started
    averages = seen.key_averages()
    found, lines = {}, []
    if on_gpu:
        # Operations of the CPU carry the time of the kernels that they start once more.
        own = [e.self_device_time_total for e in averages if e.device_type == DeviceType.CUDA]
        found["share of the time in which the GPU computes or copies"] = sum(own) / 1e6 / seconds
        lines += averages.table("self_device_time_total", row_limit=12).splitlines()
    return found, lines + averages.table("self_cpu_time_total", row_limit=12).splitlines()


MEASURES: dict[str, Callable[[Scene], Measured]] = {
    "agreement": agreement,
    "speed": speed,
    "training": training,
    "memory": memory,
    "profile": profiled,
}


def _predictor(scene: Scene, backbone: str) -> Predictor:
    """Return a run on drawn pictures of three tints, ready on the device."""
    place = scene.folder / backbone
    if not (place / "run").exists():
        fit_run(place, scene.config(backbone).to_dict(), 30)
    run = Run.load(place / "run")
    return Predictor(run, scene.config(backbone))


def _on(run: Run, scene: Scene) -> Run:
    loaded = Run.load(run.path)
    loaded.config.device = str(scene.device)
    return loaded


def _some_pixels(scene: Scene, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, scene.size, scene.size, 3), dtype=np.uint8)


def _steps(scene: Scene, predictor: Predictor) -> dict[str, float]:
    """Images a second of copying, encoding and finishing, each alone."""
    count, streams = batch_size_of(predictor.config, scene.device), BatchStreams(scene.device)
    pixels = _some_pixels(scene, count)
    networks = predictor.networks
    resident = torch.from_numpy(pixels).to(scene.device)
    own = networks.forward_of(networks.encoder, scene.device)
    plain = networks.forward_of(networks.encoder, scene.device, FLOAT32)
    batch = _one_batch(scene, pixels)
    started = predictor.start(batch)
    return {
        "copy": _rate(scene, count, lambda: streams.send(pixels)),
        "forward": _rate(scene, count, lambda: own(resident)),
        "forward in float32": _rate(scene, count, lambda: plain(resident)),
        "finish": _rate(scene, count, lambda: predictor.finish(batch, started)),
    }


def _one_batch(scene: Scene, pixels: np.ndarray) -> ImageBatch:
    path = next((scene.folder / "pictures").iterdir())
    how = config_from_dict({"image": {"size": scene.size}}).image
    read = read_batch([(str(path), None)] * len(pixels), how, 0, len(pixels))
    return replace(read, number=0, images=pixels)


def _rate(scene: Scene, count: int, step: Callable[[], object]) -> float:
    def wait() -> None:
        if scene.device.type == "cuda":
            torch.cuda.synchronize(scene.device)

    for _ in range(3):
        step()
    wait()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < scene.seconds:
        step()
        calls += 1
        # A queue without end would be measured for a time without end.
        if calls % 8 == 0:
            wait()
    wait()
    return calls * count / (time.perf_counter() - started)


def _batches(predictor: Predictor, refs: list) -> float:
    """Images a second of all batches but the first, which waits for the workers to start."""
    size = batch_size_of(predictor.config, predictor.device)
    found: Iterator = compute(predictor, refs, size, set())
    first = sum(len(evidence["ids"]) for _, evidence in islice(found, 1))
    started = time.perf_counter()
    done = sum(len(evidence["ids"]) for _, evidence in found)
    return (done or first) / (time.perf_counter() - started)


@contextmanager
def _peak(device: torch.device) -> Iterator[list[float]]:
    """Give, afterwards, the most memory in mebibytes that tensors held on the GPU."""
    found = [0.0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if device.type == "cuda":
        found[0] = torch.cuda.max_memory_allocated(device) / 2**20


@contextmanager
def _room_for(device: torch.device, work: Callable[[], object]) -> Iterator[float]:
    """Leave a GPU the memory that a piece of work takes, and half as much again; in mebibytes."""
    if device.type != "cuda":
        yield 0.0
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    limit = 1.5 * torch.cuda.max_memory_reserved(device)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    # Of all of torch's functions it alone wants a device's number.
    number = device.index or 0
    torch.cuda.set_per_process_memory_fraction(limit / total, number)
    try:
        yield limit / 2**20
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, number)


@contextmanager
def _trains_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Let fine-tuning compute in a type, whatever the device's own is."""
    import clusterkit.training.learners  # noqa: F401

    where = "clusterkit.training"
    with patch(f"{where}.callbacks.half_precision", lambda _: dtype), \
         patch(f"{where}.learners.half_precision", lambda _: dtype):  # fmt: skip
        yield
