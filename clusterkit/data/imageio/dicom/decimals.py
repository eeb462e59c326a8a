"""Numbers that a header writes as text: read also where a program wrote them its own way."""

import math
import re
from typing import TYPE_CHECKING

from clusterkit.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

# Of those that turn stored values into a picture, all that are decimal strings (VR DS).
DECIMALS = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def read_decimals(view: "Dataset") -> None:
    """Make numbers of the `DECIMALS` of a data set, in place: a decimal comma is a point.

    Raises
    ------
    ImageError
        One is no number.
    """
    from pydicom.dataelem import DataElement

    for name in (n for n in DECIMALS if n in view):
        element = view[name]
        values = element.value if element.VM > 1 else [element.value]
        numbers = [_number(name, value) for value in values]
        # The first is the one that is used; a later one may be left empty.
        found = [number for number in numbers if number is not None]
        if not found:
            del view[name]
        elif any(isinstance(value, str) for value in values):
            # One of the functional groups' own stays as it is written.
            view[name] = DataElement(element.tag, "DS", found if len(found) > 1 else found[0])


def _number(name: str, value: object) -> float | None:
    """Number that a value stands for; "": None."""
    text = "" if value is None else str(value).strip().strip("\0")
    if not text:
        return None
    number = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        shown = "".join(c for c in text if c in "0123456789.,+-eE") or "…"
        raise ImageError(f"the header's {name} ('{shown:.20}') is no number; image.window = "
                         "[centre, width] replaces a window")  # fmt: skip
    return number
