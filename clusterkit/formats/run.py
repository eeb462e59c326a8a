"""The run bundle: plain tensors, tables and JSON, written whole or not at all."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

from clusterkit.config import Config
from clusterkit.data.files import inside_root
from clusterkit.data.frames import files_of
from clusterkit.data.guarded_path import is_inside
from clusterkit.data.identity import image_id_of
from clusterkit.data.imageio.read import load_image, read_bytes
from clusterkit.data.labelled import named_with_cluster
from clusterkit.data.link_rules import link_roots_of
from clusterkit.data.written_names import folder_of_record
from clusterkit.errors import DataError, RunError
from clusterkit.formats.atomic import new_folder, write_json
from clusterkit.formats.cluster_trust import CheckedMembers
from clusterkit.formats.csv_text import safe_csv_text, table_text
from clusterkit.formats.result_card import ResultCard, Shown
from clusterkit.formats.run_files import (
    MANIFEST_COLUMNS,
    labels_fit,
    read_calibration,
    read_gallery,
    read_history,
    read_networks,
    read_record_file,
    read_run_config,
    read_run_manifest,
    score_count,
)
from clusterkit.formats.run_info import RunInfo, facts_of
from clusterkit.formats.run_schema import DamageError
from clusterkit.formats.run_settings import with_config
from clusterkit.formats.tensor_parts import part_of
from clusterkit.models.networks import Networks
from clusterkit.output import writing

# What a file that is not as it was written may make of reading it.
_DAMAGED = (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
            AssertionError, MemoryError, RuntimeError, SafetensorError)  # fmt: skip

# Characters of it that are said.
_MOST_SAID = 300


@dataclass(repr=False)
class Run(Shown):
    """Networks, exemplars and calibration of a `fit`, as stored in a directory.

    Attributes
    ----------
    path : Path
    info : RunInfo
        `run.json`: versions, backbone, classes, data summary, metrics, decisions.
    config : Config
    networks : Networks
    manifest : DataFrame
        The labelled images: image, image_id, label, group, split, frame, provenance (where the
        label is from: given, reviewed, or cluster:<n> of the reviewed run).
    gallery : dict of Tensor
        ``features`` (E, D) and ``signatures`` (E, SIGNATURE) of the labelled images in the order
        of `manifest`, ``exemplar`` (E,) 1 where compared with,
        ``projection`` (D, P) and ``centre`` (D,) of the reduction for clusters, ``novelty.*``
        (`NoveltyModel`), ``folds.*`` (`FoldModels`; older runs have none); with a pool also
        ``neighbours.*`` (`Neighbourhood`). Format 3 has ``appearance`` (E, 27) instead of
        ``novelty.*``.
    calibration : dict
        `calibration.json`; see `methods.calibration.Calibration.from_dict`.
    history : DataFrame
        One row per epoch.
    """

    path: Path
    info: RunInfo
    config: Config
    networks: Networks
    manifest: pd.DataFrame
    gallery: dict[str, torch.Tensor]
    calibration: dict[str, Any]
    history: pd.DataFrame

    def card(self) -> ResultCard:
        """Return what is shown of it in a notebook or at a prompt."""
        return ResultCard(f"Run {self.path}", facts_of(self.info))

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of every probability column."""
        return self.info.classes

    @property
    def labels(self) -> np.ndarray:
        """(N,) int: the class of each labelled image, as an index into `classes`."""
        return self.manifest["label"].map({c: i for i, c in enumerate(self.classes)}).to_numpy()

    @property
    def trust(self) -> np.ndarray:
        """(N,) float in (0, 1]: of each label; 1 but where it is that of a cluster's name alone."""
        known = self.info.trust_of_names
        # A run of before the counts were kept: nobody is known to have looked.
        unknown = CheckedMembers(0, 0).trust
        of_names = self.manifest["provenance"].map(known).fillna(unknown).to_numpy(dtype=float)
        return np.where(named_with_cluster(self.manifest), of_names, 1.0)

    @property
    def data_root(self) -> Path:
        """Where the labelled images were when the run was written."""
        return folder_of_record(self.info.data.root, self.path)

    def config_with(self, config: Config | None) -> Config:
        """Return a caller's settings for use with this run; None: all are the run's.

        Those that the calibration rests on (images, models, gate, exemplars) are always the run's;
        one warning names those of the caller that are ignored.
        """
        return with_config(self.config, config)

    def part_of_gallery(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors of `gallery` whose names begin with ``<name>.``, without that."""
        return part_of(self.gallery, name)

    def own(self, *names: str) -> Path:
        """Return the path of what commands keep in the run's folder, which may not be there.

        Raises
        ------
        RunError
            A link in the folder leads out of it: what it leads to is not the run's.
        """
        path = self.path.joinpath(*names)
        if not is_inside(os.path.realpath(path), (os.path.realpath(self.path),)):
            raise RunError(f"{path} leads out of the run by a link; remove that, or name another "
                           "place (--assignments, --out)")  # fmt: skip
        return path

    def find_image(self, image: str) -> Path:
        """Return the file of a labelled image; reviewed ones may lie outside the data root.

        Parameters
        ----------
        image : str
            Its name: the path of the manifest, with ``#k`` for a frame or without.

        Raises
        ------
        DataError
            It is in none of the places that the run knows, its name leads out of them, or what is
            there has other bytes.
        """
        image = self._file_of(image)[0]
        # The first is the root, which a person may have changed where data was moved.
        roots = [self.info.data.root, *self.info.data.roots[1:]]
        link_roots = link_roots_of(self.info.data.link_roots, self.path)
        ids = set(files_of(self.manifest["image_id"][self.manifest["image"] == image]))
        places = [
            inside_root(folder_of_record(root, self.path), image, str(self.path), link_roots)
            for root in roots
        ]
        there = [path for path in places if path.is_file()]
        for path in there:
            # Two roots may hold a file of the same name. And where a stranger's run points there
            # may be any file: only one that whoever made the run has read is shown.
            if image_id_of(read_bytes(path)) in ids:
                return path
        if there:
            raise DataError(f"{there[0]} has other bytes than when {self.path} was fitted; put "
                            "the image back")  # fmt: skip
        return places[0]

    def open_image(self, image: str) -> Image.Image:
        """Read a labelled image to RGB, as `fit` read it; `image` as for `find_image`.

        Raises
        ------
        DataError
            As `find_image`, or it cannot be read.
        """
        frame = int(self._file_of(image)[1] or 0)
        return load_image(self.find_image(image), how=self.config.image, frame=frame)

    def _file_of(self, image: str) -> tuple[str, str | None]:
        """Take a name apart; a file may itself be called ``a#1.png``, so the manifest decides."""
        file, _, frame = image.rpartition("#")
        frames = set(self.manifest["frame"][self.manifest["image"] == file]) if file else set()
        return (file, frame) if frame in frames else (image, None)

    @classmethod
    def load(cls, path: Path | str) -> "Run":
        """Read a run; nothing in it is executed.

        Raises
        ------
        RunError
            The folder is no run, is of a newer format or one older than 3, or a file is damaged.
        """
        path = Path(path)
        info = read_run_info(path)
        try:
            config = read_run_config(info, where=str(path / "run.json"))
            manifest = read_run_manifest(path)
            sizes = labels_fit(manifest, info)
            gallery = read_gallery(path, sizes)
            sizes["S"] = score_count(gallery)
            return cls(
                path=path,
                info=info,
                config=config,
                networks=read_networks(path, info, sizes["D"]),
                manifest=manifest,
                gallery=gallery,
                calibration=read_calibration(path, sizes),
                history=read_history(path),
            )
        except _DAMAGED as error:
            # Of tensors that do not fit, torch makes a line each.
            said = " ".join(str(error).split())[:_MOST_SAID]
            if not isinstance(error, DamageError):
                said = getattr(error, "filename", None) or f"{type(error).__name__}: {said}"
            raise RunError(f"run {path} is damaged ({said}); fit it again") from error

    def save(self) -> None:
        """Write the run to `path`, through a temporary folder and one rename.

        Raises
        ------
        RunError
            There is something at `path` already.
        OutputError
            It cannot be written.
        """
        with writing(self.path, "--run DIR"):
            if self.path.exists() and any(self.path.iterdir()):
                raise RunError(f"{self.path} exists and is not empty; give another --run")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new_folder(self.path) as folder:
                self._write(folder)

    def _write(self, folder: Path) -> None:
        tensors = {
            f"{prefix}.{name}": tensor.contiguous()
            for prefix, part in self.networks.parts().items()
            for name, tensor in part.state_dict().items()
        }
        _save_tensors(tensors, folder / "weights.safetensors")
        ids = json.dumps(self.manifest["image_id"].tolist())
        _save_tensors(self.gallery, folder / "gallery.safetensors", {"image_ids": ids})
        # Only elements that the config keeps come after the fixed columns.
        kept = [c for c in self.config.data.keep_tags if c in self.manifest]
        table = self.manifest[[*MANIFEST_COLUMNS, *kept]].copy()
        for column in ("image", "label", "group", *kept):
            table[column] = [safe_csv_text(v) if isinstance(v, str) else "" for v in table[column]]
        for name, rows in (("manifest", table), ("history", self.history)):
            (folder / f"{name}.csv").write_text(table_text(rows), "utf-8-sig", newline="")
        write_json(folder / "calibration.json", self.calibration)
        write_json(folder / "run.json", self.info.to_dict())


def _save_tensors(
    tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        # It says in words only what the system said.
        full = "No space" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from error


def find_run(folder: Path = Path("runs"), holding: str = "run.json") -> Path:
    """Return the newest run under a folder that holds a file of that name.

    Raises
    ------
    RunError
        There is none.
    """
    found = sorted(folder.glob("[!.]*/run.json"), key=lambda p: (p.stat().st_mtime, p.as_posix()))
    found = [path.parent for path in found if (path.parent / holding).is_file()]
    if not found:
        what = "" if holding == "run.json" else f" with an {holding}"
        first = "fit" if holding == "run.json" else "assign"
        raise RunError(f"no run{what} under {folder}/; run `clusterkit {first}` first, or give "
                       "--run DIR")  # fmt: skip
    return found[-1]


def read_run_info(path: Path | str) -> RunInfo:
    """Read a run's record without loading its networks.

    Raises
    ------
    RunError
        The folder is no run, or its record cannot be read.
    """
    path = Path(path)
    if not (path / "run.json").is_file():
        raise RunError(f"{path} is not a run (no run.json in it); give the folder that "
                       "`clusterkit fit` wrote")  # fmt: skip
    return RunInfo.of_run(read_record_file(path / "run.json"), where=str(path))
