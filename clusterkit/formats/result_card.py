"""What a notebook shows of a result: some lines of facts, and the first rows of its table."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from html import escape

import pandas as pd

# Rows of a table that are shown; the table itself is an attribute of the result.
_ROWS = 5


@dataclass(frozen=True)
class ResultCard:
    """Facts about a result.

    Attributes
    ----------
    title : str
    facts : dict of str to str
        By name, in the order to be shown.
    table : DataFrame or None
        Of which the first rows are shown.
    """

    title: str
    facts: dict[str, str] = field(default_factory=dict)
    table: pd.DataFrame | None = None

    def to_text(self) -> str:
        """Return the facts as lines."""
        width = max((len(name) for name in self.facts), default=0)
        return "\n".join([self.title, *(f"  {n:<{width}}  {v}" for n, v in self.facts.items())])

    def to_html(self) -> str:
        """Return the facts and the first rows as HTML; all text is escaped."""
        facts = "".join(
            f'<tr><th style="text-align: left">{escape(name)}</th>'
            f'<td style="text-align: left">{escape(value)}</td></tr>'
            for name, value in self.facts.items()
        )
        parts = [f"<b>{escape(self.title)}</b>", f"<table>{facts}</table>" if facts else ""]
        if self.table is not None and len(self.table):
            parts.append(self.table.head(_ROWS).to_html(index=False, na_rep="", border=0))
            rest = len(self.table) - _ROWS
            parts.append(f"<small>and {rest:,} rows more</small>" if rest > 0 else "")
        return f"<div>{''.join(parts)}</div>"


class Shown(ABC):
    """A result that is shown by its card, and not by all that it holds."""

    @abstractmethod
    def card(self) -> ResultCard:
        """Return what is shown of it in a notebook or at a prompt."""

    def __repr__(self) -> str:
        return self.card().to_text()

    def _repr_html_(self) -> str:
        return self.card().to_html()
