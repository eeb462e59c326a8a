"""The images to label first: embedded, chosen, and written as a manifest whose labels are empty."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterkit.config import Config
from clusterkit.data.manifest import data_root
from clusterkit.data.tables import read_table
from clusterkit.data.written_names import written_name
from clusterkit.errors import DataError
from clusterkit.formats.csv_text import safe_csv_text, table_text
from clusterkit.inspection.same_pictures import SamePictures
from clusterkit.inspection.scan import Scan
from clusterkit.methods.first_labels import choose_first, whitened_directions
from clusterkit.progress import Progress

TO_LABEL = "to_label.csv"
TO_LABEL_COLUMNS = ["image", "frame", "image_id", "label", "group", "order"]


@dataclass(frozen=True)
class ToLabel:
    """Images to label first.

    Attributes
    ----------
    table : DataFrame
        With `TO_LABEL_COLUMNS`, in the order of asking; label is "".
    places : list of int
        Their rows in the scan.
    root : str
        Folder that the images' paths are relative to.
    """

    table: pd.DataFrame
    places: list[int]
    root: str

    def summary(self) -> dict[str, Any]:
        """Return plain values: how many, the root, and the first ten."""
        images = self.table["image"].tolist()
        return {"images": len(images), "root": self.root, "first": images[:10]}

    def csv(self) -> str:
        """Return the text of ``to_label.csv``."""
        safe = self.table.copy()
        # `fit` takes the name as it is, and an apostrophe before it would be a part of it.
        safe["image"] = [n if safe_csv_text(n) == n else f"./{n}" for n in safe["image"]]
        safe["group"] = [safe_csv_text(group) for group in safe["group"]]
        return table_text(safe)


def check_ask(rows: pd.DataFrame, ask: int, out: Path | None) -> None:
    """Raise a `DataError` where so many cannot be asked about, or labels would be lost in `out`."""
    unlabelled = int(rows["label"].isna().sum())
    if type(ask) is not int or ask < 1:
        raise DataError(f"--ask {ask}: give how many images to name, 1 or more")
    if not unlabelled:
        raise DataError(f"--ask {ask}: all {len(rows)} images have a label; there is none to ask "
                        "for")  # fmt: skip
    if ask > unlabelled:
        raise DataError(f"--ask {ask}: only {unlabelled} images have no label; ask for at most "
                        f"{unlabelled}")  # fmt: skip
    if out is not None:
        _check_no_answers(out)


def _check_no_answers(out: Path) -> None:
    """Raise a `DataError` where a ``to_label.csv`` holds labels that a person has filled in."""
    path = out / TO_LABEL
    if not path.exists():
        return
    names, lines, _ = read_table(path, wanted=["label"])
    place = names.index("label") if "label" in names else None
    if place is None or any(line[place].strip() for line in lines):
        raise DataError(f"{path} has labels and is not replaced; give another --out")


def images_to_label(
    scan: Scan,
    same: SamePictures,
    ask: int,
    source: Path,
    config: Config,
    progress: Progress | None = None,
) -> ToLabel:
    """Choose the images to label first; those that cannot be read are never asked about.

    Parameters
    ----------
    scan : Scan
    same : SamePictures
        One image of each picture is asked about.
    ask : int
        How many; fewer are returned where there are no more pictures.
    source : Path
    config : Config
        `config.model`, `config.image`, `config.device` and `config.seed`.
    progress : callable or None
        Called with ("embed", done, total).

    Raises
    ------
    ClusterkitError
        The encoder cannot be loaded, or no image can be read.
    """
    rows = scan.rows
    places = np.flatnonzero((rows["error"] == "") & ~rows["transparent"])
    features, scale, places = _embedded(rows, places, config, progress)
    pictures = np.full(len(rows), -1)
    for number, own in enumerate(same.pictures):
        pictures[own] = number
    points = whitened_directions(features, scale, config.seed)
    groups = rows["group"].fillna("").to_numpy(dtype=object)[places]
    labelled = rows["label"].notna().to_numpy()[places]
    chosen = choose_first(points, groups, pictures[places], labelled, ask, config.seed)
    return _table(rows, places[chosen].tolist(), source, config)


def _embedded(
    rows: pd.DataFrame, places: np.ndarray, config: Config, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (M, D) of those that can be read, a scale (D,) of each feature, and places (M,)."""
    # Only who asks pays for torch.
    import torch

    from clusterkit.data.loading import image_refs, load_batches, workers_for
    from clusterkit.encoders.registry import load_backbone
    from clusterkit.models.expected_input import as_expected
    from clusterkit.models.forward import FLOAT32, batch_for_threads
    from clusterkit.models.networks import Networks, choose_device, embed
    from clusterkit.models.scaling import distance_scale

    device = choose_device(config.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = load_backbone(config.model.backbone, config.model.weights, config.image.size)
    config, refs = as_expected(config, backbone), image_refs(rows.iloc[places])
    networks = Networks(backbone.encoder, torch.nn.Identity(), torch.nn.Sequential()).to(device)
    parts, read = list[np.ndarray](), list[np.ndarray]()
    for batch in load_batches(refs, config.image, batch_for_threads(), workers_for(refs)):
        readable = batch.errors == ""
        read.append(readable)
        if readable.any():
            images = np.ascontiguousarray(batch.images[readable])
            parts.append(embed(networks, images, device, FLOAT32).classifier.numpy())
        if progress:
            progress("embed", sum(map(len, read)), len(refs))
    if not parts:
        raise DataError("--ask: none of the images can be read, so none can be named")
    features = np.concatenate(parts)
    variance = torch.from_numpy(features.var(axis=0))
    scale = distance_scale(variance, backbone.encoder.chains)
    return features, scale, places[np.concatenate(read)]


def _table(rows: pd.DataFrame, places: list[int], source: Path, config: Config) -> ToLabel:
    own = rows.iloc[places]
    root = os.path.abspath(data_root(source, config.data))
    paths = [os.path.abspath(path) for path in own["path"]]
    names = own["image"].tolist()
    if any(os.path.join(root, name) != path for name, path in zip(names, paths, strict=True)):
        # Images of --unlabeled lie elsewhere: a root that all are below.
        root = os.path.commonpath([root, *map(os.path.dirname, paths)])
        names = [written_name(Path(os.path.relpath(path, root)).as_posix()) for path in paths]
    table = pd.DataFrame({
        "image": names,
        "frame": own["frame"].fillna("").tolist(),
        "image_id": own["image_id"].tolist(),
        "label": [""] * len(own),
        "group": own["group"].fillna("").tolist(),
        "order": np.arange(1, len(own) + 1),
    }, columns=TO_LABEL_COLUMNS)  # fmt: skip
    return ToLabel(table, places, root)
