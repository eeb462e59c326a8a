"""SVG files of plots: their colours follow the reader's theme, their letters stay letters."""

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from clusterkit.formats.atomic import replacing

# Colours of a plot that change with the theme, by what they are in the light one.
INK, SOFT, LINE, GROUND = "#1a1d21", "#545b64", "#c3c8ce", "#ffffff"
FAILED = "#555555"
_DARK = {INK: "#e8eaed", SOFT: "#a6adb6", LINE: "#4d555e", GROUND: "#1e2226",
         FAILED: "#767676"}  # fmt: skip
_NAMES = {colour: f"--c{number}" for number, colour in enumerate(_DARK)}

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_COLOUR = re.compile("#[0-9a-f]{6}")
_FONT = re.compile(r"font-family:[^;]*;? ?")

# Dots an inch of what is drawn as pixels within a plot: a cloud of 5,000 points is 0.5 MB so, and
# as shapes 2.6 MB. Pixels cannot follow the theme: their colours must do on either ground.
_DPI = 160


def write_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, the same bytes for the same figure.

    Text stays text: the reader's fonts have scripts that those of this machine may not have, and
    browsers join and turn letters where a script wants it. It is written by an XML writer, so a
    name is never markup. What changes with the theme is a variable of the picture's own style,
    which an <img> obeys too; a program that knows none takes the light colours.

    Parameters
    ----------
    figure : Figure
    path : Path
    """
    drawn = io.StringIO()
    # Names of parts are hashes with this salt, else with a random one.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clusterkit"}):
        figure.savefig(drawn, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(drawn.getvalue())
    for part in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(part)
    for part in root.iter():
        if style := part.get("style"):
            part.set("style", _COLOUR.sub(_variable, _FONT.sub("", style)))
    theme = ET.Element(f"{{{_SVG}}}style")
    theme.text = _theme()
    root.insert(0, theme)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    with replacing(path, "wb", sync=False) as file:
        file.write(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _variable(found: re.Match[str]) -> str:
    name = _NAMES.get(found[0])
    return f"var({name}, {found[0]})" if name else found[0]


def _theme() -> str:
    light, dark = (
        " ".join(f"{name}: {(colour, _DARK[colour])[is_dark]};" for colour, name in _NAMES.items())
        for is_dark in (False, True)
    )
    return (f"svg {{ font-family: system-ui, sans-serif; {light} }} "
            f"@media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}")  # fmt: skip
