"""Which rows of a table a promise is about, where they were decided in several calls."""

from dataclasses import replace

from clusterkit.formats.assignment_record import AssignmentRecord


def covered_rows(record: AssignmentRecord) -> str:
    """Return which rows the promise of a record is about, as a sentence; "": all of them.

    After a certificate the promise is the certificate's, which is about all.
    """
    if len(record.batches) < 2 or record.certified:
        return ""
    last = record.batches[-1].images or 0
    others = sum(batch.images or 0 for batch in record.batches[:-1])
    return (
        f"This is about the {_rows(last)} decided last; the other {_rows(others)} have the promise "
        "that was made when they were decided (batches in the JSON beside the table)."
    )


def promise_words(record: AssignmentRecord) -> str | None:
    """Return the promise in words, with the rows that it is about; None: there is no record."""
    return record.promise_text and f"{record.promise_text} {covered_rows(record)}".rstrip()


def record_of_image(record: AssignmentRecord, image: str) -> AssignmentRecord:
    """Return a record whose promise is the one that was made of an image's row."""
    if len(record.batches) < 2 or record.certified:
        return record
    named = [batch for batch in record.batches if image in batch.names]
    batch = (named or record.batches)[0]
    return replace(record, batches=[], promise=batch.promise, promise_text=batch.promise_text)


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
