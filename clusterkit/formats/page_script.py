"""The script of a page that asks people: one text, and the digest by which the browser runs it."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from urllib.parse import quote

from markupsafe import Markup

# What a script element's text must not hold, written as JSON's own escapes.
_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}

# How every such page writes a reviews.csv.
_SHARED = "reviews.js"


def page_script(package: str, names: Sequence[str]) -> tuple[str, str]:
    """Join scripts, and the one that writes a `reviews.csv` before them, to one.

    Parameters
    ----------
    package : str
        In whose folder ``templates`` they are.
    names : sequence of str
        In the order in which they use each other. ``package:name`` is one of another package, which
        several pages share.

    Returns
    -------
    str
        The script, as the browser's parser reads it whatever the line ends of this checkout.
    str
        Its digest for ``script-src 'sha256-…'``: the browser runs this script alone, whatever else
        may have got into the page.
    """
    sources = [files("clusterkit.formats") / "templates" / _SHARED]
    places = [name.rpartition(":") for name in names]
    sources += [files(other or package) / "templates" / name for other, _, name in places]
    text = '"use strict";\n' + "".join(
        source.read_text(encoding="utf-8").replace("\r\n", "\n") for source in sources
    )
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def script_json(values: object) -> Markup:
    """Write JSON that cannot end the script element it stands in.

    >>> script_json({"a": "</script>"})
    Markup('{"a": "\\\\u003c/script\\\\u003e"}')
    """
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return Markup("".join(_ESCAPES.get(letter, letter) for letter in text))


def relative_url(path: str) -> str:
    """Encode a relative path, so that it stays one: no scheme, no host, no query.

    >>> relative_url("//host/a b?.png")
    'host/a%20b%3F.png'
    """
    return quote(path.encode("utf-8", "surrogateescape")).lstrip("/")
