"""The certify page: one image and one question at a time, and what the answers prove so far."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clusterkit.formats.atomic import write_text
from clusterkit.formats.page_script import page_script, relative_url, script_json

# In the order in which they use each other; what the audit page uses too is in its package.
_COMMON = ("elements", "reviews_in", "sending", "kappa", "combobox", "zoom")
_OWN = ("certificate", "log", "saved", "words", "readers", "ask", "draw", "panels", "keys", "main")


@dataclass(frozen=True)
class AskedImage:
    """One image of the sample.

    Attributes
    ----------
    image_id, image : str
    predicted_label : str
        As `assign` set it; the page compares the answer with it.
    set : int
        The first of the nested sets that it belongs to.
    unit : int
        Rank of its unit in the drawn order; images of one patient share it.
    picture : str or None
        Path relative to the page, whose name gives nothing away; None: there is none, so that the
        image counts as "can't tell".
    """

    image_id: str
    image: str
    predicted_label: str
    set: int
    unit: int
    picture: str | None


@dataclass(frozen=True)
class PracticeImage:
    """A labelled image of the run, to try the keys on: `picture` is a path relative to the page."""

    picture: str
    label: str
    image: str


@dataclass(frozen=True)
class PageSet:
    """One of the nested sets, as it is in the whole batch.

    Attributes
    ----------
    labels, units : int
        Its images, and its units: the same, or patients.
    listed : int or None
        So many of its units, the first in the drawn order, are in the sample without a gap. A
        test reads none beyond them. None: those of its first `budget` images.
    """

    labels: int
    units: int
    listed: int | None = None


@dataclass(frozen=True)
class CertifyPage:
    """All that the page shows and asks.

    Attributes
    ----------
    title, run, created : str
    key : str
        Names the locked plan; answers are kept in the browser under it.
    fingerprint : str
        What rows of reviews.csv carry in the column `assignments`.
    question : str
        About the image.
    classes : list of str
    max_error, confidence : float in (0, 1)
        What is to be certified.
    budget : int
        Most images that are asked.
    bet : float in (0, 1]
        Part of the wealth that is laid on the next unit; see `methods.certificate`.
    unit : {"image", "group"}
    show_label : bool
        The label is in sight, and the answer is yes or no.
    sets : list of PageSet
        Ascending.
    images : list of AskedImage
        The sample, in the drawn order.
    practice : list of PracticeImage
        They do not count.
    typical : dict of str to list of str
        Pictures of labelled images by class.
    next_step : str
        The command that reads the answers.
    notes : list of str
    plan : list of (name, value)
        What was locked before the first answer.
    since : str
        ISO 8601: rows of before are not about this check. "": all count.
    """

    title: str
    run: str
    created: str
    key: str
    fingerprint: str
    question: str
    classes: list[str]
    max_error: float
    confidence: float
    budget: int
    bet: float
    unit: str
    show_label: bool
    sets: list[PageSet]
    images: list[AskedImage]
    practice: list[PracticeImage] = field(default_factory=list)
    typical: dict[str, list[str]] = field(default_factory=dict)
    next_step: str = ""
    notes: list[str] = field(default_factory=list)
    plan: list[tuple[str, str]] = field(default_factory=list)
    since: str = ""


def render_certify_page(out: Path, page: CertifyPage) -> Path:
    """Write ``index.html`` into `out`, whole or not at all, and return its path.

    It opens from disk, needs no network, and runs one script, which its policy names by digest.
    """
    environment = Environment(
        loader=PackageLoader("clusterkit.certifying"), autoescape=True, undefined=StrictUndefined
    )
    common = PackageLoader("clusterkit.auditing").get_source(environment, "common.css")[0]
    own = PackageLoader("clusterkit.certifying").get_source(environment, "certify.css")[0]
    names = [f"clusterkit.auditing:js/common/{name}.js" for name in _COMMON]
    script, digest = page_script(
        "clusterkit.certifying", names + [f"js/{name}.js" for name in _OWN]
    )
    html = environment.get_template("index.html").render(
        page=page,
        asked=f"{100 * page.max_error:.4g} of every 100",
        data=script_json(_data(page)),
        css=Markup(common + own),
        js=Markup(script),
        digest=digest,
    )
    path = out / "index.html"
    # Names that are no valid Unicode (as some file systems allow) must not stop the page.
    write_text(path, html, errors="backslashreplace")
    return path


def _data(page: CertifyPage) -> dict[str, object]:
    told = ("key", "fingerprint", "classes", "max_error", "confidence", "budget", "bet", "unit",
            "show_label", "since")  # fmt: skip
    sets = [
        {"labels": s.labels, "units": s.units,
         "listed": _listed(page, number) if s.listed is None else s.listed}
        for number, s in enumerate(page.sets)
    ]  # fmt: skip
    images = [
        asdict(image) | {"picture": relative_url(image.picture) if image.picture else None}
        for image in page.images
    ]
    practice = [asdict(one) | {"picture": relative_url(one.picture)} for one in page.practice]
    typical = [[label, [relative_url(p) for p in paths]] for label, paths in page.typical.items()]
    return {name: getattr(page, name) for name in told} | {
        "sets": sets,
        "images": images,
        "practice": practice,
        # Pairs: an object with names such as "10" and "2" has an order of its own.
        "typical": typical,
    }


def _listed(page: CertifyPage, number: int) -> int:
    """Count the units of a set's first `budget` images: so many were drawn for it, whole."""
    units = [image.unit for image in page.images if image.set <= number]
    return len(set(units[: page.budget]))
