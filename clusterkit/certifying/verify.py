"""`certify --verify`: computes a certificate again from its files, and says whether it stands."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

import clusterkit
from clusterkit.certifying.answers import Answers, match_answers
from clusterkit.certifying.certificate_file import (
    ANSWERS,
    BEFORE,
    CERTIFICATE,
    REVIEWS,
    Certificate,
    answer_rows,
    certificate_of,
    read_answer_rows,
    read_certificate,
    read_reviews_copy,
)
from clusterkit.certifying.certificate_page import PAGE, certificate_html
from clusterkit.certifying.drawn_sample import (
    draw_sample,
    read_sample,
    sample_digest,
    units_of_sets,
)
from clusterkit.certifying.outcome import certified_table, record_of
from clusterkit.certifying.plan import PLAN, Plan, read_plan
from clusterkit.certifying.population import population_of
from clusterkit.certifying.proof import Proof, prove
from clusterkit.data.written_names import folder_of_record
from clusterkit.encoders.checksums import sha256_of
from clusterkit.errors import DataError
from clusterkit.formats.assignments import read_assignments, read_record
from clusterkit.formats.known_images import Assigned


@dataclass(frozen=True)
class Verdict:
    """Whether a certificate stands.

    Attributes
    ----------
    faults : list of str
        What does not agree, each a sentence; empty: it stands.
    statement : str
        What the certificate says.
    """

    faults: list[str]
    statement: str

    @property
    def stands(self) -> bool:
        """True where nothing disagrees."""
        return not self.faults


def verify(folder: Path | str) -> Verdict:
    """Compute a certificate again: the drawing, the answers, the test, the labels, the page.

    Nothing but the files in the folder and the assignments that they name is read, and nothing is
    written.

    Parameters
    ----------
    folder : path
        That of `certificate.json`.

    Raises
    ------
    DataError
        There is no certificate in it, or a file of it cannot be read at all.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give that of certificate.html")
    plan, certificate = read_plan(folder), read_certificate(folder)
    if plan is None or certificate is None:
        missing = PLAN if plan is None else CERTIFICATE
        raise DataError(f"{folder} holds no certificate: no {missing}; give the folder that "
                        "`clusterkit certify --reviews` wrote")  # fmt: skip
    links = [path.name for path in folder.iterdir() if path.is_symlink()]
    if links:
        # A stranger's folder must not make us read what is elsewhere.
        raise DataError(f"{folder} holds links, e.g. {links[0]}; put the files themselves there")
    # It may have become longer since.
    longer, plan = plan, replace(plan, budget=certificate.budget, sample=certificate.sample,
                                 listed_sets=certificate.listed_sets)  # fmt: skip
    try:
        plan.check()
        faults = _faults(folder, plan, certificate, longer)
    except ValueError as error:
        faults = [f"{CERTIFICATE} is damaged: {error}"]
    except DataError as error:
        faults = [str(error)]
    return Verdict(faults, certificate.found.statement)


def _faults(folder: Path, plan: Plan, certificate: Certificate, longer: Plan) -> list[str]:
    before = folder / BEFORE
    if not before.is_file() or sha256_of(before) != plan.file:
        return [f"{before} is not the file that the plan names: the labels as assign wrote them "
                "are gone or changed"]  # fmt: skip
    table = read_assignments(before)
    population = population_of(table, plan.by, plan.seed, plan.version)
    sets = population.nested_sets(plan.max_error)
    sample = draw_sample(population, sets, plan.listed_sets, plan.budget)
    faults = _plan_faults(folder, plan, certificate, population.fingerprint,
                          units_of_sets(population, sets), sample)  # fmt: skip
    if faults:
        return faults
    assigned = Assigned(table, folder, str(before))
    # The file in the folder is the longer one's.
    read_sample(folder, longer.sample)
    ids = sample["image_id"].tolist()
    if not (folder / REVIEWS).is_file():
        return [f"{folder / REVIEWS} is missing: there are no answers"]
    reviews = read_reviews_copy(folder / REVIEWS, assigned)
    answers = match_answers([reviews], ids, plan.created)
    proof = prove(plan, population, sets, answers)
    return _result_faults(folder, proof, answers, certificate, table)


def _plan_faults(
    folder: Path, plan: Plan, certificate: Certificate, fingerprint: str, units: list[int],
    sample: pd.DataFrame,
) -> list[str]:  # fmt: skip
    faults = []
    if certificate.plan != plan.key:
        faults.append(f"{CERTIFICATE} is of the plan {certificate.plan}, and {PLAN} is {plan.key}")
    if fingerprint != plan.fingerprint:
        faults.append("the labels are not those that the sample was drawn from")
    if units != [planned.units for planned in plan.sets]:
        faults.append("the sets in the plan are not those that the confidences give")
    if sample_digest(sample) != plan.sample:
        faults.append("the sample in the plan is not the one that its seed draws")
    return faults


def _result_faults(
    folder: Path, proof: Proof, answers: Answers, certificate: Certificate, table: pd.DataFrame
) -> list[str]:
    faults, found, plan = [], certificate.found, proof.plan
    again = record_of(proof, answers, found.time, found.folder)
    for name, value in again.to_dict().items():
        said = getattr(found, name)
        if said != value:
            faults.append(f"{CERTIFICATE} says {name} {said!r}, and the answers give {value!r}")
    written = certificate_of(proof, answers, again, (certificate.file, certificate.before),
                             certificate.versions)  # fmt: skip
    for name, value in written.to_dict().items():
        if name != "found" and certificate.to_dict()[name] != value:
            faults.append(f"{CERTIFICATE} says {name} {certificate.to_dict()[name]!r}, and the "
                          f"answers give {value!r}")  # fmt: skip
    if read_answer_rows(folder / ANSWERS) != answer_rows(answers.table):
        faults.append(f"{ANSWERS} is not what {REVIEWS} gives: an answer is missing or changed")
    if certificate.versions.get("clusterkit") == clusterkit.__version__:
        page = folder / PAGE
        html = certificate_html(proof, answers, written)
        said = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
        if said != html:
            faults.append(f"{PAGE} is not the page that these files give")
    csv = _assignments(folder, plan)
    return [*faults, *_label_faults(csv, certified_table(table, proof, answers), certificate)]


def _assignments(folder: Path, plan: Plan) -> Path:
    named = folder_of_record(plan.assignments, folder.absolute())
    return named if named.is_file() else folder.absolute().parent / named.name


def _label_faults(csv: Path, expected: pd.DataFrame, certificate: Certificate) -> list[str]:
    """Compare the labels as they are now with those that were certified."""
    if not csv.is_file():
        return [f"{csv} is missing: there are no labels that this could certify"]
    faults = []
    if sha256_of(csv) != certificate.file:
        now = read_assignments(csv)
        ours = expected.reset_index(drop=True)
        same = now["image_id"].tolist() == ours["image_id"].tolist()
        if same:
            columns = ["status", "predicted_label"]
            other = (now[columns] != ours[columns]).any(axis=1)
            example = f", e.g. of {now['image'][other].iloc[0]}" if other.any() else ""
            what = f"{int(other.sum())} labels or statuses were changed{example}"
        else:
            what = "it has other images"
        faults.append(f"{csv} is not the file that was certified: {what}")
    if read_record(csv).certificate != certificate.found:
        faults.append(f"{csv.with_suffix('.json')} says something else of the certificate")
    return faults
