"""How the outcomes of similar patients are printed."""

from typing import Any

# Values that none of the nearest has: as many are shown for comparison.
_OTHERS = 5


def outcome_lines(outcomes: Any, level: float) -> list[str]:
    """Turn the table of `summarise_outcomes` into lines for a terminal."""
    lines = []
    for name, rows in outcomes.groupby("outcome", sort=False):
        first = rows.iloc[0]
        few, everyone = first["known"], first["all_known"]
        lines.append(f"{name}: known of {few} of them, and of {everyone} of all compared")
        if not everyone:
            continue
        seen = rows[(rows["n"] > 0) | (rows["kind"] == "mean")]
        others = rows.drop(seen.index)
        shown = list(seen.itertuples()) + list(others.head(_OTHERS).itertuples())
        lines += _aligned([_cells(row, level) for row in shown])
        if len(others) > _OTHERS:
            lines.append(f"  {len(others) - _OTHERS} more values that none of them has")
    return lines


def _cells(row: Any, level: float) -> tuple[str, ...]:
    number = _number if row.kind == "mean" else _percent
    value, among = ("mean", "") if row.kind == "mean" else (row.value, f"{row.n}")
    if not row.known:
        return value, "", "unknown", "", f"all: {number(row.all_estimate)}"
    between = f"({level:.0%} interval {number(row.low)} to {number(row.high)})"
    if not row.interval:
        between = "(no interval: one patient)" if row.known < 2 else "(no interval: all alike)"
    return value, among, number(row.estimate), between, f"all: {number(row.all_estimate)}"


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = [
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        for row in table
    ]
    return [("  " + "  ".join(row)).rstrip() for row in padded]


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _number(value: float) -> str:
    return f"{value:.4g}"
