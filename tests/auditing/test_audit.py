"""The audit of a real run: what is on the page, and what hands and moves have done to its input."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clusterkit import Run, audit, read_assignments
from clusterkit.auditing.batch import choose_rows, clusters_of, read_batch
from clusterkit.auditing.last_audit import maps_verdict
from clusterkit.auditing.originals import Originals
from clusterkit.config import override
from clusterkit.errors import DataError


def cards_of(page) -> list[dict]:
    text = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1]
    return json.loads(text)["cards"]


@pytest.fixture(scope="module")
def page(run, assignment, sample, tmp_path_factory):
    config = override(run.config, audit__limit=20)
    truth = pd.read_csv(sample / "truth.csv", keep_default_na=False)
    out = tmp_path_factory.mktemp("page") / "audit"
    return audit(run, out=out, config=config, places=truth)


@pytest.fixture
def copied(run, assignment, sample, tmp_path):
    """A copy of the run and its data, to be spoiled."""
    shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("audit"))
    record = json.loads((tmp_path / "run" / "assignments.json").read_text())
    record["input_root"] = "../data"
    (tmp_path / "run" / "assignments.json").write_text(json.dumps(record))
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["data"]["root"] = "../data"
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    shutil.copytree(sample, tmp_path / "data")
    return tmp_path / "run"


def edit(run, change) -> None:
    table = pd.read_csv(run / "assignments.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(run / "assignments.csv", index=False)


@pytest.mark.slow
def test_pictures_of_cards_are_what_they_say(page, run, assignment):
    table = assignment.table.set_index("image")
    cards = [card for card in cards_of(page) if card["status"] != "failed"]
    assert len(cards) >= 18
    for card in cards:
        # A copy is shown beside the labelled image that it copies.
        beside = "duplicate_of" if card["status"] == "duplicate" else "nearest_image"
        assert card["matches"][0]["image"] == table[beside][card["image"]]
        assert len({match["image"] for match in card["matches"]}) == len(card["matches"]) <= 3
        similarities = [match["similarity"] for match in card["matches"]]
        if card["status"] == "duplicate":
            assert similarities == [None]
            assert card["words"]["captions"][0].startswith("the labelled image that it is a copy")
        else:
            assert similarities[0] == pytest.approx(max(similarities), abs=1e-4)
        for name in [card["thumb"], card["classifier_cam"], *(
            match[kind] for match in card["matches"] for kind in ("thumb", "cam", "own_cam")
        )]:  # fmt: skip
            with Image.open(page.parent / name) as picture:
                assert max(picture.size) in (64, 256)


def test_a_heat_map_is_clear_where_nothing_speaks_for_the_label(page):
    alphas = []
    for card in cards_of(page):
        for match in card["matches"]:
            with Image.open(page.parent / match["own_cam"]) as picture:
                alphas.append(np.asarray(picture.convert("RGBA"))[..., 3])
    assert max(a.max() for a in alphas) == 215
    assert min(a.min() for a in alphas) == 0


def test_the_large_view_has_copies_of_the_pixels(page):
    for card in cards_of(page):
        if card["status"] == "failed":
            continue
        for path in [card["full"], *(match["full"] for match in card["matches"])]:
            with Image.open(page.parent / path) as picture:
                # The sample's have 48 pixels a side, some 38: copied as they are, without loss.
                assert picture.size in ((48, 48), (38, 38))
                assert picture.format == "PNG"


@pytest.mark.slow
def test_links_and_a_budget_for_copies(copied, command):
    code, _, err = command("audit", "--run", copied, "--originals", "link")
    assert code == 0, err
    page = copied / "audit" / "index.html"
    cards = [card for card in cards_of(page) if card["status"] != "failed"]
    for card in cards:
        assert card["full"].startswith("../../data/")
        assert (page.parent / card["full"]).resolve() == (copied.parent / "data" / card["image"])
    assert not list((copied / "audit" / "thumbs").glob("*/*-full*"))
    code, _, err = command("audit", "--run", copied, "--originals", "link", "--serve")
    assert code == 2
    assert "give --originals copy" in err
    run = Run.load(copied)
    audit(run, config=override(run.config, audit__originals_mb=0))
    assert "copies of the others take the 0 MB" in page.read_text()
    assert all(card["full"] is None for card in cards_of(page))
    audit(run, config=override(run.config, audit__originals="copy"))
    first = {path.name for path in (copied / "audit" / "thumbs").glob("*/*-full.png")}
    assert first
    audit(run, config=override(run.config, audit__originals="none"))
    assert not list((copied / "audit" / "thumbs").glob("*/*-full*"))
    assert all(card["full"] is None for card in cards_of(page))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_large_image_is_copied_small_and_turned_as_it_is_seen(tmp_path, mode):
    picture = Image.new(mode, (2100, 700))
    picture.putpixel((0, 0), 255 if mode == "L" else (255, 0, 0))
    originals = Originals("copy", 1)
    # What no browser shows is copied where links are asked for.
    linked = Originals("link", 1)
    assert linked.path_of(picture, b"II*", tmp_path / "x", 0, tmp_path, "b") == "b-full.jpg"
    name = originals.path_of(picture.convert("RGB"), b"", tmp_path / "x", 0, tmp_path, "thumbs/a")
    assert name == "thumbs/a-full.jpg"
    with Image.open(tmp_path / name) as copy:
        assert copy.size == (1024, 341)
    assert originals.path_of(picture, b"", tmp_path / "x", 0, tmp_path, "thumbs/a") == name
    assert (originals.copied, originals.left_out) == (1, 0)


def test_the_verdict_on_heat_maps_is_there_for_sheets(page, run, assignment):
    batch, cams = read_batch(run, assignment.path), json.loads(
        (page.parent / "metrics.json").read_text())["cams"]  # fmt: skip
    found = maps_verdict(page.parent, batch, run.config.audit.method)
    assert found.shown == (cams["overlays"] == "on")
    assert cams["reason"] in found.words


def test_both_images_of_a_pair_are_checked_against_their_known_places(page):
    found = json.loads((page.parent / "metrics.json").read_text())["cams"]
    assert found["placed"] > 4
    assert found["exemplar_placed"] == found["placed"] == found["images"]
    assert set(found["places"]) == set(found["exemplar_places"])
    text = page.read_text()
    assert "known place of the image" in text
    assert "known place of the labelled image" in text


def test_another_class_is_shown_where_it_was_compared(page, run):
    """What speaks against the label is evidence too."""
    several = [card for card in cards_of(page)
               if len(card["gate"]) > 1 and card["status"] != "duplicate"]  # fmt: skip
    assert several
    for card in several:
        assert len({match["label"] for match in card["matches"]}) > 1


@pytest.mark.slow
def test_a_second_audit_replaces_the_pictures_of_the_first(copied):
    thumbs = copied / "audit" / "thumbs"
    audit(copied)
    (first,) = thumbs.iterdir()
    (thumbs / "mine").mkdir()
    (thumbs / "mine.jpg").write_text("mine")
    edit(copied, lambda table: table.iloc[1:])
    page = audit(copied)
    assert not first.exists()
    assert (thumbs / "mine").is_dir()
    assert (thumbs / "mine.jpg").is_file()
    assert all((page.parent / card["thumb"]).is_file() for card in cards_of(page) if card["thumb"])


def test_others_files_are_left_alone(copied, command, tmp_path):
    mine = tmp_path / "site"
    (mine / "thumbs" / "0123456789abcdef").mkdir(parents=True)
    (mine / "index.html").write_text("mine")
    for out in (mine, copied, tmp_path / "data"):
        code, _, err = command("audit", "--run", copied, "--out", out)
        assert code == 1
        assert "holds files and no earlier audit" in err
    assert (mine / "index.html").read_text() == "mine"
    assert not (copied / "index.html").exists()
    (copied / "audit").mkdir()
    (copied / "audit" / "thumbs").symlink_to(mine / "thumbs")
    code, _, err = command("audit", "--run", copied)
    assert code == 1
    assert "no plain folder" in err
    picture = next((tmp_path / "data" / "unlabeled").iterdir())
    before = picture.read_bytes()
    code, _, err = command("audit", "--run", copied, "--image", picture, "--out", picture)
    assert code == 1
    assert picture.read_bytes() == before


@pytest.mark.slow
def test_labelled_images_that_are_gone_are_said(copied, command):
    (copied.parent / "data" / "labeled").rename(copied.parent / "elsewhere")
    code, _, err = command("audit", "--run", copied)
    assert code == 0
    assert "labelled images are not under" in err
    (copied.parent / "elsewhere").rename(copied.parent / "data" / "labeled")
    # A page that lacks pictures is not kept.
    assert audit(copied, keep=True)
    page = copied / "audit" / "index.html"
    assert all(m["thumb"] for card in cards_of(page) for m in card["matches"])
    stamp = page.stat().st_mtime_ns
    assert audit(copied, keep=True).stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_rows_without_an_id_have_pictures_of_their_own(copied, command):
    edit(copied, lambda table: table.assign(image_id=""))
    code, _, err = command("audit", "--run", copied, "--limit", 60)
    assert code == 0, err
    cards = [c for c in cards_of(copied / "audit" / "index.html") if c["thumb"]]
    assert len({card["thumb"] for card in cards}) >= len(cards) - 12


def test_chosen_rows_begin_with_typical_ones(assignment, run):
    table = assignment.table
    chosen = choose_rows(table, 8, 0, typical=[20, 21, 22, 23])
    assert {20, 21} <= set(chosen)
    assert len(chosen) == 8
    clusters = clusters_of(read_batch(run, assignment.path), chosen)
    assert sum(c.size for c in clusters) == table["cluster"].notna().sum()
    assert sum(c.shown for c in clusters) == table["cluster"].iloc[chosen].notna().sum()


@pytest.mark.parametrize("column", ["image_id", "status", "nearest_image", "reason"])
def test_a_column_that_was_taken_out(copied, command, column):
    edit(copied, lambda table: table.drop(columns=column))
    code, _, err = command("audit", "--run", copied)
    assert code == 1
    assert f"no column '{column}'" in err
    assert not (copied / "audit").exists()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [("status", "asigned", "did you mean 'assigned'?"), ("confidence", "0,93", "'0,93'"),
     ("confidence", "7", "'7'"), ("cluster", "-2", "'-2'"), ("novelty_p", "x", "'x'")],
)  # fmt: skip
def test_a_cell_that_cannot_be(copied, command, column, value, said):
    def spoil(table):
        table.loc[3, column] = value
        return table

    edit(copied, spoil)
    code, _, err = command("audit", "--run", copied)
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "row 4" in err
    assert said in err


@pytest.mark.slow
def test_labels_that_the_run_does_not_know_and_rows_that_are_gone(copied, command):
    def change(table):
        table.loc[table["status"] == "review", "predicted_label"] = "<b>mine</b>"
        return table.drop(index=[0, 1])

    edit(copied, change)
    code, _, err = command("audit", "--run", copied)
    assert code == 0
    assert "'<b>mine</b>'" in err
    assert "rows were removed" in err
    page = copied / "audit" / "index.html"
    assert "<b>mine" not in page.read_text()
    for card in cards_of(page):
        assert (card["classifier_cam"] is None) == (card["predicted_label"] in ("<b>mine</b>", ""))


@pytest.mark.slow
def test_images_that_moved_or_changed(copied, command):
    table = read_assignments(copied / "assignments.csv")
    there = table[table["status"] == "review"].nsmallest(2, "order")["image"].tolist()
    (copied.parent / "data" / there[0]).unlink()
    with Image.open(copied.parent / "data" / there[1]) as picture:
        picture.rotate(90).save(copied.parent / "data" / there[1])
    code, _, err = command("audit", "--run", copied)
    assert code == 0
    assert "1 images were not found" in err
    assert "1 images" in err
    assert "other bytes" in err
    page = copied / "audit" / "index.html"
    assert str(copied.parent) not in page.read_text()
    empty = {card["image"] for card in cards_of(page) if card["thumb"] is None}
    assert set(there[:2]) <= empty
    shutil.rmtree(copied.parent / "data")
    code, _, err = command("audit", "--run", copied)
    assert code == 0
    assert all(card["thumb"] is None for card in cards_of(page))


def test_assignments_of_another_run(copied, command):
    info = json.loads((copied / "run.json").read_text()) | {"id": "another"}
    (copied / "run.json").write_text(json.dumps(info))
    code, _, err = command("audit", "--run", copied)
    assert code == 1
    assert "run `clusterkit assign` again" in err
    assert not (copied / "audit").exists()
    (copied / "assignments.json").unlink()
    edit(copied, lambda table: table.replace({"nearest_image": {r".+": "other.png"}}, regex=True))
    with pytest.raises(DataError, match="another data set"):
        audit(copied)


@pytest.mark.parametrize("text", ["[]", "{", "nan", '{"input_root": 3}', '{"input_root": "/etc"}'])
def test_a_record_that_assign_never_writes(copied, command, text):
    (copied / "assignments.json").write_text(text)
    code, _, err = command("audit", "--run", copied)
    assert code == 1
    assert err.count("\n") == 1
    assert "assignments.json" in err


@pytest.mark.parametrize(
    "text",
    [
        '{"promise": 3, "class_shares": [], "cluster_summaries": [1, {"cluster": []}], '
        '"promise_text": 4, "images": "many"}',
        pytest.param('{"promise": 3}', marks=pytest.mark.long),
        pytest.param('{"promise": {"threshold": "x"}}', marks=pytest.mark.long),
        pytest.param('{"class_shares": []}', marks=pytest.mark.long),
        pytest.param('{"cluster_summaries": [1, {"cluster": []}]}', marks=pytest.mark.long),
        pytest.param('{"promise_text": 4, "images": "many"}', marks=pytest.mark.long),
    ],
)
def test_a_record_with_strange_values_does_not_stop_the_page(copied, command, text):
    record = json.loads(text) | {"input_root": "../data"}
    (copied / "assignments.json").write_text(json.dumps(record))
    code, _, err = command("audit", "--run", copied)
    assert code == 0, err


def test_an_empty_table(copied, command):
    edit(copied, lambda table: table.iloc[:0])
    code, _, err = command("audit", "--run", copied)
    assert code == 0, err
    assert cards_of(copied / "audit" / "index.html") == []
