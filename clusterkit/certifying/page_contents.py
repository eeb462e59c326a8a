"""What the certify page shows: pictures of the sample, practice images and typical ones."""

import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.auditing.card_images import CardImage, ImageFiles
from clusterkit.auditing.originals import Originals
from clusterkit.auditing.pictures import file_stem
from clusterkit.certifying.certify_page import (
    AskedImage,
    CertifyPage,
    PageSet,
    PracticeImage,
)
from clusterkit.certifying.plan import Plan
from clusterkit.data.files import ImageFolder
from clusterkit.data.labelled import named_with_cluster
from clusterkit.formats.assignment_rows import assignment_rows
from clusterkit.formats.atomic import is_abandoned
from clusterkit.formats.run import Run
from clusterkit.progress import Progress, silent

log = logging.getLogger("clusterkit")

THUMBS = "thumbs"
_PRACTICE, _TYPICAL = 3, 4
# Megabytes of pictures: the sample is some hundred images.
_MOST_MB = 1000


class SamplePictures:
    """Pictures of a sample and of labelled images, each drawn once.

    Parameters
    ----------
    run : Run
    inputs : ImageFolder
        Where the images of the batch are.
    out : Path
        Folder of the page.

    Attributes
    ----------
    missing : int
        Images of the sample without a picture.
    """

    def __init__(self, run: Run, inputs: ImageFolder, out: Path) -> None:
        self.run, self.out = run, out
        self.files = ImageFiles(run, inputs, out, THUMBS, Originals("copy", _MOST_MB))
        self.missing = 0
        # Of a command that was killed: half a picture of a patient.
        for left in (out / THUMBS).glob(".*-*.partial"):
            if is_abandoned(left):
                with suppress(OSError):
                    left.unlink()

    def of_rows(self, rows: pd.DataFrame, progress: Progress) -> list[str | None]:
        """Return a path for each row of the assignments, relative to the page; None: none."""
        found = []
        for done, row in enumerate(assignment_rows(rows), 1):
            path = self._there(file_stem(row.image_id))
            if path is None:
                path = _path_of(self.files.open_query(row))
            self.missing += path is None
            found.append(path)
            progress("pictures", done, len(rows))
        return found

    def of_labelled(self, number: int) -> str | None:
        """Return the path of a picture of a labelled image, by its row in the manifest."""
        stem = f"labelled-{file_stem(self.run.manifest['image_id'].iloc[number])}"
        path = self._there(stem)
        if path is None:
            path = _path_of(self.files.open_labelled(number))
        return path

    def _there(self, stem: str) -> str | None:
        for kind in ("full.jpg", "full.png"):
            if (self.out / THUMBS / f"{stem}-{kind}").is_file():
                return f"{THUMBS}/{stem}-{kind}"
        return None


def page_contents(
    run: Run,
    plan: Plan,
    table: pd.DataFrame,
    sample: pd.DataFrame,
    pictures: SamplePictures,
    fingerprint: str,
    next_step: str,
    progress: Progress | None = None,
) -> CertifyPage:
    """Gather the page.

    Parameters
    ----------
    run : Run
    plan : Plan
    table : DataFrame
        The assignments as `assign` wrote them.
    sample : DataFrame
        See `drawn_sample.draw_sample`.
    pictures : SamplePictures
    fingerprint : str
        Of the clusters; see `known_images.clusters_fingerprint`.
    next_step : str
        The command that reads the answers.
    progress : callable or None
    """
    places = pd.Index(table["image_id"].drop_duplicates())
    first = np.flatnonzero(~table["image_id"].duplicated().to_numpy())
    rows = table.iloc[first[places.get_indexer(sample["image_id"])]]
    paths = pictures.of_rows(rows, progress or silent)
    asked = [
        AskedImage(image_id, image, label, int(number), int(unit), path)
        for image_id, image, label, number, unit, path in zip(
            sample["image_id"], sample["image"], rows["predicted_label"], sample["set"],
            sample["unit"], paths, strict=True,
        )
    ]  # fmt: skip
    practice, typical = _labelled(run, plan, pictures)
    notes = []
    if pictures.missing:
        log.warning(
            "%d images of the sample were not found, cannot be read or have changed: they "
            "count as different; put them back and run certify again",
            pictures.missing,
        )
        notes.append(f"{pictures.missing:,} images of the sample have no picture: they count as "
                     "“can't tell”.")  # fmt: skip
    if not practice:
        notes.append("There is nothing to practise on: the labelled images are not there.")
    return CertifyPage(
        title=" / ".join(run.classes), run=run.path.name, created=plan.created, key=plan.key,
        fingerprint=fingerprint, question=plan.question, classes=run.classes,
        max_error=plan.max_error, confidence=plan.confidence, budget=plan.budget, bet=plan.bet,
        unit=plan.by, show_label=plan.show_label,
        sets=[PageSet(s.labels, s.units) for s in plan.sets[: plan.listed_sets]],
        images=asked, practice=practice, typical=typical, next_step=next_step, notes=notes,
        plan=plan_facts(plan), since=plan.created,
    )  # fmt: skip


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Return what was fixed before the first answer, as names and values."""
    units = "patients or other groups" if plan.by == "group" else "images"
    return [
        ("Question", plan.question),
        ("Labels to be certified", f"{plan.images:,}, in {len(plan.sets)} sets, from the "
         f"{plan.sets[0].labels:,} that the model is surest of up to all"),
        ("Asked for", f"at most {100 * plan.max_error:g} of 100 labels wrong, "
         f"{plan.confidence:.0%} sure"),
        ("Drawn at random", f"{plan.units:,} {units}, seed {plan.seed}, by SHA-256"),
        ("Budget", f"at most {plan.budget:,} answers"),
        ("Label", "shown before the answer" if plan.show_label else "hidden on the page"),
        ("Test", f"betting without replacement, {plan.bet:g} of the wealth on each answer"),
        ("Plan", plan.key),
        ("Run and batch", f"{plan.run}, {plan.fingerprint[:16]}"),
        ("Drawn", plan.created),
    ]  # fmt: skip


def _path_of(image: CardImage | None) -> str | None:
    return None if image is None else image.full or image.thumb


def _labelled(
    run: Run, plan: Plan, pictures: SamplePictures
) -> tuple[list[PracticeImage], dict[str, list[str]]]:
    """Return images to practise on, and typical ones of each class; other ones if there are."""
    given = ~named_with_cluster(run.manifest)
    order = np.random.default_rng(plan.seed).permutation(np.flatnonzero(given))
    labels = run.manifest["label"].to_numpy()
    typical: dict[str, list[str]] = {}
    practice: list[PracticeImage] = []
    for name in run.classes:
        of_class = [int(i) for i in order if labels[i] == name]
        found = [p for p in map(pictures.of_labelled, of_class[1 : 1 + _TYPICAL]) if p]
        typical[name] = found
        path = pictures.of_labelled(of_class[0]) if of_class else None
        if path and len(practice) < _PRACTICE:
            practice.append(PracticeImage(path, name, run.manifest["image"].iloc[of_class[0]]))
    return practice, typical
