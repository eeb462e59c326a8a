"""Is a certificate true, and what does it cost? `clusterkit certify` with the truth as the reader.

For each set, k and draw (`benchmarks.protocol`): learn from k labelled images a class with the
default encoder, predict the rest, and check random ones of it in the order that `certify` asks,
in 20 random orders each. Printed and written (CSV):

* coverage: part of the batch certified after 100 and 200 answers, beside an oracle's;
* false: batches whose certificate was false at *any* moment of the whole order, so also for
  somebody who stops when it looks best. Which labels are wrong is changed at random until the
  error is just above E, with confidences as they are, shuffled, reversed, all equal, and with every
  nested set just above E; by image, and by group where there are groups;
* shifted: the same of batches with a class that nobody labelled, and darker or brighter ones;
* answers: that certify an error-free set, beside the least possible.

With ``--variants`` only: coverage if images are drawn with unequal probabilities or losses are
forecast (`benchmarks.certify_variants`).

    CLUSTERKIT_DATA=… python -m benchmarks.certify --out certify.csv
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.certify_variants import VARIANTS, walk_variant
from benchmarks.peers import oracle_coverage
from benchmarks.protocol import SETS, Features, data_folder, draw_without, score_rest
from clusterkit import read_manifest
from clusterkit.config import Config, override
from clusterkit.data.splits import units_of
from clusterkit.methods.asking import counted_losses, next_to_ask
from clusterkit.methods.certificate import (
    BET,
    answers_needed,
    hypergeometric_bound,
    null_total,
    refuted,
)
from clusterkit.methods.nested_sets import nested_sets

LEVEL = 0.9
ERRORS = (0.02, 0.05, 0.1)
BUDGETS = (100, 200)
_CONFIDENCES = ("as they are", "shuffled", "reversed", "equal", "every set bad")
# Exposure of the other scanner beside that of the labelled images.
_BRIGHTNESS = (0.6, 1.5)


@dataclass(frozen=True)
class Batch:
    """Predictions of one batch and their truth.

    Attributes
    ----------
    confidence : (n,) float
    right : (n,) bool
    groups : (n,) str
    """

    confidence: np.ndarray
    right: np.ndarray
    groups: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Batch":
        return Batch(self.confidence[rows], self.right[rows], self.groups[rows])


def predict(features: Features, left: str | None, k: int, seed: int, views=None) -> Batch:
    """Learn from k images of each class but `left`, and predict the rest, seen as `views`."""
    taken, rest = (p.index.to_numpy() for p in draw_without(features.manifest, left, k, seed))
    learned = features.learn(taken, None, override(Config(), train__self_training=0))
    probs, _, _ = score_rest(learned, (features.views[0] if views is None else views)[rest])
    classes = np.array(sorted(features.manifest["label"].iloc[taken].unique()))
    truth = features.manifest["label"].iloc[rest].to_numpy(str)
    units = units_of(features.manifest.iloc[rest].reset_index(drop=True))
    return Batch(probs.max(axis=1), classes[probs.argmax(axis=1)] == truth, units.astype(str))


def exposed(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes (N, H, W, 3) uint8 images brighter by a factor."""
    return lambda images: (images * factor).clip(0, 255).astype(np.uint8)


def batches(sets: list[str], draws: int, cache: Path | None) -> Iterator[tuple[dict, Batch]]:
    """Yield the predictions of every set, k and draw, then those of the shifted batches."""
    for name in sets:
        wanted: list[tuple[str, str | None, float]] = [("", None, 1.0)]
        manifest = read_manifest(data_folder() / name / SETS[name][0])
        classes = sorted(manifest["label"].dropna().unique())
        if len(classes) > 2:
            wanted += [(f"without {left}", left, 1.0) for left in classes]
        wanted += [(f"brightness {factor}", None, factor) for factor in _BRIGHTNESS]
        features, views = None, {}
        for shift, left, factor in wanted:
            for k in (20, 50):
                for seed in range(draws):
                    file = cache and cache / f"{name}_{shift.replace(' ', '_')}_{k}_{seed}.npz"
                    cell = {"set": name, "shift": shift, "k": k, "seed": seed}
                    if file and file.is_file():
                        with np.load(file) as kept:
                            yield cell, Batch(kept["confidence"], kept["right"], kept["groups"])
                        continue
                    for needed in {1.0, factor} - set(views):
                        seen = Features.of(
                            manifest, SETS[name][1], "tf_efficientnet_lite0", "auto", False,
                            None if needed == 1 else exposed(needed),
                        )  # fmt: skip
                        views[needed] = seen.views[0]
                        features = seen if needed == 1 else features
                    batch = predict(features, left, k, seed, views[factor])
                    if file:
                        np.savez(file, **vars(batch))
                    yield cell, batch


def walk(batch: Batch, error: float, seed: list[int], by_group: bool = False) -> list[float]:
    """Check in a random order as `certify` asks; returns the part certified at each budget."""
    sets = nested_sets(batch.confidence, error)
    units, ranks = drawn_order(batch, seed, by_group)
    member, truth = sets.member[ranks], 1.0 - batch.right[ranks]
    populations = [len(np.unique(units[sets.member <= j])) for j in range(len(sets))]
    of_rank = units[ranks] if by_group else None
    losses, certified, parts = np.full(len(truth), np.nan), np.zeros(len(sets), dtype=bool), []
    for budget in BUDGETS:
        for _ in range(budget - int(np.isfinite(losses).sum())):
            rank = next_to_ask(member, losses, certified)
            if rank is None:
                break
            losses[rank] = truth[rank]
            while not certified.all():
                j = int(certified.argmin())
                total = null_total(populations[j], error, whole=not by_group)
                seen = counted_losses(member, losses, j, of_rank)
                if not refuted(seen, populations[j], total, LEVEL):
                    break
                certified[j] = True
        parts.append(int(sets.sizes[certified].max(initial=0)) / len(batch.right))
    return parts


def drawn_order(batch: Batch, seed: list[int], by_group: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit of each image, and the images in an order of units drawn at random."""
    n = len(batch.right)
    units = np.unique(batch.groups, return_inverse=True)[1] if by_group else np.arange(n)
    place = np.random.default_rng(seed).permutation(units.max() + 1)
    return units, np.argsort(place[units], kind="stable")


def ever_false(
    batch: Batch, wrong: np.ndarray, error: float, by_group: bool, rng: np.random.Generator
) -> np.ndarray:
    """Whether a set of more than the error was certified at any moment of a random order.

    Parameters
    ----------
    batch : Batch
    wrong : (R, n) bool
        Which labels are wrong, for each of R random orders.

    Returns
    -------
    (R,) bool
    """
    sets = nested_sets(batch.confidence, error)
    units, _ = drawn_order(batch, [0], by_group)
    by_unit = np.argsort(units, kind="stable")
    order = rng.random((len(wrong), units.max() + 1)).argsort(axis=1)
    false, alive = np.zeros(len(wrong), dtype=bool), np.arange(len(wrong))
    for j in range(len(sets)):
        inside = by_unit[sets.member[by_unit] <= j]
        present, starts = np.unique(units[inside], return_index=True)
        size = len(present)
        loss = np.add.reduceat(wrong[np.ix_(alive, inside)].astype(float), starts, axis=1)
        loss /= np.diff(starts, append=len(inside))
        place = np.full(units.max() + 1, -1)
        place[present] = np.arange(size)
        drawn = place[order[alive]]
        drawn = np.take_along_axis(loss, drawn[drawn >= 0].reshape(-1, size), axis=1)
        total = null_total(size, error, whole=not by_group)
        certified = (total > size) | (highest_wealth(drawn, total) >= -np.log(1 - LEVEL))
        bad = loss.sum(axis=1) > error * size + 1e-9
        false[alive[certified & bad]] = True
        alive = alive[certified & ~bad]
        if not len(alive):
            break
    return false


def highest_wealth(losses: np.ndarray, total: float) -> np.ndarray:
    """Return the highest logarithm of the wealth (R,) of R whole orders (R, N), at any moment."""
    population = losses.shape[1]
    before = np.cumsum(losses, axis=1) - losses
    mean = (total - before) / (population - np.arange(population))
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log(1 + BET * (mean - losses) / (1 - mean))
    steps[mean <= 0] = -np.inf
    steps[mean >= 1] = 0
    steps[(mean > 1) | ((mean == 1) & (losses < 1))] = np.inf
    highest = np.maximum(np.cumsum(steps, axis=1).max(axis=1), 0)
    # Once everything is checked, all is known.
    highest[total - losses.sum(axis=1) > 1e-9] = np.inf
    return highest


def at_the_border(
    batch: Batch, error: float, kind: str, by_group: bool, rng: np.random.Generator
) -> np.ndarray:
    """Return which labels are wrong (n,), changed at random until the error is just above E."""
    wrong = ~batch.right
    if kind == "shuffled":
        wrong = rng.permutation(wrong)
    elif kind == "every set bad":
        sets, wrong, have = nested_sets(batch.confidence, error), np.zeros(len(wrong), bool), 0
        for j, size in enumerate(sets.sizes):
            more = int(null_total(int(size), error)) - have
            wrong[rng.choice(np.flatnonzero(sets.member == j), more, replace=False)] = True
            have += more
        return wrong
    units, _ = drawn_order(batch, [0], by_group)
    size = np.bincount(units)
    share = 1 / size[units] / len(size)
    over = share[wrong].sum() - error
    change = rng.permutation(np.flatnonzero(wrong if over > 1e-9 else ~wrong))
    changed = np.cumsum(share[change])
    # As many as leave it above, or the first that bring it there.
    if over > 1e-9:
        change = change[: np.searchsorted(changed, over - 1e-9)]
    else:
        change = change[: np.searchsorted(changed, 1e-9 - over, side="right") + 1]
    wrong[change] = over <= 1e-9
    return wrong


def with_confidences(batch: Batch, kind: str) -> Batch:
    """Return the batch with its confidences reversed, or all equal, or as they are."""
    confidence = batch.confidence
    if kind == "reversed":
        confidence = np.sort(confidence)[len(confidence) - 1 - confidence.argsort().argsort()]
    elif kind == "equal":
        confidence = np.full(len(confidence), 0.9)
    return Batch(confidence, batch.right, batch.groups)


def false_certificates(kept: list[tuple[dict, Batch]], repeats: int) -> Iterator[dict]:
    """Yield how often certificates were false: of batches at the border, and of shifted ones."""
    frame = pd.DataFrame([cell for cell, _ in kept])
    for (name, shift), rows in frame.groupby(["set", "shift"]).groups.items():
        pool = [kept[row][1] for row in rows]
        grouped = len(np.unique(pool[0].groups)) < len(pool[0].groups)
        kinds = ("as they are",) if shift else _CONFIDENCES
        cases = [(kind, error, by_group) for by_group in ((False, True) if grouped else (False,))
                 for kind in kinds for error in ERRORS
                 if not (by_group and kind == "every set bad")]  # fmt: skip
        for kind, error, by_group in cases:
            false, each = 0, repeats // len(pool)
            for number, original in enumerate(pool):
                rng = np.random.default_rng([7, number])
                batch = with_confidences(original, kind)
                made = [~batch.right if shift else at_the_border(batch, error, kind, by_group, rng)
                        for _ in range(each)]  # fmt: skip
                false += ever_false(batch, np.array(made), error, by_group, rng).sum()
            yield {"set": name, "shift": shift, "unit": "group" if by_group else "image",
                   "confidences": kind, "E": error, "batches": each * len(pool),
                   "false": false / each / len(pool)}  # fmt: skip


def coverages(kept: list[tuple[dict, Batch]], orders: int) -> Iterator[dict]:
    """Yield what is certified after so many answers, and whether it was true."""
    for cell, batch in kept:
        if cell["shift"]:
            continue
        grouped = len(np.unique(batch.groups)) < len(batch.groups)
        for error in ERRORS:
            oracle = oracle_coverage(batch.confidence, batch.right, error)
            for unit in ("image", "group") if grouped else ("image",):
                for order in range(orders):
                    parts = walk(batch, error, [cell["seed"], order], unit == "group")
                    for budget, part in zip(BUDGETS, parts, strict=True):
                        yield cell | {"E": error, "unit": unit, "order": order, "answers": budget,
                                      "coverage": part, "oracle": oracle}  # fmt: skip


def variants(kept: list[tuple[dict, Batch]], orders: int) -> Iterator[dict]:
    """Yield what other ways to draw and to bet certify, on the same predictions."""
    for cell, batch in kept:
        for error in () if cell["shift"] else ERRORS:
            for name, variant in VARIANTS.items():
                for order in range(orders):
                    seed = [cell["seed"], order]
                    parts, false = walk_variant(
                        batch.confidence, batch.right, error, LEVEL, variant, BUDGETS, seed
                    )
                    columns = {f"after {n}": part for n, part in zip(BUDGETS, parts, strict=True)}
                    yield cell | {"E": error, "variant": name, "false": false} | columns


def report_false(kept: list[tuple[dict, Batch]], repeats: int, out: Path) -> None:
    """Write and print how often certificates were false, beside the most there may be."""
    limit = 1 - LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / repeats)
    false = pd.DataFrame(false_certificates(kept, repeats)).assign(limit=limit)
    false.to_csv(out, index=False)
    print(false.pivot_table("false", ["set", "shift", "unit", "confidences"], "E", sort=False)
          .round(3).to_string())  # fmt: skip
    above = int((false["false"] > limit).sum())
    print(f"above {limit:.3f} (1 - C and two standard errors): {above} of {len(false)}, "
          f"of all {false['false'].mean():.3f}")  # fmt: skip


def least_answers(population: int, error: float) -> int:
    """Return the fewest checked labels, fixed before, that could certify an error-free set."""
    most = int(null_total(population, error)) - 1
    return next(n for n in range(population + 1)
                if hypergeometric_bound(0, n, population, LEVEL) <= most)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--out", type=Path, default=Path("certify.csv"))
    parser.add_argument("--cache", type=Path, help="folder where predictions are kept")
    parser.add_argument("--quick", action="store_true", help="fewer draws, orders and batches")
    parser.add_argument("--variants", action="store_true", help="only: other ways to draw")
    options = parser.parse_args()
    if options.cache:
        options.cache.mkdir(parents=True, exist_ok=True)
    draws, orders, repeats = (2, 5, 400) if options.quick else (5, 20, 2000)
    began = time.monotonic()
    kept = list(batches(options.sets, draws, options.cache))
    print(f"{len(kept)} batches predicted in {time.monotonic() - began:.0f} s")
    if options.variants:
        table = pd.DataFrame(variants(kept, orders))
        table.to_csv(options.out, index=False)
        columns = [*(f"after {n}" for n in BUDGETS), "false"]
        print(table.groupby(["set", "k", "E", "variant"], sort=False)[columns].mean().round(3)
              .to_string())  # fmt: skip
        return
    report_false(kept, repeats, options.out.with_suffix(".false.csv"))
    coverage = pd.DataFrame(coverages(kept, orders))
    coverage.to_csv(options.out, index=False)
    summary = coverage.groupby(["set", "k", "unit", "E", "answers"])[["coverage", "oracle"]].mean()
    print(summary.assign(ratio=summary["coverage"] / summary["oracle"]).round(2).to_string())
    for population in (500, 2000, 1_000_000):
        for error in ERRORS:
            ours = answers_needed([], population, null_total(population, error), LEVEL)
            least = least_answers(population, error)
            print(f"error-free, {population} labels, {error}: {ours} answers, ÷ {least}: "
                  f"{(ours or 0) / least:.2f}")  # fmt: skip
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
