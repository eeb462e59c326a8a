"""`fit` on real cells."""

import pytest

from clusterkit import assign, fit, read_manifest
from clusterkit.config import config_from_dict


@pytest.mark.slow
def test_labels_on_real_cells(real_data, tmp_path):
    """bccd, 20 labels a class: not two points below scikit-learn on the same weights."""
    from benchmarks.protocol import SETS, draw

    source, size = SETS["bccd"]
    labelled, rest = draw(read_manifest(real_data / "bccd" / source), 20, 0)
    labelled[["image", "label", "group"]].to_csv(tmp_path / "l.csv", index=False)
    rest[["image", "group"]].to_csv(tmp_path / "u.csv", index=False)
    weights = real_data / "weights" / "squeezenet1_0_imagenet.pth"
    chosen = config_from_dict({
        "data": {"images": str(real_data / "bccd")}, "image": {"size": size},
        "model": {"backbone": "squeezenet1_0", "weights": str(weights)},
    })  # fmt: skip
    run = fit(tmp_path / "l.csv", config=chosen, run=tmp_path / "run")
    table = assign(run, tmp_path / "u.csv", config=chosen).table.set_index("image")
    truth = rest.set_index("image")["label"].loc[table.index]
    assert (table["predicted_label"] == truth).mean() >= 0.96
