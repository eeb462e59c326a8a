"""Encoders of torchvision: its classification networks, cut before their pooling."""

import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models as tv  # type: ignore[import-untyped]  # it carries no types

from clusterkit.encoders.backbone import TORCHVISION, Backbone, EncoderRecord
from clusterkit.encoders.checksums import sha256_of
from clusterkit.encoders.encoder import DEPTHS, Encoder, check_maps
from clusterkit.encoders.weight_files import do_not_fit, file_in_folder, read_tensors
from clusterkit.errors import WeightsError

log = logging.getLogger("clusterkit")

# Networks whose forward is more than their children in a row.
_NOT_SEQUENTIAL = ("googlenet", "inception", "vit_", "maxvit")


def backbone_names() -> list[str]:
    """Return the torchvision classification networks that can be cut into an encoder."""
    return [name for name in tv.list_models(module=tv) if not name.startswith(_NOT_SEQUENTIAL)]


def load_torchvision(name: str, weights: str, size: int | None) -> Backbone:
    """Build an encoder of torchvision with weights of a given source.

    Parameters
    ----------
    name : str
        A classification network, e.g. ``"resnet34"``.
    weights : str
        ``"auto"``: torchvision's ImageNet weights, and a warning and random weights where
        they cannot be had; ``"none"``: random weights; else a file with torchvision's key names,
        or a folder that holds one.
    size : int or None
        Pixels a side of the images to come; None: 224.

    Raises
    ------
    WeightsError
        The network cannot be cut or encode such images, or the file does not fit it.
    """
    model, used, path = _build_model(name), "none", None
    if weights == "auto":
        used = "imagenet" if _load_imagenet(model, name) else "none"
    elif weights != "none":
        given = Path(weights)
        path = file_in_folder(given) if given.is_dir() else given
        _load_file(model, name, path)
        used = given.name
    encoder = TorchvisionEncoder(_cut(model, name), name)
    check_maps(encoder, name, size or encoder.expects.size)
    record = EncoderRecord(
        source=TORCHVISION,
        name=name,
        architecture=name,
        package=f"torchvision {version('torchvision')}",
        weights=used,
        sha256=None if path is None else sha256_of(path),
        expects=encoder.expects,
    )
    return Backbone(encoder, record)


def parameters_of(name: str) -> int:
    """Return how many parameters a network has, its classifier with them; 0: it is not known."""
    try:
        return int(tv.get_model_weights(name).DEFAULT.meta["num_params"])
    except (ValueError, KeyError, AttributeError):
        return 0


def empty_encoder(name: str) -> "TorchvisionEncoder":
    """Return the encoder of `name` with random weights, to be filled from a run."""
    return TorchvisionEncoder(_cut(_build_model(name), name), name)


class TorchvisionEncoder(Encoder):
    """A network cut before its pooling, giving the last map of its deepest resolutions.

    Attributes
    ----------
    body : nn.Sequential
        Layers that are run one after the other.
    taps : list of int
        Layers of `body` whose outputs are the maps, rising.

    Raises
    ------
    WeightsError
        The network does not turn an image into maps (1, C, h, w).
    """

    def __init__(self, body: nn.Module, name: str) -> None:
        super().__init__()
        self.body = nn.Sequential(*_unrolled(body))
        shapes = self._shapes(name)
        last = {shape[2:]: step for step, shape in enumerate(shapes)}
        self.taps = sorted(last.values())[-DEPTHS:]
        self.depths = [shapes[step][1] for step in self.taps]
        self.groups = [1] * len(self.taps)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps (B, C_d, h_d, w_d) of normalised images (B, 3, H, W), the shallowest first."""
        maps = []
        for step, layer in enumerate(self.body):
            images = layer(images)
            if step in self.taps:
                maps.append(images)
        return maps

    def stages(self) -> list[list[nn.Module]]:
        """Return the layers up to the first map, from there to the second, and so on."""
        starts = [0, *(tap + 1 for tap in self.taps[:-1])]
        return [list(self.body[a : b + 1]) for a, b in zip(starts, self.taps, strict=True)]

    def layer(self, number: int) -> nn.Module:
        """Return the layer whose output is a map (number -1: the deepest)."""
        return self.body[self.taps[number]]

    def _shapes(self, name: str) -> list[torch.Size]:
        """Shapes of the output of each layer, for one image."""
        training = self.training
        self.eval()
        shapes, x = [], torch.zeros(1, 3, 128, 128)
        with torch.no_grad():
            for layer in self.body:
                x = layer(x)
                shapes.append(x.shape)
        self.train(training)
        if x.ndim != 4:
            raise WeightsError(
                f"backbone '{name}' gives a map of shape {tuple(x.shape)}, not (N, C, h, w); "
                "choose another, e.g. resnet34"
            )
        return shapes


def _unrolled(body: nn.Module) -> list[nn.Module]:
    """Layers of nested plain sequences in a row, so that every resolution's last one is known."""
    layers: list[nn.Module] = []
    for layer in body.children():
        # A subclass may do more in its forward than run its children in a row.
        if type(layer) is nn.Sequential:
            layers += _unrolled(layer)
        else:
            layers.append(layer)
    return layers


def _build_model(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tv.get_model(name, weights=None)


def _cut(model: nn.Module, name: str) -> nn.Sequential:
    """Layers before the pooling; fastai's `create_body` cuts there too."""
    children = dict(model.named_children())
    if "avgpool" in children:
        names = list(children)
        return nn.Sequential(*(children[n] for n in names[: names.index("avgpool")]))
    if "features" in children:
        # densenet's forward applies a ReLU between its features and its pooling.
        tail = [nn.ReLU(inplace=True)] if name.startswith("densenet") else []
        return nn.Sequential(children["features"], *tail)
    for last in ("fc", "classifier"):
        if last in children:
            return nn.Sequential(*(m for n, m in children.items() if n != last))
    raise WeightsError(f"backbone '{name}' cannot be cut into an encoder; choose e.g. resnet34")


def _load_imagenet(model: nn.Module, name: str) -> bool:
    """Load torchvision's ImageNet weights; False, and a warning, where they cannot be had."""
    source = tv.get_model_weights(name).DEFAULT
    try:
        model.load_state_dict(source.get_state_dict(progress=False))
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        log.warning(
            "ImageNet weights of %s cannot be had (%s): training from random weights; "
            "give --weights FILE for better labels",
            name,
            reason,
        )
        return False
    return True


def _load_file(model: nn.Module, name: str, path: Path) -> None:
    """Load weights from a file, of which the encoder's tensors have to fit."""
    state = read_tensors(path)
    # The classifying layers are cut off, so they need not fit.
    wanted = model.state_dict()
    head = {"fc", "classifier", "head", "heads"}
    body = {k: v for k, v in wanted.items() if k.split(".")[0] not in head}
    missing = [k for k in body if k not in state]
    wrong = [k for k in body if k in state and state[k].shape != body[k].shape]
    if missing or wrong:
        raise do_not_fit(path.name, name, missing, wrong, len(body))
    model.load_state_dict({k: state[k] for k in body}, strict=False)
