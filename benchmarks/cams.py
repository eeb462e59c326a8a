"""Does the pair CAM point at what makes the class? On the demo the place of it is known.

For each demo (a folder that `clusterkit demo` wrote, or a seed that is fitted here): the
unlabelled images of known classes, each with the exemplar that `assign` found nearest. Maps of
the symmetric Siamese logit with that exemplar fixed, at the size that the network saw:

pair CAM, measured from an average picture of other classes; the same from 0; Grad-CAM of pooled
depths; captum's LayerGradCam at the last pooled map and at the finest, as it is and moved and
smoothed as ours is; captum's IntegratedGradients from the blurred picture; the classifier CAM; a
blob in the middle; a random map; the pair CAM of a network that has learned nothing.

Columns: pointing game (the peak lies within the detail's radius; and within 15/224 of the side
more), energy inside the detail, and the pointing game's paired difference to the best form of
LayerGradCam and to the blob. Intervals: 95%, by bootstrap over images of all demos.

    python -m benchmarks.cams --demo DIR [DIR …] --seeds 1 2 3 --out cams.csv
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clusterkit import assign, fit
from clusterkit.auditing.cam import heat
from clusterkit.auditing.checks.curves import centre_blob, interval, random_heats
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
from clusterkit.auditing.explain import Encoded, Explainer, reference_images
from clusterkit.config import config_from_dict, override
from clusterkit.data.imageio.read import load_image, seen_by_model
from clusterkit.demo import DEMO
from clusterkit.formats.run import Run
from clusterkit.inference.predictor import Predictor
from clusterkit.models.heads import pool
from clusterkit.models.siamese import FactoredSiamese
from clusterkit.sample import UNKNOWN_CLASS, make_sample

PAIR, BLOB = "pair CAM", "centre blob"
# At the last map it never wins on pictures of 64 pixels: what to beat is the best of its forms.
GRAD = "captum LayerGradCam, finest map, moved and smoothed"


def make_demo(folder: Path, seed: int) -> None:
    """Draw a sample, fit and assign with this seed."""
    config = override(config_from_dict(DEMO), seed=seed)
    make_sample(folder, seed=seed)
    run = fit(folder / "labels.csv", config=config, run=folder / "run")
    assign(run, folder / "unlabeled.csv", config=config)


def measure(folder: Path) -> pd.DataFrame:
    """Return one row an image and map: pointing, pointing with margin, energy."""
    run = Run.load(folder / "run")
    predictor, size = Predictor(run, run.config), run.info["size"]
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
    places = places_of(truth, table["image"].tolist(), size, resize)
    rows = []
    for name, maps in draw(predictor, queries, others, classes).items():
        rows.append(pd.DataFrame({
            "demo": folder.name, "image": table["image"].to_numpy(), "map": name,
            "pointing": pointing_game(maps, places, size).astype(float),
            "pointing_margin": pointing_game(maps, places, size, TOLERANCE).astype(float),
            "energy": energy_inside(maps, places, size),
        }))  # fmt: skip
    return pd.concat(rows)


def draw(predictor: Predictor, queries, others, classes) -> dict[str, np.ndarray]:
    """Return every map (N, S, S) of the queries."""
    size, n, rng = queries.shape[1], len(queries), np.random.default_rng(0)
    explainer = replace(Explainer.of(predictor), size=size)
    first, second = explainer.encode(queries), explainer.encode(others)
    nothing = replace(explainer, averages=None)

    def pairs(which: Explainer, a: Encoded, b: Encoded) -> np.ndarray:
        return which.pair_heats(a, b, classes, size)[0]

    found = {
        PAIR: pairs(explainer, first, second),
        "pair CAM, measured from 0": pairs(nothing, first, second),
        "pair CAM, f(query, exemplar) only": explainer.pair_heats(
            first, second, classes, size, "forward")[0],
        "pair CAM, method gradcam": pairs(replace(nothing, method="gradcam"), first, second),
        "classifier CAM": explainer.class_heats(first, classes, size),
        BLOB: np.repeat(centre_blob(size)[None], n, axis=0),
        "random map": random_heats(n, size, rng),
    }  # fmt: skip
    encoder = predictor.networks.siamese_encoder or predictor.networks.encoder
    score = PairScore(encoder.cpu().eval(), predictor.gallery.siamese)
    exemplars, offsets = pool(second.siamese), explainer.offsets
    for depth, where in ((-1, "last map"), (0, "finest map")):
        plain = layer_grad_cam(score, queries, exemplars, depth)
        found[f"captum LayerGradCam, {where}"] = plain
        moved = heat([torch.from_numpy(plain)], size, [offsets[depth]])
        found[f"captum LayerGradCam, {where}, moved and smoothed"] = moved
    found["captum IntegratedGradients"] = integrated_gradients(score, queries, exemplars, 32)
    *_, (_, copy) = randomised(predictor.networks, 0)
    untrained = replace(
        explainer, networks=copy, siamese=FactoredSiamese.from_head(copy.siamese_head)
    ).measured_from(*reference_images(predictor.run))
    found["pair CAM, random weights"] = pairs(
        untrained, untrained.encode(queries), untrained.encode(others)
    )
    return found


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line a map: means with intervals, and paired differences of the pointing game."""
    lines, measures = [], ("pointing", "pointing_margin", "energy")
    wide = {m: rows.pivot(index=["demo", "image"], columns="map", values=m) for m in measures}
    for name in rows["map"].unique():
        line = {"map": name, "images": len(wide["pointing"])}
        for measure_name, values in wide.items():
            line |= _with_interval(measure_name, values[name])
        for other, short in ((GRAD, "grad"), (BLOB, "blob")):
            line |= _with_interval(f"pointing_over_{short}",
                                   wide["pointing"][name] - wide["pointing"][other])  # fmt: skip
        lines.append(line)
    return pd.DataFrame(lines)


def _with_interval(name: str, values: pd.Series) -> dict[str, float]:
    return dict(
        zip((name, f"{name}_low", f"{name}_high"), interval(values.to_numpy()), strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, nargs="*", default=[], help="made where it is not")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="demos made for this")
    parser.add_argument("--out", type=Path, default=Path("cams.csv"))
    options = parser.parse_args()
    rows = []
    for number, folder in enumerate(options.demo):
        if not (folder / "run" / "assignments.csv").is_file():
            make_demo(folder, number)
        rows.append(measure(folder).assign(demo=f"{number}-{folder.name}"))
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / f"seed-{seed}"
            make_demo(folder, seed)
            rows.append(measure(folder))
    if not rows:
        parser.error("give --demo or --seeds")
    table = pd.concat(rows)
    table.to_csv(options.out, index=False)
    summary = summarise(table)
    summary.to_json(options.out.with_suffix(".json"), orient="records", indent=1)
    print(table.pivot_table(index="map", columns="demo", values="pointing").round(3).to_string())
    shown = summary[["map"]].copy()
    for name in ("pointing", "pointing_margin", "energy", "pointing_over_grad",
                 "pointing_over_blob"):  # fmt: skip
        parts = summary[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        shown[name] = [f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in parts]
    print(f"{summary['images'].iloc[0]} images")
    print(shown.to_string(index=False))


if __name__ == "__main__":
    main()
