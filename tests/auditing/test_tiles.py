"""Tiles of members of clusters that have no card: which, how small, and what is said of others."""

import pytest
from PIL import Image

from clusterkit import Run, audit, read_assignments
from clusterkit.auditing.tiles import even_shares
from clusterkit.config import override
from tests.pages import data_of


def audited(run, out, **values):
    run = Run.load(run.path)
    settings = {f"audit__{key}": value for key, value in values.items()}
    return audit(run, out=out, config=override(run.config, **settings))


@pytest.fixture(scope="module")
def page(run, assignment, tmp_path_factory):
    return audited(run, tmp_path_factory.mktemp("tiles") / "audit", limit=4)


def test_every_member_has_a_card_or_a_tile(page, assignment):
    table = assignment.table
    data = data_of(page)
    cards = {card["image_id"] for card in data["cards"]}
    clusters = [cluster for cluster in data["clusters"] if cluster["size"] > 1]
    assert sum(len(cluster["tiles"]) for cluster in clusters) > 3
    for cluster in clusters:
        members = table[table["cluster"] == cluster["cluster"]].set_index("image_id")
        tiles = {tile["image_id"]: tile for tile in cluster["tiles"]}
        assert not set(tiles) & cards
        assert set(members.index) - cards == set(tiles)
        for identity, tile in tiles.items():
            own = members.loc[identity]
            assert [tile[key] for key in ("image", "status", "predicted_label")] == [
                own[key] for key in ("image", "status", "predicted_label")
            ]
            with Image.open(page.parent / tile["thumb"]) as picture:
                assert (max(picture.size), picture.format) == (160, "JPEG")


@pytest.mark.slow
def test_a_budget_is_said_and_chance_decides(run, assignment, page, tmp_path, command):
    everything = [tile for cluster in data_of(page)["clusters"] for tile in cluster["tiles"]]
    few = audited(run, tmp_path / "audit", limit=4, tiles=3)
    data = data_of(few)
    tiles = [tile for cluster in data["clusters"] for tile in cluster["tiles"]]
    assert len(tiles) == 3
    left = len(everything) - 3
    assert f"{left} images of clusters have no picture here" in few.read_text()
    # The same ones each time, and no picture of another audit is left.
    again = audited(run, tmp_path / "audit", limit=4, tiles=3)
    assert data_of(again)["clusters"] == data["clusters"]
    assert len(list((tmp_path / "audit" / "thumbs").glob("*/*-tile.jpg"))) == 3
    none = audited(run, tmp_path / "audit", limit=4, tiles=0)
    assert not [tile for cluster in data_of(none)["clusters"] for tile in cluster["tiles"]]
    assert not list((tmp_path / "audit" / "thumbs").glob("*/*-tile.jpg"))


def test_a_row_about_a_tile_is_a_review(run, assignment, page, tmp_path, command):
    tile = next(tile for cluster in data_of(page)["clusters"] for tile in cluster["tiles"])
    (tmp_path / "reviews.csv").write_text(
        "image_id,image,label,decision,reviewer,time,note\n"
        f"{tile['image_id']},{tile['image']},,reject,A,,not dots\n"
    )
    code, out, err = command("review", tmp_path / "reviews.csv", "--run", run.path)
    assert code == 0, err
    assert "1" in out
    assert read_assignments(assignment.path)["image_id"].eq(tile["image_id"]).any()


@pytest.mark.parametrize(
    ("sizes", "most", "wanted"),
    [([], 5, []), ([3, 1], 9, [3, 1]), ([5, 5, 5], 7, [2, 2, 3]), ([9, 1, 0], 4, [3, 1, 0]),
     ([4], 0, [0])],
)  # fmt: skip
def test_shares_are_even_and_never_more_than_there_are(sizes, most, wanted):
    found = even_shares(sizes, most)
    assert sorted(found) == sorted(wanted)
    assert sum(found) == min(most, sum(sizes))
    assert all(share <= size for share, size in zip(found, sizes, strict=True))
