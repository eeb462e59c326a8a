"""Encoders of torchvision: its classification networks, cut before their pooling."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models as tv  # type: ignore[import-untyped]  # it carries no types

from clusterkit.encoders.precomputed import GivenFeatures
from clusterkit.errors import WeightsError, nearest_name

log = logging.getLogger("clusterkit")

# Every torchvision classification weight is trained on RGB normalised with these.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Resolutions whose last maps are pooled into features.
DEPTHS = 3

# Networks whose forward is more than their children in a row.
_NOT_SEQUENTIAL = ("googlenet", "inception", "vit_", "maxvit")


@dataclass(frozen=True)
class Backbone:
    """An encoder and the source of its weights.

    Attributes
    ----------
    encoder : Encoder or GivenFeatures
        (B, 3, H, W) normalised RGB → maps of several depths; or features as they are given.
    name : str
        Of the network, as torchvision spells it; ``"features"`` where these are given.
    weights : str
        ``"imagenet"``, ``"none"`` or the name (not the path) of the file they were read from.
    """

    encoder: "Encoder | GivenFeatures"
    name: str
    weights: str

    @property
    def pretrained(self) -> bool:
        """True where the encoder starts from learned weights."""
        return self.weights != "none"


def backbone_names() -> list[str]:
    """Return the torchvision classification networks that can be cut into an encoder."""
    return [name for name in tv.list_models(module=tv) if not name.startswith(_NOT_SEQUENTIAL)]


def load_backbone(name: str, weights: str = "auto") -> Backbone:
    """Build an encoder with weights of a given source.

    Parameters
    ----------
    name : str
        A torchvision classification network, e.g. ``"resnet34"``.
    weights : str
        ``"auto"``: torchvision's ImageNet weights, and a warning and random weights where
        they cannot be had; ``"none"``: random weights; else a ``.pth`` or ``.safetensors``
        file with torchvision's key names.

    Raises
    ------
    WeightsError
        The network is not known or cannot be cut, or the file does not fit it.
    """
    model, used = _build_model(name), "none"
    if weights == "auto":
        used = "imagenet" if _load_imagenet(model, name) else "none"
    elif weights != "none":
        _load_file(model, name, Path(weights))
        used = Path(weights).name
    return Backbone(Encoder(_cut(model, name), name), name, used)


def empty_encoder(name: str) -> "Encoder":
    """Return the encoder of `name` with random weights, to be filled from a run."""
    return Encoder(_cut(_build_model(name), name), name)


class Encoder(nn.Module):
    """A network cut before its pooling, giving the last map of its deepest resolutions.

    Pooled maps of several depths label clearly better than the last one alone: fine texture
    is gone from the deepest map.

    Attributes
    ----------
    body : nn.Sequential
        Layers that are run one after the other.
    taps : list of int
        Layers of `body` whose outputs are the maps, rising.
    channels : int
        Channels of all maps together.
    depths : list of int
        Channels of each map, the shallowest first.

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
        self.channels = sum(self.depths)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps (B, C_d, h_d, w_d) of normalised images (B, 3, H, W), the shallowest first."""
        maps = []
        for step, layer in enumerate(self.body):
            images = layer(images)
            if step in self.taps:
                maps.append(images)
        return maps

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
    known = backbone_names()
    if name not in known:
        raise WeightsError(
            f"unknown backbone '{name}'{nearest_name(name, known)}; any torchvision classification "
            "network that can be cut before its pooling will do, e.g. resnet34, densenet121"
        )
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
    state = _read_state(path)
    # The classifying layers are cut off, so they need not fit.
    wanted = model.state_dict()
    head = {"fc", "classifier", "head", "heads"}
    body = {k: v for k, v in wanted.items() if k.split(".")[0] not in head}
    missing = [k for k in body if k not in state]
    wrong = [k for k in body if k in state and state[k].shape != body[k].shape]
    if missing or wrong:
        example = (missing or wrong)[0]
        raise WeightsError(
            f"weights {path.name} do not fit backbone '{name}': {len(missing)} of {len(body)} "
            f"tensors missing, {len(wrong)} of another shape (e.g. '{example}'); "
            "name the backbone they were trained with in --backbone"
        )
    model.load_state_dict({k: state[k] for k in body}, strict=False)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist; give auto, none or a file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            # weights_only: a pickle from a stranger must not run code.
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"weights file {path} is not a file of plain tensors (.pth or .safetensors): "
            f"{type(error).__name__}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(f"weights file {path} holds no plain dict of tensors")
    return state
