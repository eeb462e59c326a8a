"""`assign`: label images, or refuse to."""

from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from clusterkit.commands.data_options import listing_options, listing_settings
from clusterkit.commands.options import (
    CommonOptions,
    PlacePath,
    common,
    config_option,
    engine_options,
    features_option,
    left_out_lines,
    print_summary,
    run_option,
)
from clusterkit.config import override
from clusterkit.errors import ClusterkitError

if TYPE_CHECKING:
    from pandas import DataFrame

    from clusterkit.formats.assignment_record import AssignmentRecord
    from clusterkit.inference.engines import EngineName

# Reasons of failed images that are printed.
_REASONS = 5


@click.command()
@click.argument("unlabeled", type=PlacePath())
@run_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Default: assignments.csv in the run.",
)
@config_option(
    "--max-error",
    key="assign.max_error",
    metavar="E|none",
    help="Largest part of wrong labels, or none: assign everything",
)
@config_option("--confidence", key="assign.confidence", type=float, help="Of that promise")
@click.option("--per-class", is_flag=True, help="Promise it for each class, not for all together.")
@listing_options
@features_option
@click.option("--ask", type=click.IntRange(1), metavar="N", help="Print which N to review first.")
@click.option(
    "--fresh", is_flag=True, help="Compute and decide all images anew, not the new ones alone."
)
@click.option(
    "--overwrite", is_flag=True, help="Replace the assignments of another input, or certified ones."
)
@click.option(
    "--format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="parquet: a Parquet file of the same rows is put beside the CSV.",
)
@engine_options
@click.option("--strict", is_flag=True, help="Exit with 1 if any image failed.")
@common
def assign(
    common: CommonOptions,
    unlabeled: Path | str,
    run: Path | None,
    out: Path | None,
    max_error: str | None,
    confidence: float | None,
    per_class: bool,
    ask: int | None,
    fresh: bool,
    overwrite: bool,
    format: str,
    engine: "EngineName",
    address: str | None,
    strict: bool,
    features: tuple[Path, ...],
    **options: Any,
) -> None:
    """Label images, or refuse to, with evidence: writes assignments.csv.

    UNLABELED is a folder (searched to the bottom), a CSV with a column image, or one image; of a
    run on given features also a file of features, whose images are all meant. A folder or an image
    may be in a store: s3://BUCKET/FOLDER, gs://, az://.
    """
    from clusterkit.data.left_out import LeftOut
    from clusterkit.formats.promise_cover import promise_words
    from clusterkit.inference.assign import assign as assign_images

    error = _error_value(max_error)
    loaded, config = common.load_run(run)
    config = override(config, assign__max_error=error, **listing_settings(options),
                      assign__confidence=confidence,
                      assign__per_class=per_class or None)  # fmt: skip
    result = assign_images(
        loaded, unlabeled, config=config, out=out, fresh=fresh, overwrite=overwrite,
        features=features, format=format, engine=engine, address=address, progress=common.bar,
    )  # fmt: skip
    common.bar.close()
    record = result.record
    status = record.status
    questions = _questions(result.table, ask)
    kept = _not_asked(result.table, loaded.info.without_label) if ask else []
    summary = {"assignments": str(result.path), **_short(result.summary)}
    asked = {"ask": questions, "not_asked": kept} if ask else {}
    print_summary(summary | asked, common.as_json, [
        f"written    {result.path}: {record.images} images, "
        f"{record.images_per_second or 0:.1f} a second",
        "status     " + ", ".join(f"{n} {name}" for name, n in status.items() if n),
        *_grown_lines(record),
        *_failed_lines(record.failures),
        *left_out_lines(LeftOut.of_record(record.left_out)),
        f"promise    {promise_words(record)}",
        *_ladder_lines(record),
        *(f"note       {remark}" for remark in record.remarks),
        *(_ask_lines(questions, kept) if ask else []),
        f"next       {_next_command(loaded.path, result.path)}",
    ])  # fmt: skip
    if strict and status["failed"]:
        raise ClusterkitError(f"{status['failed']} images failed (--strict); see the column reason")


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    """Leave out the names of the rows of each batch: a line may become an entry of a database."""
    batches = [{k: v for k, v in batch.items() if k != "names"}
               for batch in summary.get("batches", [])]  # fmt: skip
    return summary | ({"batches": batches} if batches else {})


def _failed_lines(failures: dict[str, int]) -> list[str]:
    """Return the most frequent reasons, a line each."""
    most = list(failures.items())[:_REASONS]
    lines = [f"failed     {n} x {reason}" for reason, n in most]
    more = sum(failures.values()) - sum(n for _, n in most)
    return lines + [f"failed     {more} x for other reasons: see the column reason"] * bool(more)


def _grown_lines(record: "AssignmentRecord") -> list[str]:
    """Return what became of the rows of before, where there were some."""
    growth = record.growth
    if growth is None:
        return [f"anew       all rows that were there: {record.anew}"] if record.anew else []
    parts = [f"{growth.kept} rows as they were", f"{growth.new} new", f"{growth.changed} changed"]
    parts += [f"{growth.gone} gone"] if growth.gone else []
    return [f"grown      {', '.join(parts)}"]


def _next_command(run: Path, written: Path) -> str:
    """Return the command that shows what was written: assignments in a place of their own too."""
    shown = f"clusterkit audit --run {quote(str(run))}"
    if written == run / "assignments.csv":
        return shown
    return (f"{shown} --assignments {quote(str(written))} "
            f"--out {quote(str(written.parent / 'audit'))}")  # fmt: skip


def _ladder_lines(record: "AssignmentRecord") -> list[str]:
    """Return what could be promised at other errors, a line each; none where no need is."""
    from clusterkit.inference.ladder import ladder_notes, ladder_rows

    rows = [f"at most {error:>4} wrong: {could}{'; ' * bool(more)}{more}"
            for error, could, more in ladder_rows(record)]  # fmt: skip
    return [f"ladder     {text}" for text in [*rows, *ladder_notes(record)]]


def _ask_lines(questions: list[dict], kept: list[dict]) -> list[str]:
    lines = [f"ask {q['order']:<6} {q['image']}  {q['predicted_label']} {q['confidence']:.2f}  "
             f"{q['label_set']}" for q in questions]  # fmt: skip
    if not questions:
        lines = ["ask        nothing: no image was refused" + " that nobody has seen" * bool(kept)]
    if kept:
        how = Counter(row["answer"] for row in kept)
        said = ", ".join(f"{n} {answer}" for answer, n in sorted(how.items()))
        lines.append(f"not asked  {len(kept)} refused images again, which reviewers gave no label: "
                     f"{said}, e.g. {kept[0]['image']}")  # fmt: skip
    return lines


def _questions(table: "DataFrame", count: int | None) -> list[dict]:
    """Return the first so many rows in the order to be asked."""
    first = table[table["order"].notna()].sort_values("order").head(count or 0)
    columns = ["order", "image", "image_id", "predicted_label", "confidence", "label_set"]
    return first[columns].astype({"order": int}).to_dict("records")


def _not_asked(table: "DataFrame", answers: dict[str, str]) -> list[dict]:
    """Return the refused rows that a person has skipped or rejected before."""
    refused = table[table["status"].isin(["review", "novel"])]
    rows = refused[refused["image_id"].isin(answers)][["image", "image_id"]]
    return [row | {"answer": answers[row["image_id"]]} for row in rows.to_dict("records")]


def _error_value(text: str | None) -> float | str | None:
    if text is None or text == "none":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is neither a number nor none", param_hint="--max-error"
        ) from None
