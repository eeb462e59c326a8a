"""`certify`: a certificate for one batch of labels from a short random check."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.commands.options import CommonOptions, common, print_summary, run_option
from clusterkit.errors import ClusterkitError

if TYPE_CHECKING:
    from clusterkit.certifying.certify import Certification
    from clusterkit.formats.run import Run


@click.command()
@run_option
@click.option(
    "--assignments", type=click.Path(path_type=Path), metavar="CSV", help="Default: the run's."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Default: certify/ beside the assignments.",
)
@click.option(
    "--max-error",
    type=float,
    metavar="E",
    help="Share of wrong labels that is certified; default as promised, else 0.05. 0: all "
    "images have to be answered.",
)
@click.option(
    "--confidence", type=float, metavar="C", help="How sure; default that of the run, 0.9."
)
@click.option(
    "--budget",
    type=int,
    metavar="N",
    help="The most answers; default 200. A larger one goes on with the same sample.",
)
@click.option(
    "--by",
    type=click.Choice(["image", "group"]),
    help="Draw images (default), or patients with all their images.",
)
@click.option("--question", metavar="TEXT", help="What is asked of each image.")
@click.option(
    "--open",
    "show_label",
    is_flag=True,
    default=None,
    help="Show the label before the answer: quicker, and biased towards it.",
)
@click.option(
    "--reviews",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Answers, as reviews.csv or Label Studio's JSON: write the certificate and the labels "
    "after it. May be given again.",
)
@click.option("--fresh", is_flag=True, help="Draw anew; what is there is kept as certify-1.")
@click.option(
    "--verify",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Compute the certificate in a folder again, and say whether it stands.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Show the page from this machine; answers go straight to reviews.csv beside the "
    "assignments. Ctrl-C ends it.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="With --serve; default 8642, if free.")
@common
def certify(
    common: CommonOptions,
    run: Path | None,
    assignments: Path | None,
    reviews: tuple[Path, ...],
    folder: Path | None,
    serve: bool,
    port: int | None,
    **wanted: Any,
) -> None:
    """Certify the labels of a batch by 60 to 200 answers about random images.

    Writes certify/index.html, which asks, and certify/sample.csv. The answers, given with
    --reviews, become a certificate: at most so many of the labels are wrong, whatever the model.
    """
    if folder is not None:
        _verify(folder, common.as_json)
        return
    if serve and reviews:
        raise click.UsageError("--serve asks, --reviews reads the answers; give one")
    from clusterkit.certifying.certify import certify as certify_run

    loaded, _ = common.load_run(run)
    done = certify_run(
        loaded,
        assignments=assignments,
        reviews=reviews,
        seed=common.seed,
        progress=common.bar,
        **wanted,
    )
    common.bar.close()
    if serve:
        _serve(loaded, done, port, common.as_json)
        return
    print_summary(_summary(done), common.as_json, _lines(loaded, done, reviews))


def _lines(run: "Run", done: "Certification", reviews: tuple[Path, ...]) -> list[str]:
    from clusterkit.certifying.words import answers_text, certify_step, effort_text

    lines = [f"takes      {effort_text(done.proof)}"] if not reviews else []
    if done.answers is not None:
        lines += [f"answers    {text}" for text in answers_text(done.proof, done.answers)]
    if done.record is None:
        step = shlex.join(certify_step(run.path, done.assignments, done.folder))
        return [*lines, f"open       {done.page}", f"or         {step} --serve",
                f"then       {step} --reviews reviews.csv"]  # fmt: skip
    return [
        *lines,
        f"result     {done.record.statement}",
        f"labels     {done.assignments}",
        f"print      {done.certificate}",
    ]


def _summary(done: "Certification") -> dict[str, Any]:
    from clusterkit.certifying.words import effort_text

    summary: dict[str, Any] = {"page": str(done.page), "sample": str(done.folder / "sample.csv"),
                               "takes": effort_text(done.proof)}  # fmt: skip
    if done.record is not None:
        summary |= {"certificate": str(done.certificate), "found": done.record.to_dict()}
    return summary


def _verify(folder: Path, as_json: bool) -> None:
    from clusterkit.certifying.verify import verify

    verdict = verify(folder)
    summary = {"stands": verdict.stands, "faults": verdict.faults, "statement": verdict.statement}
    lines = [f"says       {verdict.statement}",
             *(f"fault      {fault}" for fault in verdict.faults)]  # fmt: skip
    print_summary(summary, as_json, [*lines, "stands     yes"] if verdict.stands else lines)
    if not verdict.stands:
        count = len(verdict.faults)
        raise ClusterkitError(
            f"the certificate in {folder} does not stand: {verdict.faults[0]}"
            + (f", and {count - 1} more" if count > 1 else "")
        )


def _serve(run: "Run", done: "Certification", port: int | None, as_json: bool) -> None:
    from clusterkit.auditing.review_file import ReviewFile
    from clusterkit.auditing.serve import ReviewServer
    from clusterkit.certifying.words import certify_step, effort_text

    reviews = ReviewFile(done.assignments.parent / "reviews.csv", done.assigned, run.manifest)

    def ready(url: str) -> None:
        summary = _summary(done) | {"url": url, "reviews": str(reviews.path)}
        step = shlex.join([*certify_step(run.path, done.assignments, done.folder), "--reviews",
                           str(reviews.path)])  # fmt: skip
        print_summary(summary, as_json, [
            f"takes      {effort_text(done.proof)}",
            f"open       {url}",
            f"saved to   {reviews.path}",
            f"then       {step}",
            "Ctrl-C ends it; the address works on this machine only",
        ])  # fmt: skip

    ReviewServer(done.folder, reviews, port).run(ready)
