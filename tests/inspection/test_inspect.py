"""inspect finds what was planted, says nothing of a clean set, and writes only what is its own."""

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from clusterkit import fit, inspect
from clusterkit.config import Config, config_from_dict, override
from clusterkit.errors import DataError, RunError
from clusterkit.inspection.findings import COLUMNS, KINDS
from clusterkit.inspection.inspect import inspect as inspect_function
from clusterkit.inspection.scan import image_facts
from clusterkit.inspection.text import LEAST_GLYPHS, text_glyphs
from tests.pictures import clouds

HOSTILE = "<script>alert(1)</script>\n\"&'\x1b[31m"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Pictures of 24 patients, no two alike; half of the patients are for validation."""
    root, rng, rows = tmp_path_factory.mktemp("clean") / "data", np.random.default_rng(5), []
    for patient in range(1, 25):
        for label in ("dots", "ring", "rod"):
            for number in (1, 2):
                name = f"labeled/{label}/p{patient:02d}-{number}.png"
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                clouds(rng).save(root / name)
                split = "train" if patient <= 12 else "valid"
                rows.append([name, label, f"patient-{patient:02d}", split])
    table = pd.DataFrame(rows, columns=["image", "label", "group", "split"])
    table.to_csv(root / "labels.csv", index=False)
    (root / "unlabeled").mkdir()
    for number in range(5):
        clouds(rng).save(root / "unlabeled" / f"u{number}.png")
    (root / "unlabeled" / "broken.png").write_bytes((root / name).read_bytes()[:900])
    images = [p.name for p in (root / "unlabeled").iterdir()]
    pd.DataFrame({"image": images}).to_csv(root / "unlabeled" / "unlabeled.csv", index=False)
    return root


class Planted:
    """A copy of the clean set to which a test adds what is wrong."""

    def __init__(self, clean, root):
        shutil.copytree(clean, root)
        self.root, self.csv = root, root / "labels.csv"
        self.table = pd.read_csv(self.csv, dtype=str)
        self.first = self.table.iloc[0]

    def add(self, name, content=None, label="dots", group="", split=""):
        path = self.root / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            content.save(path)
        row = {"image": name, "label": label, "group": group, "split": split}
        self.table = pd.concat([self.table, pd.DataFrame([row])], ignore_index=True)
        return name

    def inspect(self, **kwargs):
        self.table.to_csv(self.csv, index=False)
        return inspect(self.csv, **kwargs)

    def bytes_of(self, image):
        return (self.root / image).read_bytes()

    def open(self, image):
        return Image.open(self.root / image).convert("RGB")


@pytest.fixture
def planted(clean, tmp_path):
    return Planted(clean, tmp_path / "planted")


def images_of(result, kind):
    table = result.findings
    return set(table["image"][table["kind"] == kind])


def findings_of(result, kind):
    own = result.findings[result.findings["kind"] == kind]
    return {frozenset(images) for _, images in own.groupby("finding")["image"]}


def test_a_clean_set_has_no_problem(clean, command):
    result = inspect(clean / "labels.csv")
    assert set(result.findings["kind"]) == {"group_several_labels"}
    assert result.problems == 0
    assert result.page is None
    code, out, _ = command("inspect", clean / "labels.csv", "--strict")
    assert code == 0
    assert "144" in out
    assert "48 dots, 48 ring, 48 rod" in out


def test_a_csv_without_labels_and_folders(clean):
    result = inspect(clean / "unlabeled" / "unlabeled.csv")
    assert result.summary["classes"] == {}
    assert len(images_of(result, "unreadable")) == 1
    assert inspect(clean / "labeled").summary["classes"] == {"dots": 48, "ring": 48, "rod": 48}
    assert inspect(clean / "unlabeled").summary["unlabelled"] == result.summary["images"]
    both = override(Config(), data__unlabeled=str(clean / "unlabeled"))
    summary = inspect(clean / "labels.csv", config=both).summary
    assert (summary["images"], summary["unlabelled"]) == (144 + result.summary["images"],
                                                          result.summary["images"])  # fmt: skip
    with pytest.raises(DataError, match="no column 'diagnosis'"):
        inspect(
            clean / "unlabeled" / "unlabeled.csv",
            config=override(Config(), data__label_column="diagnosis"),
        )


def test_labels_from_file_names(clean, command):
    """The options that say where labels are are those of fit."""
    pattern = r"^(?P<group>p\d+)-(?P<label>\d)\.png$"
    code, out, _ = command("inspect", clean / "labeled", "--label-pattern", pattern, "--json")
    summary = json.loads(out)
    assert (code, summary["classes"], summary["groups"]["count"]) == (0, {"1": 72, "2": 72}, 24)


def test_single_images(planted):
    picture = planted.open(planted.first["image"])
    noise = np.random.default_rng(0).integers(0, 8, (64, 64), dtype=np.uint8)
    wanted = {
        "unreadable": {
            planted.add("empty.png", b""),
            planted.add("half.png", planted.bytes_of(planted.first["image"])[:900]),
            planted.add("words.png", b"no image at all"),
            planted.add("absent.png"),
        },
        "constant": {
            planted.add("grey.png", Image.new("L", (64, 64), 90)),
            planted.add("red.png", Image.new("RGB", (64, 64), (200, 10, 10))),
        },
        "nearly_black": {planted.add("dark.png", Image.fromarray(noise))},
        "odd_size": {
            planted.add("large.png", picture.resize((400, 400))),
            planted.add("tiny.png", picture.resize((12, 12))),
            planted.add("long.png", picture.resize((64, 150))),
        },
    }
    result = planted.inspect()
    for kind, images in wanted.items():
        assert images_of(result, kind) == images
    assert result.summary["readable"] == result.summary["images"] - 4


def test_exact_duplicates_conflicts_and_leaks(planted):
    rows = planted.table.groupby("label", sort=True).head(4).reset_index(drop=True)
    copies = []
    for i, row in rows.iterrows():
        name = planted.add(f"copy-{i}.png", planted.bytes_of(row["image"]), **row[["label", "group",
                           "split"]])  # fmt: skip
        copies.append(frozenset({row["image"], name}))
    other = planted.table[planted.table["split"] == "valid"].iloc[0]
    wrong = planted.add("wrong.png", planted.bytes_of(other["image"]), "rod", "patient-99", "train")
    result = planted.inspect()
    pair = frozenset({other["image"], wrong})
    assert findings_of(result, "exact_duplicate") == {*copies, pair}
    assert images_of(result, "conflicting_labels") == pair
    assert images_of(result, "duplicate_across_splits") == pair
    assert images_of(result, "duplicate_across_groups") == pair
    assert images_of(result, "near_duplicate") == set()
    own = result.findings[result.findings["image"] == wrong]
    (detail,) = own["detail"][own["kind"] == "conflicting_labels"]
    assert other["image"] in detail
    assert "'rod'" in detail


def test_near_duplicates_are_found_and_nothing_else(planted):
    changed = {
        "smaller": lambda p: p.resize((48, 48), Image.Resampling.BILINEAR),
        "brighter": lambda p: p.point([min(255, round(v * 1.06)) for v in range(256)] * 3),
    }
    wanted = set()
    for number, (how, change) in enumerate(changed.items()):
        for i in range(10):
            row = planted.table.iloc[20 * number + 2 * i]
            copy = planted.add(f"{how}-{i}.png", change(planted.open(row["image"])), "ring",
                               row["group"], row["split"])  # fmt: skip
            wanted.add(frozenset({row["image"], copy}))
    found = findings_of(planted.inspect(), "near_duplicate")
    assert found <= wanted
    assert len(found) >= 0.95 * len(wanted)


def test_a_patient_in_two_splits(planted):
    patient = planted.table["group"] == "patient-03"
    planted.table.loc[planted.table.index[patient][0], "split"] = "valid"
    result = planted.inspect()
    assert images_of(result, "group_across_splits") == set(planted.table["image"][patient])
    assert set(result.findings["group"][result.findings["kind"] == "group_across_splits"]) == {
        "patient-03"
    }
    assert result.problems == 1


def test_an_image_listed_twice(planted):
    planted.add(planted.first["image"], None, "rod", planted.first["group"], "valid")
    again = planted.table.iloc[1]
    planted.add(again["image"], None, again["label"], again["group"], again["split"])
    result = planted.inspect()
    assert result.summary["images"] == 144
    (detail,) = result.findings["detail"][result.findings["kind"] == "label_twice"]
    assert (
        detail == "listed 2 times with the labels 'dots' and 'rod'; the splits 'train' and 'valid'"
    )
    assert images_of(result, "label_twice") == {planted.first["image"]}


def test_burned_in_text(planted):
    wide = planted.open(planted.first["image"]).resize((256, 256))
    ImageDraw.Draw(wide).text((20, 200), "DOE^JANE 1961", "black", ImageFont.load_default(14))
    planted.add("named.png", wide)
    assert images_of(planted.inspect(), "burned_in_text") == {"named.png"}


@pytest.mark.parametrize("size", [10, 14, 20])
@pytest.mark.parametrize("turned", [False, True])
def test_text_is_seen_light_on_dark_and_dark_on_light(size, turned):
    rng = np.random.default_rng(size)
    grain = rng.integers(30, 90, (160, 240), dtype=np.uint8)
    image = Image.fromarray(255 - grain if turned else grain).convert("RGB")
    assert text_glyphs(image) < LEAST_GLYPHS
    ImageDraw.Draw(image).text((20, 90), "LEFT 12:04", "black" if turned else "white",
                               ImageFont.load_default(size))  # fmt: skip
    assert text_glyphs(image) >= LEAST_GLYPHS


def test_wrong_labels_are_suspect_once_there_is_a_run(tmp_path, clean, config):
    """Colour alone tells the classes apart, so that random features see the wrong labels."""
    rng, rows = np.random.default_rng(0), []
    root = tmp_path / "colours"
    root.mkdir()
    for i in range(60):
        label = ("red", "green", "blue")[i % 3]
        values = rng.integers(20, 90, (48, 48, 3), dtype=np.uint8)
        values[..., i % 3] += 140
        Image.fromarray(values).save(root / f"{i:02d}.png")
        rows.append([f"{i:02d}.png", label])
    table = pd.DataFrame(rows, columns=["image", "label"])
    table.loc[[4, 20, 33], "label"] = ["red", "green", "blue"]
    table.to_csv(root / "labels.csv", index=False)
    run = fit(root / "labels.csv", config=config, run=tmp_path / "run")
    result = inspect(root / "labels.csv", run=run.path)
    suspects = result.findings[result.findings["kind"] == "label_suspect"]
    assert {"04.png", "20.png", "33.png"} <= set(suspects["image"])
    assert len(suspects) <= 6
    assert (suspects["severity"] == "note").all()
    assert suspects["score"].is_monotonic_increasing
    assert "60 images" in result.summary["label_errors"]
    unknown = inspect(clean / "labels.csv", run=run.path)
    assert "not looked for" in unknown.summary["label_errors"]


def test_a_broken_run(clean, tmp_path, monkeypatch, caplog):
    with pytest.raises(RunError):
        inspect(clean / "labels.csv", run=tmp_path)
    broken = tmp_path / "runs" / "one"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert "not looked for" in inspect(clean / "labels.csv").summary["label_errors"]
    assert "run format" in caplog.text


def test_without_cleanlab(clean, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    result = inspect(clean / "labels.csv", run=tmp_path)
    assert "pip install 'clusterkit[inspect]'" in result.summary["label_errors"]


def test_files_and_exit_codes(planted, command, tmp_path):
    planted.add("copy.png", planted.bytes_of(planted.first["image"]), "rod", "=1+1")
    planted.add("broken.png", b"x", "-2")
    planted.table.to_csv(planted.csv, index=False)
    before = sorted(planted.root.rglob("*"))
    code, out, err = command("inspect", planted.csv, "--strict")
    assert code == 1
    assert err.count("\n") == 1
    assert sorted(planted.root.rglob("*")) == before
    out_dir = tmp_path / "report"
    code, out, err = command("inspect", planted.csv, "--out", out_dir, "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary["page"] == str(out_dir / "index.html")
    assert summary["findings"]["exact_duplicate"]["images"] == 2
    names = {p.name for p in out_dir.iterdir()}
    assert names == {"index.html", "findings.csv", "summary.json", "thumbs"}
    assert (out_dir / "findings.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    table = pd.read_csv(out_dir / "findings.csv", keep_default_na=False)
    assert list(table.columns) == COLUMNS
    assert len(table) == len(summary["found"])
    assert "'=1+1" in set(table["group"])
    assert "-2" in set(table["label"])
    order = {kind.name: i for i, kind in enumerate(KINDS)}
    assert table["kind"].map(order).is_monotonic_increasing
    first = (out_dir / "findings.csv").read_bytes()
    inspect(planted.csv, out=out_dir)
    assert (out_dir / "findings.csv").read_bytes() == first


def test_out_replaces_only_its_own_files(planted, tmp_path):
    planted.add("copy.png", planted.bytes_of(planted.first["image"]))
    out = tmp_path / "report"
    (out / "thumbs").mkdir(parents=True)
    (out / "mine.txt").write_text("mine")
    (out / "thumbs" / "mine.jpg").write_text("mine")
    planted.inspect(out=out)
    (out / "thumbs" / ("0" * 16 + ".jpg")).write_text("of an earlier page")
    planted.table = planted.table[planted.table["image"] != "copy.png"]
    planted.inspect(out=out)
    assert (out / "mine.txt").read_text() == (out / "thumbs" / "mine.jpg").read_text() == "mine"
    assert not (out / "thumbs" / ("0" * 16 + ".jpg")).exists()
    assert not list(out.rglob("*.partial"))
    (out / "index.html").write_text("another's page")
    with pytest.raises(DataError, match="not from inspect"):
        planted.inspect(out=out)
    assert (out / "index.html").read_text() == "another's page"
    with pytest.raises(DataError, match="inside the data"):
        inspect(planted.root / "labeled", out=planted.root / "labeled" / "report")


def test_what_cannot_be_inspected(tmp_path, command):
    (tmp_path / "empty").mkdir()
    for arguments, said in [((tmp_path / "empty",), "no image in"),
                            ((tmp_path / "absent",), "does not exist")]:  # fmt: skip
        code, _, err = command("inspect", *arguments)
        assert code == 1
        assert said in err
        assert "Traceback" not in err


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_hostile_names_and_labels_are_text(planted, command, tmp_path):
    def page(text):
        planted.add(f"{text.replace('/', '')}.png", planted.bytes_of(planted.first["image"]),
                    text, text, text)  # fmt: skip
        return planted.inspect(out=tmp_path / "report").page.read_text()

    hostile = page(HOSTILE)
    # The page's own script stands there, and nothing of the data is markup.
    assert hostile.count("<script") == 1
    assert "<script>alert" not in hostile
    assert "https://" not in hostile
    assert any(HOSTILE in text for text in Tags(hostile).texts)
    planted.table = planted.table[:-1]
    # A control character is a finding of its own.
    assert Tags(page("plain\x1b")).tags == Tags(hostile).tags
    planted.table.loc[len(planted.table) - 1, "label"] = HOSTILE
    planted.table.to_csv(planted.csv, index=False)
    _, out, _ = command("inspect", planted.csv)
    assert all(line.isprintable() for line in out.splitlines())
    assert len(out.splitlines()) < 20


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_no_text(clean, tmp_path, command):
    folder = tmp_path / "images"
    folder.mkdir()
    data = next(clean.rglob("*.png")).read_bytes()
    for name in (b"a\xff.png", b"b\n\x1b[31m.png"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(data)
    code, out, err = command("inspect", folder, "--out", tmp_path / "report")
    assert (code, err) == (0, "")
    assert all(line.isprintable() for line in out.splitlines())
    code, out, _ = command("inspect", folder, "--json")
    assert json.loads(out)["findings"]["exact_duplicate"]["images"] == 2


def test_damaged_files_never_stop_it(planted):
    rng = np.random.default_rng(1)
    whole = planted.open(planted.first["image"])
    for i in range(60):
        path = planted.root / f"damaged-{i}.{('png', 'jpg', 'gif', 'tif', 'bmp')[i % 5]}"
        whole.save(path)
        data = bytearray(path.read_bytes())
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(256)
        planted.add(path.name, bytes(data[: rng.integers(0, len(data))]))
    result = planted.inspect()
    assert result.summary["images"] == 204
    assert len(images_of(result, "unreadable")) > 20


def test_worker_processes_see_the_same(clean, monkeypatch):
    """More images than one process takes: the findings do not depend on how many work."""
    import clusterkit.inspection.scan as module

    monkeypatch.setattr(module, "MANY_IMAGES", 10)
    many = inspect(clean / "labels.csv", config=config_from_dict({"assign": {"workers": 2}}))
    one = inspect(clean / "labels.csv", config=config_from_dict({"assign": {"workers": 0}}))
    pd.testing.assert_frame_equal(many.findings, one.findings)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_one_image(clean, monkeypatch):
    import signal

    import clusterkit.inspection.scan as module

    parent, victim = os.getpid(), "ring/p05-1.png"

    def deadly(path, frame, config):
        if path.endswith(victim) and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return image_facts(path, frame, config)

    if sys.platform != "linux":
        pytest.skip("needs forked workers, which inherit the planted function")
    monkeypatch.setattr(module, "MANY_IMAGES", 10)
    monkeypatch.setattr(module, "image_facts", deadly)
    result = inspect(clean / "labeled", config=config_from_dict({"assign": {"workers": 2}}))
    (image,) = images_of(result, "unreadable")
    assert image == victim
    assert result.summary["readable"] == 143


@pytest.mark.slow
def test_inspect_needs_no_torch_and_leaves_pythons_inspect_alone(clean):
    code = ("import sys, inspect; from clusterkit.cli import run_command; "
            "run_command(sys.argv[1:]); print('torch' in sys.modules, flush=True); "
            "from clusterkit import *; print(inspect.isfunction(print))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, "inspect", str(clean / "labels.csv")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.splitlines()[-2:] == ["False", "False"]
    assert inspect is inspect_function


@pytest.mark.browser
def test_page_in_chromium(planted, tmp_path):
    """A real browser shows every picture from disk and its console stays silent."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("Chromium is not installed")
    for i in range(3):
        planted.add(f"copy-{i}.png", planted.bytes_of(planted.first["image"]), HOSTILE)
    page = planted.inspect(out=tmp_path / "report").page
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run",
         "--virtual-time-budget=4000", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.count("<figure") == page.read_text().count("<figure") > 4
    assert "CONSOLE" not in done.stderr
