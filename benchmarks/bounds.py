"""Bounds on the mean error of groups, by bets and by Hoeffding: how often each certifies.

Groups of 10 images with errors that go together; losses are parts of wrong images. For each number
of groups, promised error E, true mean and distribution: the part of the draws that are certified
at 90%. At a mean of E (column `mean / E` 1) that is how often the bound is wrong: at most 0.1.

    python -m benchmarks.bounds --out bounds.csv --draws 2000
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd

from clusterkit.methods.betting import bet, log_factors, relative_entropy, wealth_needed

LEVEL = 0.9
DISTRIBUTIONS = ("all or nothing", "one image", "any part", "alike 0.1", "alike 0.3", "alike 0.6")


def draw_losses(
    rng: np.random.Generator, kind: str, mean: float, shape: tuple[int, int]
) -> np.ndarray:
    """Draw losses of groups of 10 images; "alike r": images of a group correlate by r."""
    if mean == 0:
        return np.zeros(shape)
    chance = rng.uniform(size=shape)
    if kind == "all or nothing":
        return (chance < mean).astype(float)
    if kind == "one image":
        # Where more than one in ten groups would have it, every one has more.
        return np.where(chance < min(1, 10 * mean), max(0.1, mean), 0.0)
    if kind == "any part":
        return np.where(chance < mean / 0.55, rng.integers(1, 11, size=shape) / 10, 0.0)
    alike = 1 / float(kind.split()[1]) - 1
    return rng.binomial(10, rng.beta(mean * alike, (1 - mean) * alike, size=shape)) / 10


def hoeffding_bound(losses: np.ndarray, level: float) -> float:
    """Hoeffding's (1963, theorem 1, in relative entropy): the bound before there were bets."""
    from scipy.optimize import brentq

    mean, excess = float(np.mean(losses)), math.log(1 / (1 - level)) / len(losses)
    if mean >= 1 or relative_entropy(mean, 1 - 1e-12) <= excess:
        return 1.0
    return float(brentq(lambda q: relative_entropy(mean, q) - excess, mean, 1 - 1e-12))


def certified(losses: np.ndarray, max_error: float) -> dict[str, float]:
    """Part of draws (D, n) that each bound certifies."""
    n, means = losses.shape[1], losses.mean(axis=1)
    factors = log_factors(losses, max_error, bet(n, max_error, LEVEL))
    wealth = np.cumsum(factors, axis=1).max(axis=1)
    known = {m: hoeffding_bound(np.full(n, m), LEVEL) <= max_error for m in np.unique(means)}
    return {
        "bets": float(((wealth >= wealth_needed(LEVEL)) & (means <= max_error)).mean()),
        "hoeffding": float(np.mean([known[m] for m in means])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("bounds.csv"))
    options = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    for max_error in (0.02, 0.05, 0.1):
        for n in (60, 80, 100, 150, 200):
            for kind in DISTRIBUTIONS:
                for part in (0, 0.2, 0.4, 0.7, 1):
                    losses = draw_losses(rng, kind, part * max_error, (options.draws, n))
                    rows.append({"E": max_error, "groups": n, "errors": kind, "mean / E": part}
                                | certified(losses, max_error))  # fmt: skip
    table = pd.DataFrame(rows)
    table.to_csv(options.out, index=False)
    table.to_json(options.out.with_suffix(".json"), orient="records", indent=1)
    by_size = table.groupby(["E", "groups", "mean / E"])[["bets", "hoeffding"]].mean()
    print(by_size.unstack().round(2).to_string())
    print("by kind of errors, 60 to 100 groups, mean 0.2 to 0.7 E:")
    some = table[table["groups"].between(60, 100) & table["mean / E"].between(0.2, 0.7)]
    print(some.groupby(["E", "errors"])[["bets", "hoeffding"]].mean().round(2).to_string())
    print(f"most often wrong: {table[table['mean / E'] == 1]['bets'].max():.3f}")


if __name__ == "__main__":
    main()
