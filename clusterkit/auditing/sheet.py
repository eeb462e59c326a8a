"""`audit --image`: one picture with everything that is known of one image, to pass on."""

from pathlib import Path

import numpy as np
from PIL import Image

from clusterkit.auditing.batch import read_batch
from clusterkit.auditing.cards import EXPLAINED
from clusterkit.auditing.evidence_pictures import MatchPictures
from clusterkit.auditing.lookup import find_row
from clusterkit.auditing.paper import WIDTH, Paper
from clusterkit.auditing.pictures import check_picture, file_stem, save_png
from clusterkit.auditing.plotting.figures import COLOURS, OTHER, PROMISE
from clusterkit.auditing.sheet_contents import Sheet, gather
from clusterkit.config import Config
from clusterkit.formats.run import Run
from clusterkit.inference.predictor import Predictor
from clusterkit.output import writing

# Inches: margins, and where the foot begins.
_LEFT, _RIGHT, _FOOT = 0.5, WIDTH - 0.5, 10.66
_GREY = "#555555"

# Classes whose probabilities have a bar of their own.
_BARS = 6

_HOW_TO_READ = (
    "Colours: from 0 (nothing there speaks for it) to 1 (the strongest place of that image; two "
    "images cannot be compared by their colours). They show where the model looked, and are no "
    "proof of disease: the model may be right for a wrong reason, and wrong where it looks rightly."
)

_LEFT_OUT = "Left out: heat maps failed their checks, see below."


def write_sheet(
    run: Run | Path | str,
    image: Path | str,
    *,
    assignments: Path | str | None = None,
    out: Path | str | None = None,
    config: Config | None = None,
) -> Path:
    """Write one picture with all the evidence for the label of one image.

    Parameters
    ----------
    run : Run or path
    image : path or str
        A name from the column image, an image_id, or a path to the file; ``#k`` after it is
        frame k. See `find_row`.
    assignments : path or None
        The CSV; None: the run's own.
    out : path or None
        The PNG; None: ``<run>/audit/sheets/<image_id>.png``, with - for #.
    config : Config or None
        None: the run's; `config.audit.method` says how CAMs are made.

    Returns
    -------
    Path of the PNG: A4 upright at 150 dots an inch.

    Raises
    ------
    ClusterkitError
        The run or CSV cannot be used, the image is not in it, or the PNG cannot be written.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    batch = read_batch(run, Path(assignments) if assignments else run.own("assignments.csv"))
    position, source = find_row(batch, str(image))
    row = batch.table.iloc[[position]]
    name = file_stem(row["image_id"].iloc[0]) or f"row-{position + 1}"
    out = Path(out) if out else run.own("audit", "sheets", f"{name}.png")
    check_picture(out, "--out FILE.png", makes_folder=True)
    sheet = gather(Predictor(run, run.config_with(config)), batch, row, source)
    with writing(out, "--out FILE.png"):
        out.parent.mkdir(parents=True, exist_ok=True)
    save_png(draw_sheet(sheet), out, "--out FILE.png")
    return out


def draw_sheet(sheet: Sheet) -> Image.Image:
    """Draw a sheet as an RGB picture, (1754, 1240) pixels."""
    paper, card = Paper(), sheet.pictures.card
    _draw_head(paper, sheet)
    side, top = 2.25, 1.32
    paper.text((_LEFT, top - 0.18), "The image, as the models see it", side, 7.5, color=_GREY)
    paper.picture((_LEFT, top), side, sheet.pictures.thumb, sheet.lack)
    middle = _LEFT + side + 0.12
    named = card.predicted_label and sheet.maps.shown
    what = f"What speaks for {card.predicted_label}" if named else "Heat map"
    paper.text((middle, top - 0.18), what, side, 7.5, color=_GREY)
    lack = sheet.lack or sheet.no_cams or ("" if sheet.maps.shown else _LEFT_OUT)
    lack = lack or "The run has not learned this label: there is no heat map of it."
    paper.picture((middle, top), side, _map(sheet, sheet.pictures.classifier_cam), lack)
    _draw_facts(paper, sheet, (middle + side + 0.18, top - 0.05))
    said = f"{sheet.words.sure} {sheet.words.why}".strip()
    y = paper.text((_LEFT, 3.7), said, _RIGHT - _LEFT, 9.5, lines=3, fontweight="bold")
    if card.status != "failed":
        y += 0.18
        # Among known kinds, how sure the model is of a new one means nothing; a copy has a label.
        if card.status in EXPLAINED:
            y = max(_draw_sure(paper, sheet, y), _draw_probs(paper, sheet, y))
        _draw_matches(paper, sheet, y + 0.25)
    _draw_foot(paper, sheet)
    return paper.rendered()


def _map(sheet: Sheet, picture: Image.Image | None) -> Image.Image | None:
    """Return a heat map, if the checks of heat maps did not fail."""
    return picture if sheet.maps.shown else None


def _draw_head(paper: Paper, sheet: Sheet) -> None:
    card = sheet.pictures.card
    # Names differ at their end, whatever folder they are in.
    name = card.image if len(card.image) <= 160 else "…" + card.image[-159:]
    paper.text((_LEFT, 0.4), name, 5.7, 12, lines=2, fontweight="bold")
    paper.text((_LEFT, 0.86), f"id {card.image_id or 'none'} · {sheet.origin}", 5.7, 7.5,
               lines=2, color=_GREY)  # fmt: skip
    colour = COLOURS.get(card.status, OTHER)
    paper.box((6.35, 0.4), 1.42, 0.42, facecolor="white", edgecolor=colour, linewidth=2)
    paper.box((6.35, 0.4), 0.12, 0.42, facecolor=colour, edgecolor=colour)
    long = len(sheet.words.status) > 12
    place, size = ((6.58, 0.45), 8.5) if long else ((6.58, 0.49), 13)
    paper.text(place, sheet.words.status, 1.15, size, lines=1 + long, fontweight="bold")


def _draw_facts(paper: Paper, sheet: Sheet, place: tuple[float, float]) -> None:
    card, (x, y) = sheet.pictures.card, place
    paper.text((x, y), "Question" if card.status == "review" else "Label", 2.2, 7.5, color=_GREY)
    y = paper.text((x, y + 0.14), sheet.words.title, _RIGHT - x, 14, lines=2,
                   fontweight="bold") + 0.05  # fmt: skip
    facts = [fact for fact in sheet.words.evidence if fact[0] != "image id"]
    if card.cluster is not None:
        facts.append(("cluster", str(card.cluster)))
    for number, (name, value) in enumerate(facts):
        paper.text((x, y), name, 1.25, 7.5, color=_GREY)
        # A second line only where the others keep theirs.
        lines = 2 if y + 0.14 + 0.17 * (len(facts) - number) < 3.66 else 1
        tail = value if len(value) <= 50 else "…" + value[-24:]
        y = paper.text((x + 1.28, y), tail.strip(), _RIGHT - x - 1.28, 7.5, lines) + 0.03


def _draw_sure(paper: Paper, sheet: Sheet, y: float) -> float:
    if sheet.pictures.card.status != "reviewed":
        return _draw_confidence(paper, sheet, y)
    # A person's answer has no probability of the model.
    paper.text((_LEFT, y), "Who says so", 3, 7.5, color=_GREY)
    return paper.text((_LEFT, y + 0.2), "a person, asked about this image in the check of the "
                      "labels", 3.1, 8.5, lines=2)  # fmt: skip


def _draw_confidence(paper: Paper, sheet: Sheet, y: float) -> float:
    card = sheet.pictures.card
    paper.text((_LEFT, y), "How sure the label is", 3, 7.5, color=_GREY)
    axes = paper.axes((_LEFT, y + 0.2), 3.1, 0.26)
    axes.barh([0], [1], color="#eeeeee", height=1)
    if card.confidence is not None:
        axes.barh([0], [card.confidence], color=COLOURS.get(card.status, OTHER), height=1)
    if sheet.threshold is not None:
        # Reaching beyond the bar, so that it shows where both are near 1.
        axes.plot([sheet.threshold] * 2, [-0.85, 0.85], color="black", linewidth=2, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))
    axes.axis("off")
    value = sheet.record.percent(card.confidence) or "cannot be said"
    mark = "no label is set: nothing was promised for it"
    if sheet.threshold is not None:
        mark = "labels are set from the mark on"
    return paper.text((_LEFT, y + 0.58), f"{value}; {mark}", 3.1, 7.5, lines=2)


def _draw_probs(paper: Paper, sheet: Sheet, y: float) -> float:
    x, bar = 4.15, 1.4
    paper.text((x, y), "The classifier alone, by class", 3, 7.5, color=_GREY)
    bars = _bars(sheet)
    if not bars:
        paper.text((x, y + 0.2), "Not known without the image.", 3, 7.5)
    for name, prob in bars:
        y += 0.19
        paper.text((x, y + 0.01), name, 1.3, 7.5)
        paper.box((x + 1.38, y + 0.02), bar, 0.12, facecolor="#eeeeee", edgecolor="none")
        paper.box((x + 1.38, y + 0.02), bar * prob, 0.12, facecolor="#333333", edgecolor="none")
        paper.text((x + 1.38 + bar + 0.06, y + 0.01), sheet.record.percent(prob), 0.8, 7.5)
    return y + 0.2


def _bars(sheet: Sheet) -> list[tuple[str, float]]:
    card = sheet.pictures.card
    if sheet.probs is None:
        prob = card.classifier_probability
        return [] if prob is None else [(card.classifier_label, prob)]
    order = np.argsort(-sheet.probs, kind="stable")
    bars = [(sheet.classes[i], float(sheet.probs[i])) for i in order[:_BARS]]
    rest = order[_BARS:]
    if len(rest):
        bars[-1:] = [(f"{len(rest) + 1} others", float(sheet.probs[order[_BARS - 1 :]].sum()))]
    return bars


def _draw_matches(paper: Paper, sheet: Sheet, y: float) -> None:
    shows_maps = sheet.maps.shown
    paper.text((_LEFT, y), "The labelled images that are most similar to it"
               + (", and the places that make the two alike" if shows_maps else ""),
               _RIGHT - _LEFT, 9.5, fontweight="bold")  # fmt: skip
    y += 0.22
    about = [] if sheet.no_cams else [sheet.maps.words]
    for words in [*about, *([sheet.left_out] if shows_maps and sheet.left_out else [])]:
        y = paper.text((_LEFT, y), words, _RIGHT - _LEFT, 7.5, lines=2) + 0.06
    # As large as three rows of them can be.
    step = min(1.72, (_FOOT - y - 0.25) / 3)
    side = step - 0.1
    if not sheet.pictures.matches:
        paper.text((_LEFT, y + 0.1), "It was compared with none.", _RIGHT - _LEFT, 8.5)
        return
    heads = ["labelled image", "what makes it alike", "the same, in this image"]
    heads = heads if shows_maps else heads[:1]
    for column, head in enumerate(heads):
        paper.text((_LEFT + column * step, y), head, side, 7.5, color=_GREY)
    y += 0.17
    captions = sheet.words.captions
    for found, group, caption in zip(sheet.pictures.matches, sheet.groups, captions, strict=True):
        # Of a match that is there, a CAM is missing only with the image itself.
        gone = "This labelled image is not where fit read it any more."
        lack = sheet.lack if found.thumb is not None else gone
        pictures = (found.thumb, found.cam, found.own_cam)[: len(heads)]
        for column, picture in enumerate(pictures):
            why = lack or (column > 0 and sheet.no_cams) or gone
            paper.picture((_LEFT + column * step, y), side, picture, why)
        place = _LEFT + len(heads) * step + 0.08, y + 0.08
        _draw_match(paper, found, (group, caption), place)
        y += step


def _draw_match(
    paper: Paper, found: MatchPictures, said: tuple[str, str], place: tuple[float, float]
) -> None:
    match, (group, caption), (x, y) = found.match, said, place
    width = _RIGHT - x
    y = paper.text((x, y), match.label, width, 11, lines=2, fontweight="bold")
    y = paper.text((x, y + 0.03), caption, width, 9, lines=2)
    name = match.image if len(match.image) <= 110 else "…" + match.image[-109:]
    y = paper.text((x, y + 0.03), name, width, 7.5, lines=3, color=_GREY)
    if group:
        paper.text((x, y), f"group {group}", width, 7.5, lines=2, color=_GREY)


def _draw_foot(paper: Paper, sheet: Sheet) -> None:
    y = _FOOT
    if sheet.maps.shown:
        axes = paper.axes((_LEFT, y + 0.03), 1.2, 0.11)
        axes.imshow(np.linspace(0, 1, 256)[None], cmap="viridis", aspect="auto")
        axes.axis("off")
        paper.text((_LEFT, y + 0.17), "0", 0.2, 7)
        paper.text((_LEFT + 1.13, y + 0.17), "1", 0.2, 7)
        y = paper.text((_LEFT + 1.4, y), _HOW_TO_READ, _RIGHT - _LEFT - 1.4, 7.5, lines=3) + 0.06
    paper.box((_LEFT, y), _RIGHT - _LEFT, 0.006, facecolor=PROMISE, edgecolor="none")
    paper.text((_LEFT, y + 0.05), sheet.promise, _RIGHT - _LEFT, 7.5, lines=3)
