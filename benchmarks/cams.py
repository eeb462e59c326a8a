"""Does the pair CAM point at what makes the class? On the demo the place of it is known.

For each demo (a folder that `clusterkit demo` wrote, or a seed that is fitted here): the
unlabelled images of known classes, each with the exemplar that `assign` found nearest. Maps of
the symmetric Siamese logit over either image of the pair, at the size that the network saw:

pair CAM, measured from an average picture of other classes; the same from 0; Grad-CAM of pooled
depths; captum's LayerGradCam at the last pooled map and at the finest, as it is and moved and
smoothed as ours is; captum's IntegratedGradients from the blurred picture; the classifier CAM; a
blob in the middle; a random map; the pair CAM of a network that has learned nothing.

Sides: the query; the exemplar; and each exemplar once (few exemplars are the nearest of many
queries, so that pairs alone would measure a handful of pictures).

Columns: pointing game (the peak lies within the detail's radius; and within 15/224 of the side
more), energy inside the detail, and the pointing game's paired difference to the best form of
LayerGradCam and to the blob. Intervals: 95%, by bootstrap over the images of that side.

    python -m benchmarks.cams --demo DIR [DIR …] --seeds 1 2 3 --out cams.csv

With ``--backbone NAME --weights FILE --size N`` the demos that are made here have heads on that
frozen encoder, whatever network the demo has by itself.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clusterkit import assign, fit
from clusterkit.auditing.cam import heat
from clusterkit.auditing.checks.curves import centre_blob, random_heats
from clusterkit.auditing.checks.places import (
    TOLERANCE,
    PairScore,
    energy_inside,
    integrated_gradients,
    layer_grad_cam,
    places_of,
    pointing_game,
)
from clusterkit.auditing.checks.weights import randomised
from clusterkit.auditing.explain import Explainer, reference_images
from clusterkit.config import config_from_dict, lay_over, override
from clusterkit.data.imageio.read import load_image, seen_by_model
from clusterkit.demo import DEMO
from clusterkit.formats.run import Run
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pool
from clusterkit.models.siamese import FactoredSiamese
from clusterkit.sample import UNKNOWN_CLASS, make_sample

PAIR, BLOB = "pair CAM", "centre blob"
SIDES = ("query", "exemplar")
ONCE = "exemplar, each once"
MEASURES = ("pointing", "pointing_margin", "energy")
# At the last map it never wins on pictures of 64 pixels: what to beat is the best of its forms.
GRAD = "captum LayerGradCam, finest map, moved and smoothed"

# Of the queries and of the exemplars, (N, S, S) each.
Maps = tuple[np.ndarray, np.ndarray]


def make_demo(folder: Path, seed: int, changes: dict[str, Any]) -> None:
    """Draw a sample, fit and assign with this seed and changes of the demo's settings."""
    config = lay_over(override(config_from_dict(DEMO), seed=seed), changes)
    make_sample(folder, seed=seed)
    run = fit(folder / "labels.csv", config=config, run=folder / "run")
    assign(run, folder / "unlabeled.csv", config=config)


def measure(folder: Path, quick: bool) -> pd.DataFrame:
    """Return a row a pair, side and map: the image of that side, pointing, margin, energy."""
    run = Run.load(folder / "run")
    predictor, size = Predictor(run, run.config), run.info.size
    truth = pd.read_csv(folder / "truth.csv", keep_default_na=False).drop_duplicates("image")
    table = pd.read_csv(folder / "run" / "assignments.csv", keep_default_na=False)
    kinds = truth.set_index("image")["kind"].loc[table["image"]].to_numpy()
    labels = truth.set_index("image")["label"].loc[table["image"]].to_numpy()
    # Copies of labelled images are compared with themselves.
    table = table[(kinds == "plain") & (labels != UNKNOWN_CLASS) & (table["nearest_image"] != "")]
    resize = run.config.image.resize
    queries = np.stack(
        [seen_by_model(load_image(folder / i), run.config.image) for i in table["image"]]
    )
    others = np.stack(
        [seen_by_model(run.open_image(i), run.config.image) for i in table["nearest_image"]]
    )
    classes = np.array([run.classes.index(c) for c in table["nearest_label"]])
    names = {"query": table["image"].tolist(), "exemplar": table["nearest_image"].tolist()}
    places = {side: places_of(truth, own, size, resize) for side, own in names.items()}
    rows = []
    for name, sides in draw(predictor, queries, others, classes, quick).items():
        for side, maps in zip(SIDES, sides, strict=True):
            rows.append(pd.DataFrame({
                "demo": folder.name, "side": side, "pair": table["image"].to_numpy(),
                "image": names[side], "map": name,
                "pointing": pointing_game(maps, places[side], size).astype(float),
                "pointing_margin":
                    pointing_game(maps, places[side], size, TOLERANCE).astype(float),
                "energy": energy_inside(maps, places[side], size),
            }))  # fmt: skip
    return pd.concat(rows)


def draw(predictor: Predictor, queries, others, classes, quick: bool) -> dict[str, Maps]:
    """Return every map of the queries and of the exemplars, each (N, S, S)."""
    size, n, rng = queries.shape[1], len(queries), np.random.default_rng(0)
    explainer = replace(Explainer.of(predictor), size=size)
    encoded = explainer.encode(queries), explainer.encode(others)
    nothing = replace(explainer, averages=None)
    blob = np.repeat(centre_blob(size)[None], n, axis=0)

    def pairs(which: Explainer, order: str = "both") -> Maps:
        return which.pair_heats(*encoded, classes, size, order)

    first, second = encoded
    found = {
        PAIR: pairs(explainer),
        "pair CAM, measured from 0": pairs(nothing),
        "pair CAM, f(query, exemplar) only": pairs(explainer, "forward"),
        "pair CAM, method gradcam": pairs(replace(explainer, method="gradcam")),
        "classifier CAM": (explainer.class_heats(first, classes, size),
                           explainer.class_heats(second, classes, size)),
        BLOB: (blob, blob),
        "random map": (random_heats(n, size, rng), random_heats(n, size, rng)),
    }  # fmt: skip
    # The logit is symmetric: of the exemplar it is that of the query, with the two exchanged.
    by_captum = [{} if quick else _captum(predictor, explainer, a, pool(b.siamese), size)
                 for a, b in ((queries, second), (others, first))]  # fmt: skip
    found |= {name: (by_captum[0][name], by_captum[1][name]) for name in by_captum[0]}
    *_, (_, copy) = randomised(predictor.networks, 0)
    untrained = replace(
        explainer, networks=copy, siamese=FactoredSiamese.from_head(copy.siamese_head)
    ).measured_from(*reference_images(predictor.run))
    found["pair CAM, random weights"] = untrained.pair_heats(
        untrained.encode(queries), untrained.encode(others), classes, size
    )
    return found


def _captum(
    predictor: Predictor, explainer: Explainer, images, others: torch.Tensor, size: int
) -> dict[str, np.ndarray]:
    """Return captum's maps (N, S, S) of images (N, S, S, 3) by the others' features (N, D)."""
    encoder = predictor.networks.siamese_encoder or predictor.networks.encoder
    score = PairScore(encoder.cpu().eval(), predictor.gallery.siamese)
    found = {}
    for depth, where in ((-1, "last map"), (0, "finest map")):
        plain = layer_grad_cam(score, images, others, depth)
        if plain is None:
            print(f"no layer of this encoder gives its {where}: captum LayerGradCam is left out")
            continue
        found[f"captum LayerGradCam, {where}"] = plain
        moved = heat([torch.from_numpy(plain)], size, [explainer.offsets[depth]])
        found[f"captum LayerGradCam, {where}, moved and smoothed"] = moved
    found["captum IntegratedGradients"] = integrated_gradients(score, images, others, 32)
    return found


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line a side and map: means with intervals, and paired differences."""
    own = {side: rows[rows["side"] == side] for side in SIDES}
    sides = {side: part.set_index(["demo", "image", "pair", "map"]) for side, part in own.items()}
    sides[ONCE] = own["exemplar"].groupby(["demo", "image", "map"])[list(MEASURES)].mean()
    return pd.concat([_summarise(part, side) for side, part in sides.items()])


def _summarise(rows: pd.DataFrame, side: str) -> pd.DataFrame:
    lines, wide = [], {m: rows[m].unstack("map") for m in MEASURES}
    for name in rows.index.unique("map"):
        line = {"side": side, "map": name, "n": len(wide["pointing"])}
        for measure_name, values in wide.items():
            line |= _with_interval(measure_name, values[name])
        for other, short in ((GRAD, "grad"), (BLOB, "blob")):
            if other not in wide["pointing"]:
                continue
            line |= _with_interval(f"pointing_over_{short}",
                                   wide["pointing"][name] - wide["pointing"][other])  # fmt: skip
        lines.append(line)
    return pd.DataFrame(lines)


def _with_interval(name: str, values: pd.Series) -> dict[str, float]:
    """Return the mean and its interval: an image that is in many pairs is drawn with all."""
    images = values.groupby(level=["demo", "image"]).agg(["sum", "count"]).to_numpy()
    rng = np.random.default_rng(0)
    drawn = images[rng.integers(0, len(images), (2000, len(images)))].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, nargs="*", default=[], help="made where it is not")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="demos made for this")
    parser.add_argument("--backbone", help="frozen, in the demos made; default: the demo's own")
    parser.add_argument("--weights", type=Path, help="of the backbone")
    parser.add_argument("--size", type=int, default=96, help="pixels for the backbone")
    parser.add_argument("--quick", action="store_true",
                        help="without captum's maps, which take most of the time")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("cams.csv"))
    options = parser.parse_args()
    changes: dict[str, Any] = {}
    if options.backbone:
        model = {"backbone": options.backbone, "weights": str(options.weights or "auto")}
        changes = {"model": model, "train": {"strategy": "head"}, "image": {"size": options.size}}
    rows = []
    for number, folder in enumerate(options.demo):
        if not (folder / "run" / "assignments.csv").is_file():
            make_demo(folder, number, changes)
        rows.append(measure(folder, options.quick).assign(demo=f"{number}-{folder.name}"))
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / f"seed-{seed}"
            make_demo(folder, seed, changes)
            rows.append(measure(folder, options.quick))
    if not rows:
        parser.error("give --demo or --seeds")
    table = pd.concat(rows)
    table.to_csv(options.out, index=False)
    summary = summarise(table)
    summary.to_json(options.out.with_suffix(".json"), orient="records", indent=1)
    print(table.pivot_table(index="map", columns=["side", "demo"], values="pointing")
          .round(3).to_string())  # fmt: skip
    for side, part in summary.groupby("side", sort=False):
        shown = part[["map"]].copy()
        for name in (*MEASURES, "pointing_over_grad", "pointing_over_blob"):
            if name not in part:
                continue
            figures = part[[name, f"{name}_low", f"{name}_high"]].to_numpy()
            shown[name] = [f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in figures]
        print(f"\n{side}: {part['n'].iloc[0]} {'images' if side == ONCE else 'pairs'}")
        print(shown.to_string(index=False))


if __name__ == "__main__":
    main()
