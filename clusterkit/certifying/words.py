"""What a check will take and where it stands, in a line for a person."""

from pathlib import Path

from clusterkit.certifying.answers import Answers
from clusterkit.certifying.proof import Proof


def certify_step(run: Path, csv: Path, folder: Path) -> list[str]:
    """Return the command that goes on with a check, without what it does there."""
    step = ["clusterkit", "certify", "--run", str(run)]
    if csv.absolute() != (run / "assignments.csv").absolute():
        step += ["--assignments", str(csv)]
    if folder.absolute() != (csv.parent / "certify").absolute():
        step += ["--out", str(folder)]
    return step


def effort_text(proof: Proof) -> str:
    """Return what a check takes, in one line.

    It names the fewest answers for the first set and the most that the plan allows, with the labels
    that either may certify.
    """
    plan = proof.plan
    first, last = plan.sets[0], plan.sets[plan.listed_sets - 1]
    what = "images" if plan.by == "image" else "patients"
    asked = f"at most {100 * plan.max_error:g}% wrong, {plan.confidence:.0%} sure"
    if not plan.max_error:
        return f"{plan.images:,} answers, one for each label: only that can show that none is wrong"
    fewest = proof.fewest(0)
    if plan.by == "group":
        return (f"all images of {fewest:,} {what} or more, up to {plan.budget:,} answers, for "
                f"{first.labels:,} to {last.labels:,} labels ({asked})")  # fmt: skip
    if fewest > plan.budget:
        return (f"{fewest:,} answers for {first.labels:,} labels, and the budget of "
                f"{plan.budget:,} certifies none ({asked})")  # fmt: skip
    if fewest == plan.budget or first.labels <= fewest:
        return f"{plan.budget:,} answers for {last.labels:,} labels ({asked})"
    return (f"between {fewest:,} and {plan.budget:,} answers for {first.labels:,} to "
            f"{last.labels:,} of {plan.images:,} labels ({asked})")  # fmt: skip


def answers_text(proof: Proof, answers: Answers) -> list[str]:
    """Return lines on the answers: what counts, what does not and why, and what is missing."""
    sampled = int(answers.table["in_sample"].sum())
    lines = [f"{sampled:,} of the sample by {', '.join(answers.readers) or 'nobody'}"]
    if proof.waiting:
        lines.append(f"{proof.waiting:,} do not count yet: an image drawn before them is not "
                     "answered")  # fmt: skip
    if answers.older:
        lines.append(f"{answers.older:,} rows are older than the sample and do not count: their "
                     "images are asked again")  # fmt: skip
    if answers.outside:
        lines.append(f"{answers.outside:,} about images outside the sample are taken as labels, "
                     "and prove nothing")  # fmt: skip
    if answers.clusters:
        lines.append(f"{answers.clusters:,} rows about clusters are for fit, and do not count")
    disputed = int((answers.table["disputed"] != "").sum())
    if disputed:
        lines.append(f"{disputed:,} are disputed between readers and count as different until a "
                     "third answer settles them")  # fmt: skip
    if proof.certified is None:
        needed = proof.needed(0)
        unit = "patients" if proof.plan.by == "group" else "answers"
        if needed is not None:
            lines.append(f"{needed:,} more agreeing {unit} would certify "
                         f"{proof.plan.sets[0].labels:,} labels")  # fmt: skip
    return lines
