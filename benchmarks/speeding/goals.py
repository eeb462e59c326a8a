"""Figures beside what they must reach."""

from collections.abc import Sequence
from typing import Any

# Part of a figure's name, >= or <=, what it must reach, and what it should.
Goal = tuple[str, str, Any, Any]


def print_goals(goals: Sequence[Goal], figures: dict[str, Any]) -> None:
    """Print each figure that has a goal; some are measured on several sets, named first."""
    print(f"\n{'figure':66} {'measured':>10} {'must':>9} {'aim':>7}")
    for goal, sign, must, aim in goals:
        for name in [n for n in figures if goal in n]:
            good = figures[name] >= must if sign == ">=" else figures[name] <= must
            missed = "" if good else "  missed"
            print(f"{name:66} {figures[name]:10.4g} {sign + str(must):>9} {aim:>7}{missed}")
