"""Adapter of a DICOMDIR, the table of contents that DICOM media carry."""

from pathlib import Path

import pandas as pd

from clusterkit.config import DataConfig
from clusterkit.data.files import inside_root
from clusterkit.data.imageio.dicom import read_dataset
from clusterkit.data.imageio.read import MAX_BYTES, read_bytes
from clusterkit.errors import DataError, ImageError


class DicomdirAdapter:
    """Files that a DICOMDIR names; labels come from `label_tag`, or there are none."""

    name = "dicomdir"

    def __init__(self, source: Path, config: DataConfig) -> None:
        self.source = source

    @classmethod
    def accepts(cls, source: Path, config: DataConfig) -> bool:
        """Return True for a file called DICOMDIR."""
        return source.is_file() and source.name.upper() == "DICOMDIR"

    def read(self) -> pd.DataFrame:
        """Rows, one per file, sorted; a file that does not exist stays a row.

        Raises
        ------
        DataError
            It is no DICOMDIR, names no file, or one outside its own folder.
        """
        try:
            directory = read_dataset(read_bytes(self.source), MAX_BYTES)
            if "DirectoryRecordSequence" not in directory:
                raise ImageError("it is no DICOMDIR, or cut off")
            records = directory.get("DirectoryRecordSequence") or []
            ids = [record.get("ReferencedFileID") for record in records]
        except ImageError as error:
            raise DataError(f"{self.source}: {error}") from error
        except Exception as error:
            raise DataError(f"{self.source} is no readable DICOMDIR: {error}") from error
        parts = [[i] if isinstance(i, str) else list(i) for i in ids if i]
        images = sorted({"/".join(map(str, names)) for names in parts})
        if not images:
            raise DataError(f"{self.source} names no file; give the folder that holds the images")
        paths = [self._path(image) for image in images]
        return pd.DataFrame(
            {
                "image": [p.relative_to(self.source.parent).as_posix() for p in paths],
                "path": [str(p.absolute()) for p in paths],
                "label": None,
                "group": None,
            },
            dtype=object,
        )

    def _path(self, image: str) -> Path:
        """Path of a file that the DICOMDIR names, also where it is in lower case on the disk."""
        path = inside_root(self.source.parent, image, str(self.source))
        # The standard's names are upper case; many systems copy them in lower case.
        lower = inside_root(self.source.parent, image.lower(), str(self.source))
        return lower if not path.exists() and lower.exists() else path
