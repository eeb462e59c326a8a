"""inspect --ask: a manifest that fit takes, one clear line for what cannot be asked."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from clusterkit import inspect, read_manifest
from clusterkit.cli import cli
from clusterkit.config import DataConfig
from clusterkit.errors import DataError
from clusterkit.inspection.to_label import TO_LABEL_COLUMNS
from tests.pictures import clouds

QUICK = {"backbone": "squeezenet1_0", "weights": "none", "size": 64}


@pytest.fixture
def data(tmp_path):
    """Twelve pictures of six patients without labels, with a copy, a hostile name and a ruin."""
    root, rng = tmp_path / "data", np.random.default_rng(2)
    root.mkdir()
    names = [f"i{number}.png" for number in range(11)] + ["=1+1.png"]
    for name in names:
        clouds(rng).save(root / name)
    (root / "copy.png").write_bytes((root / "i0.png").read_bytes())
    (root / "ruin.png").write_bytes((root / "i0.png").read_bytes()[:300])
    rows = [{"image": name, "group": f"p{i // 2}"} for i, name in enumerate(names)]
    rows += [{"image": "copy.png", "group": "p0"}, {"image": "ruin.png", "group": "p9"}]
    pd.DataFrame(rows).to_csv(root / "in.csv", index=False)
    return root


def ask(data, count, **settings):
    return inspect(data / "in.csv", ask=count, **(QUICK | settings))


def test_it_names_different_pictures_and_none_that_cannot_be_read(data):
    found = ask(data, 14).to_label
    assert list(found) == TO_LABEL_COLUMNS
    assert found["order"].tolist() == list(range(1, 13))
    assert "ruin.png" not in set(found["image"])
    assert found["image_id"].is_unique
    assert (found["label"] == "").all()


def test_same_seed_same_images(data):
    one, other = ask(data, 5).to_label, ask(data, 5).to_label
    pd.testing.assert_frame_equal(one, other)


def test_filled_in_it_is_a_manifest_and_is_not_replaced(data, tmp_path):
    out = tmp_path / "out"
    result = ask(data, 12, out=out)
    path = out / "to_label.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    ask(data, 12, out=out)
    table["label"] = ["a", "b"] * 6
    table.to_csv(path, index=False)
    root = result.summary["to_label"]["root"]
    manifest = read_manifest(path, DataConfig(images=root))
    assert sorted(manifest["image"]) == sorted(result.to_label["image"])
    assert set(manifest["image_id"]) == set(result.to_label["image_id"])
    assert set(manifest["group"]) == set(result.to_label["group"])
    with pytest.raises(DataError, match="has labels and is not replaced"):
        ask(data, 12, out=out)
    assert (pd.read_csv(path, dtype=str)["label"] != "").all()


def test_images_of_unlabeled_are_below_the_root_that_is_named(data, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    clouds(np.random.default_rng(9)).save(more / "x.png")
    result = ask(data, 13, unlabeled=str(more), out=tmp_path / "out")
    assert "more/x.png" in set(result.to_label["image"])
    root = result.summary["to_label"]["root"]
    assert len(read_manifest(tmp_path / "out" / "to_label.csv", DataConfig(images=root))) == 13


@pytest.mark.parametrize(("count", "said"), [
    (0, "1 or more"), (-3, "1 or more"), (True, "1 or more"), (99, "only 14 images"),
])  # fmt: skip
def test_a_number_that_cannot_be_asked_is_one_line(data, tmp_path, count, said):
    with pytest.raises(DataError, match=said) as error:
        ask(data, count, out=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def with_labels(data, labels):
    table = pd.read_csv(data / "in.csv").assign(label=labels)
    table.to_csv(data / "in.csv", index=False)


def test_all_labelled(data):
    with_labels(data, "a")
    with pytest.raises(DataError, match="all 14 images have a label"):
        ask(data, 1)


def test_labelled_images_and_their_copies_are_not_asked_about(data):
    with_labels(data, ["a"] + [""] * 13)
    found = set(ask(data, 13).to_label["image"])
    assert not found & {"i0.png", "copy.png", "ruin.png"}
    assert len(found) == 11


def test_copies_of_one_picture_and_one_image(tmp_path):
    clouds(np.random.default_rng(1)).save(tmp_path / "a.png")
    assert len(inspect(tmp_path, ask=1, **QUICK).to_label) == 1
    for name in "bcd":
        (tmp_path / f"{name}.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert len(inspect(tmp_path, ask=4, **QUICK).to_label) == 1


def test_nothing_can_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nruin")
    with pytest.raises(DataError, match="none of the images can be read"):
        inspect(tmp_path, ask=1, **QUICK)


def test_the_command_prints_all_of_them(data):
    options = ["--backbone", "squeezenet1_0", "--weights", "none", "--size", "64"]
    called = CliRunner().invoke(cli, ["inspect", str(data / "in.csv"), "--ask", "9", *options])
    assert "label      9 images first" in called.output
    assert sum(".png" in line for line in called.output.splitlines() if line[:2] == "  ") == 9


def test_without_it_torch_is_not_loaded(data):
    code = ("import sys; from clusterkit import inspect; inspect(sys.argv[1]); "
            "assert 'torch' not in sys.modules")  # fmt: skip
    subprocess.run([sys.executable, "-c", code, str(data / "in.csv")], check=True)
