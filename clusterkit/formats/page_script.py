"""The script of a page that asks people: one text, and the digest by which the browser runs it."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

# How every such page writes a reviews.csv.
_SHARED = "reviews.js"


def page_script(package: str, names: Sequence[str]) -> tuple[str, str]:
    """Join scripts, and the one that writes a `reviews.csv` before them, to one.

    Parameters
    ----------
    package : str
        In whose folder ``templates`` they are.
    names : sequence of str
        In the order in which they use each other.

    Returns
    -------
    str
        The script, as the browser's parser reads it whatever the line ends of this checkout.
    str
        Its digest for ``script-src 'sha256-…'``: the browser runs this script alone, whatever else
        may have got into the page.
    """
    sources = [files("clusterkit.formats") / "templates" / _SHARED]
    sources += [files(package) / "templates" / name for name in names]
    text = '"use strict";\n' + "".join(
        source.read_text(encoding="utf-8").replace("\r\n", "\n") for source in sources
    )
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
