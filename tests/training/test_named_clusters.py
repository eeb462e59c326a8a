"""Names of whole clusters: learned from as what they are, and never a reason to get worse."""

import numpy as np
import pandas as pd
import pytest

from clusterkit import assign, fit, read_assignments
from clusterkit.config import config_from_dict
from clusterkit.formats.run import Run

SETTINGS = config_from_dict({
    "train": {"siamese_epochs": 2, "folds": 3}, "assign": {"max_error": 0.2, "workers": 0},
})  # fmt: skip
CENTRES = {"a": 0, "b": 1, "c": 2, "d": 3}
# In the cluster: most are of the new class d, and some of c.
CLUSTER = ["d"] * 24 + ["c"] * 12


def features_of(labels, seed):
    """Blobs around one axis for each class, (N, 16)."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.35, (len(labels), 16))
    values[np.arange(len(labels)), [CENTRES[label] for label in labels]] += 2.5
    return values.astype(np.float32)


def write(folder, name, labels, seed, shown=True):
    images = [f"{name}{i}.png" for i in range(len(labels))]
    np.savez(folder / f"{name}.npz", image=np.array(images), features=features_of(labels, seed))
    table = pd.DataFrame(
        {"image": images, "group": [f"{name}{i // 2}" for i in range(len(images))]}
    )
    table.assign(label=labels if shown else "").to_csv(folder / f"{name}.csv", index=False)
    return images


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """A run of three classes, and a batch with a cluster of a fourth and some of the third."""
    folder = tmp_path_factory.mktemp("named")
    write(folder, "l", ["a", "b", "c"] * 20, 0)
    write(folder, "u", CLUSTER + ["a", "b"] * 6, 1, shown=False)
    run = fit(folder / "l.csv", config=SETTINGS, features=folder / "l.npz", run=folder / "run")
    assign(run, folder / "u.csv", features=folder / "u.npz")
    # The cluster is given, so that what is tested is what is learned of its name.
    path = run.path / "assignments.csv"
    table = read_assignments(path).sort_values(
        "image", key=lambda names: names.str[1:-4].astype(int)
    )
    table["cluster"] = pd.array([0] * len(CLUSTER) + [pd.NA] * 12, dtype="Int64")
    table["status"] = ["novel"] * len(CLUSTER) + ["assigned"] * 12
    table.to_csv(path, index=False)
    return folder, table.reset_index(drop=True)


def fit_reviewed(batch, name, rows, kind="d"):
    folder, table = batch
    path = folder / "run" / f"{name}.csv"
    own = [(table["image_id"][i], table["image"][i], CLUSTER[i], "relabel") for i in rows]
    lines = [("cluster:0", "", kind, "relabel"), *own]
    pd.DataFrame(lines, columns=["image_id", "image", "label", "decision"]).to_csv(
        path, index=False
    )
    return fit(folder / "l.csv", config=SETTINGS, reviews=[path], run=folder / name,
               features=[folder / "l.npz", folder / "u.npz"])  # fmt: skip


def test_members_that_look_like_another_class_are_not_learned_from(batch, caplog):
    _, table = batch
    run = fit_reviewed(batch, "plain", [])
    learned = set(run.manifest["image"])
    truth = dict(zip(table["image"], CLUSTER, strict=False))
    of = {kind: {image for image, label in truth.items() if label == kind} for kind in "cd"}
    assert of["d"] <= learned
    assert len(of["c"] & learned) <= 2
    doubted = run.info.reviews["doubted"]
    assert {one["image"] for one in doubted} == of["c"] - learned
    assert {(one["label"], one["says"], one["cluster"]) for one in doubted} == {("d", "c", 0)}
    assert "of 36 images that were named with their cluster look like another" in caplog.text
    held = run.info.reviews["held_out"]
    assert held["right_after"] >= held["right_before"]


def test_a_name_is_no_truth_to_measure_by(batch, caplog):
    run = fit_reviewed(batch, "unmeasured", [])
    held = run.manifest.iloc[run.calibration["held_out"]["rows"]]
    assert set(held["provenance"]) == {"given"}
    assert "the errors of 'd' could not be measured" in caplog.text
    table = assign(
        run, batch[0] / "u.csv", features=batch[0] / "u.npz", out=batch[0] / "u1.csv"
    ).table
    assert not ((table["status"] == "assigned") & (table["predicted_label"] == "d")).any()


def test_members_that_were_looked_at_make_it_one(batch):
    run = fit_reviewed(batch, "checked", range(0, 36, 3))
    manifest = run.manifest.set_index("image")
    held = run.manifest.iloc[run.calibration["held_out"]["rows"]]
    assert set(held["provenance"]) == {"given", "reviewed"}
    assert "d" in set(held["label"])
    (named,) = run.info.reviews["clusters"]
    # Every third of 24 and of 12.
    assert (named["looked_at"], named["agreeing"]) == (12, 8)
    unseen = set(manifest.index[manifest["provenance"] == "cluster:0"])
    assert len(unseen) == 16
    # Again in a batch, an image that nobody looked at is as sure as its cluster's name: 9 / 14.
    folder = batch[0]
    table = assign(run, folder / "u.csv", features=folder / "u.npz", out=folder / "u2.csv").table
    copies = table[table["status"] == "duplicate"].set_index("image")
    assert set(copies.index[copies["confidence"] == 1]) == set(copies.index) - unseen
    assert copies.loc[sorted(unseen), "confidence"].unique() == pytest.approx(9 / 14, abs=1e-6)
    named = copies["reason"].str.contains("named with its cluster and looked at by nobody")
    assert set(copies.index[named]) == unseen


def test_a_fall_is_said_with_the_reviews_it_falls_with(batch, caplog):
    """A person calls 20 images of class c that were looked at one by one 'a'."""
    folder, _ = batch
    images = write(folder, "w", ["c"] * 40, 2, shown=False)
    run = Run.load(folder / "run")
    other = folder / "other"
    assigned = assign(
        run, folder / "w.csv", features=folder / "w.npz", out=other / "assignments.csv"
    )
    path = folder / "run" / "wrong.csv"
    rows = assigned.table[["image_id", "image"]].assign(label="a", decision="relabel")
    rows.to_csv(other / "wrong.csv", index=False)
    for name in ("run.json", "manifest.csv", "weights.safetensors", "gallery.safetensors",
                 "calibration.json", "history.csv"):  # fmt: skip
        (other / name).write_bytes((folder / "run" / name).read_bytes())
    found = fit(folder / "l.csv", config=SETTINGS, reviews=[other / "wrong.csv"],
                run=folder / "fallen", features=[folder / "l.npz", folder / "w.npz"])  # fmt: skip
    assert len(images) == 40
    assert not path.exists()
    held = found.info.reviews["held_out"]
    assert held["right_after"] < held["right_before"]
    (fell,) = held["fell_with"]
    assert fell["label"] == "a"
    assert fell["reviews"] == {"reviewed": 40}
    assert "have become worse with these reviews" in caplog.text
    assert "are called 'a' now, which reviews of single images gave 40 images" in caplog.text


def test_an_unknown_class_does_not_move_the_proportions_of_the_known(batch):
    folder, _ = batch
    known, shares = ["a", "b", "c"] * 12, []
    for name, labels in (("known", known), ("mixed", known + ["d"] * 36)):
        write(folder, name, labels, 7, shown=False)
        found = assign(folder / "run", folder / f"{name}.csv", features=folder / f"{name}.npz",
                       out=folder / f"{name}-assigned.csv")  # fmt: skip
        shares.append(found.record.class_shares.estimated)
    novel = (found.table["status"] == "novel").to_numpy()
    assert novel[found.table["image"].str[5:-4].astype(int) >= 36].mean() > 0.8
    for label in "abc":
        assert shares[0][label] == pytest.approx(shares[1][label], abs=0.04)
