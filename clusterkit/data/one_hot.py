"""Labels that a table holds as one column a class, with a 1 in the column of the right one."""

from collections.abc import Sequence

from clusterkit.errors import DataError, shown

# As spreadsheets and programs write them, a decimal comma too.
_ONE = {"1", "1.0", "1,0", "1.", "true"}
_ZERO = {"0", "0.0", "0,0", "0.", "false", ""}
_NAMED = 12


def one_hot_labels(
    columns: Sequence[str], cells: Sequence[Sequence[str]], source: str, numbers: Sequence[int]
) -> list[str | None]:
    """Label of each row: the name of the column that holds its 1.

    1, 1.0 and true are a 1; 0, 0.0, false and an empty cell are none. A row whose cells are all
    empty is unlabelled; one with zeros alone is an error, as it says that no class is right.

    Parameters
    ----------
    columns : sequence of str (K)
        The classes.
    cells : sequence (K) of sequence of str (N)
        The cells of each column.
    source : str
        The table, for messages.
    numbers : sequence of int (N)
        Line of each row.

    Raises
    ------
    DataError
        A row holds no 1, several, or anything else.
    """
    labels: list[str | None] = []
    for number, row in zip(numbers, zip(*cells, strict=True), strict=True):
        texts = [cell.strip().lower() for cell in row]
        others = [
            (column, text)
            for column, text in zip(columns, texts, strict=True)
            if text not in _ONE and text not in _ZERO
        ]
        ones = [column for column, text in zip(columns, texts, strict=True) if text in _ONE]
        if others:
            column, text = others[0]
            raise DataError(f"{source}, line {number}: '{shown(text, 20)}' in column '{column}'; "
                            "label columns hold 0 and 1, and one 1 a row")  # fmt: skip
        if len(ones) > 1:
            raise DataError(
                f"{source}, line {number}: {len(ones)} ones: {_listed(ones)}; an image has one "
                "label, clusterkit does not do several: keep one, or empty the row's label cells"
            )
        if not ones and any(texts):
            raise DataError(f"{source}, line {number}: no 1 in the label columns; name the column "
                            "of its class too, or empty these cells: unlabelled")  # fmt: skip
        labels.append(ones[0] if ones else None)
    return labels


def find_one_hot(
    names: Sequence[str], lines: Sequence[Sequence[str]], others: Sequence[str]
) -> list[str]:
    """Columns of a table that look like one class each; none where fewer than two do.

    Parameters
    ----------
    names, lines
        Of `read_table`.
    others : sequence of str
        Columns that are no labels.
    """
    places, used = [], 0
    for place, name in enumerate(names):
        found = {line[place].strip().lower() for line in lines}
        if name and name not in others and found <= _ONE | _ZERO and found != {""}:
            places.append(place)
            used += bool(found & _ONE)
    ones = (sum(line[p].strip().lower() in _ONE for p in places) for line in lines)
    alone = used > 1 and all(count <= 1 for count in ones)
    return [names[place] for place in places] if alone else []


def one_hot_note(columns: Sequence[str]) -> str:
    """Words to add where there is no column of labels, and these look like classes.

    >>> one_hot_note(["MEL", "NV"])
    "; MEL, NV look like one column a class: give --label-columns 'MEL,NV'"
    """
    if not columns:
        return ""
    return (f"; {_listed(columns)} look like one column a class: give --label-columns "
            f"'{','.join(columns)}'")  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
