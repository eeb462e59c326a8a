"""`certificate.html`: one printable page that says what was certified, and by what."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clusterkit.auditing.pictures import file_stem
from clusterkit.certifying.answers import Answers, unnamed
from clusterkit.certifying.certificate_file import Certificate, answer_rows
from clusterkit.certifying.page_contents import plan_facts
from clusterkit.certifying.plan import Plan
from clusterkit.certifying.proof import Proof
from clusterkit.formats.atomic import write_text
from clusterkit.formats.certificate_record import CertificateRecord

PAGE = "certificate.html"

# Pictures of images that were different; more would not leave it one page.
_PICTURES = 12


@dataclass(frozen=True)
class Different:
    """An image whose answer was not its label.

    Attributes
    ----------
    image, predicted, answer : str
    picture : str
        Relative to the page; it may be gone.
    """

    image: str
    predicted: str
    answer: str
    picture: str


def write_certificate_page(
    folder: Path, proof: Proof, answers: Answers, certificate: Certificate
) -> Path:
    """Write ``certificate.html`` into a folder, whole or not at all, and return its path."""
    path = folder / PAGE
    html = certificate_html(proof, answers, certificate)
    write_text(path, html, errors="backslashreplace")
    return path


def certificate_html(proof: Proof, answers: Answers, certificate: Certificate) -> str:
    """Return the page; the same files give the same page."""
    loader = PackageLoader("clusterkit.certifying")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    rows = answer_rows(answers.table)
    differing = [_different(row) for row in rows if row["agrees"] == "no"]
    return environment.get_template("certificate.html").render(
        title=" / ".join(sorted(set(proof.population.table["predicted_label"])))[:120],
        certified=certificate.found.certified,
        statement=certificate.found.statement,
        checked=_checked(proof, certificate),
        agreement=certificate.agreement,
        classes=certificate.classes,
        different=differing[:_PICTURES],
        more=max(0, len(differing) - _PICTURES),
        not_covered=_not_covered(proof.plan, proof, certificate),
        how=_how(proof.plan, rows, certificate),
        answers=rows,
        readers=certificate.found.readers,
        time=certificate.found.time,
        version=certificate.found.version,
        replaces=proof.plan.replaces,
        unnamed=unnamed,
        css=Markup(loader.get_source(environment, "certificate.css")[0]),
    )


def _different(row: dict[str, str]) -> Different:
    stem = f"thumbs/{file_stem(row['image_id'])}-thumb.jpg"
    answer = row["disputed"] or row["label"] or unnamed(row["note"])
    return Different(row["image"], row["predicted_label"], answer, stem)


def _checked(proof: Proof, certificate: Certificate) -> list[tuple[str, str]]:
    """Return what was checked, as names and values."""
    found, plan = certificate.found, proof.plan
    unit = "patients" if plan.by == "group" else "labels"
    digits = 1 if plan.by == "group" else 0
    facts = [
        ("Set", f"{proof.labels:,} of {plan.images:,} labels, those with a confidence of "
         f"{proof.sets.least_confidence[proof.number]:.1%} and more"
         + f", but for {proof.beyond_novel:,} called novel" * bool(proof.beyond_novel)),
        ("Checked", f"{found.checked:,} of its {found.population:,} {unit}, drawn at random; "
         f"{found.answered:,} images were answered in all"),
        ("Different", f"{found.different:,.{digits}f}, of them {found.cannot_tell:,} that could "
         "not be told"),
        ("Before correction", f"at most {_most(found.bound_before, found)} of the set were wrong "
         "as set" + f" ({found.confidence:.0%} sure)" * (found.checked < found.population)),
        ("After correction", f"at most {_most(found.bound_after, found)} are wrong"),
        ("Question", plan.question),
        ("Readers", ", ".join(found.readers) or "none"),
    ]  # fmt: skip
    if certificate.changed:
        facts.append(
            (
                "Changed answers",
                f"{certificate.changed:,} are not the first that was "
                f"given; of the first, {certificate.first_different:,} were different",
            )
        )
    if certificate.repeated:
        facts.append(("Asked once more", f"{certificate.repeated_same} of {certificate.repeated} "
                      "images got the same answer; they do not count twice"))  # fmt: skip
    return facts


def _not_covered(plan: Plan, proof: Proof, certificate: Certificate) -> list[str]:
    """Return sentences on what the certificate does not say."""
    beyond = plan.images - proof.labels
    found = [
        "Whether the readers are right: what is counted is where the labels differ from them.",
        "Images that are added later, or labels that are set anew.",
    ]
    if beyond and certificate.found.certified:
        found.insert(0, f"The other {beyond:,} labels: they are to be reviewed.")
    if plan.left_out:
        found.append(f"{plan.left_out:,} rows of the batch that are copies, unreadable, or there "
                     "twice.")  # fmt: skip
    if plan.show_label:
        found.append("Readers saw each label before they answered, which draws towards it: the "
                     "true number of wrong ones may be larger.")  # fmt: skip
    if certificate.disputed:
        found.append(f"{certificate.disputed:,} images that readers disagree about count as "
                     "different.")  # fmt: skip
    if plan.replaces:
        found.append(f"This is version {plan.version}: another sample was drawn before it "
                     f"(plan {plan.replaces}). Of several tries the best is not worth its "
                     "word.")  # fmt: skip
    return found


def _how(plan: Plan, rows: list[dict[str, str]], certificate: Certificate) -> list[tuple[str, str]]:
    text = "".join("\t".join(row.values()) + "\n" for row in rows)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    facts = [fact for fact in plan_facts(plan) if fact[0] != "Question"]
    return [
        *facts,
        ("Sample", plan.sample[:16]),
        ("Answers", digest[:16]),
        ("Label shown before the answer", f"{certificate.shown} times"
         + f"; not known of {certificate.elsewhere:,} answers from elsewhere"
         * bool(certificate.elsewhere)),
        ("Answers taken back", f"{certificate.undone}"),
        ("Answers that do not count", f"{certificate.waiting} before which one drawn earlier is "
         f"missing, {certificate.older} older than the sample, {certificate.outside} about images "
         "outside it"),
        ("clusterkit", certificate.versions.get("clusterkit", "")),
        ("Check it", "clusterkit certify --verify on the folder of this page"),
    ]  # fmt: skip


def _most(bound: float | None, found: CertificateRecord) -> str:
    """Return a bound in words: a number of labels, or of patients a share in the mean."""
    if bound is None:
        return "?"
    if found.unit == "group":
        return f"{bound / found.population:.1%} of the labels, in the mean over patients,"
    return f"{bound:,.0f} labels"
