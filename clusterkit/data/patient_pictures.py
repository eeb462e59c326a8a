"""Files that are pictures of a patient: the others are left out, with the reason."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from clusterkit.data.imageio.budget import MAX_PIXELS
from clusterkit.data.imageio.dicom.objects import LOCALIZERS, why_no_picture
from clusterkit.data.left_out import LeftOut
from clusterkit.errors import DataError

if TYPE_CHECKING:
    from clusterkit.data.file_headers import Header

log = logging.getLogger("clusterkit")


def take_pictures(
    rows: pd.DataFrame,
    headers: Sequence["Header | None"],
    keep_localizers: bool,
    left_out: LeftOut | None,
) -> tuple[pd.DataFrame, list["Header | None"]]:
    """Rows and headers of the files that are pictures; the others are counted.

    Raises
    ------
    DataError
        There are files, and none is.
    """
    reasons = [
        why_no_picture(header.sop_class, header.image_type, keep_localizers) if header else ""
        for header in headers
    ]
    if not any(reasons):
        return rows, list(headers)
    found = LeftOut()
    for path, image, reason in dict.fromkeys(
        zip(rows["path"], rows["image"], reasons, strict=True)
    ):
        if reason:
            found.add(image, reason)
            log.debug("left out: %s %s", path, reason)
    if all(reasons):
        mend = "; give --keep-localizers to take them" if set(reasons) == {LOCALIZERS} else ""
        said = "; ".join(found.sentences())
        raise DataError(f"no file is a picture of a patient: {said}{mend}")
    if left_out is not None:
        left_out.include(found)
    rows = rows[[not reason for reason in reasons]]
    return rows, [header for header, no in zip(headers, reasons, strict=True) if not no]


def say_slides(rows: pd.DataFrame, headers: Sequence["Header | None"]) -> None:
    """Say how many files are whole-slide pyramids, of which most pages are not read."""
    found = [i for i, h in zip(rows["image"], headers, strict=True) if h and h.slide]
    if found:
        log.warning("%d files are whole-slide pyramids, e.g. %s: each is one image, its largest "
                    "level of at most %s pixels; thumbnail, label and macro are not read",
                    len(found), found[0], f"{MAX_PIXELS:,}")  # fmt: skip
