"""An audit finds what was planted, each as its own kind, and nothing on clean cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cytobench.audit.examine import Request, audit
from cytobench.audit.issue import Audit
from cytobench.audit.page import as_json, page
from cytobench.cards import BackboneCard, TaskCard
from cytobench.encoders.handcrafted.colour import FEATURE_NAMES
from cytobench.pretraining.pool import PoolWriter, Source
from cytobench.progress import SilentReporter
from tests.checks.planted_cells import Planted, draw_cell

COLOUR = BackboneCard(
    name="colour",
    title="Colour",
    loader="handcrafted",
    arch="colour-statistics",
    weights="none",
    dim=len(FEATURE_NAMES),
    domain="none",
    licence="x",
    citation="x",
)


def audited(
    card: TaskCard, home: Path, *, pools: Sequence[str] = (), look: bool = False, **known: set[str]
) -> Audit:
    request = Request(card, home, pools=pools, backbones=[COLOUR] if look else [])
    return audit(request, SilentReporter(), **known)


def names(found: Audit, kind: str) -> list[set[str]]:
    return [{one.name for one in issue.members} for issue in found.of_kind(kind)]


def test_clean_cells_have_no_issue(planted: Planted, home: Path) -> None:
    planted.fill()
    found = audited(planted.card(), home)
    assert not found.issues
    assert not found.failed
    told = json.loads(as_json(found))
    assert told["not_looked_for"] == ["pool-copies", "alike-across-folds", "alike-pool", "label-outlier"]
    html = page(planted.card(), found, found.pictures.of, SilentReporter())
    clean, _, unseen = html.partition("Not looked for</h2>")
    assert "Far from its own class and near another (needs a backbone)" in unseen
    assert "Far from its own class and near another" not in clean


def test_what_is_planted_is_found(planted: Planted, home: Path) -> None:
    planted.fill(groups=10)
    planted.add(planted.pixels("000.png"), "malignant", "p5", name="conflict.jpg", quality=70)
    planted.add(np.full((64, 64, 3), 231, np.uint8), "benign", "p1", name="blank.png")
    planted.add(planted.blurred("010.png"), "benign", "p1", name="blurred.png")
    odd = (255 - draw_cell(planted.rng)) // np.array([1, 4, 4], np.uint8)
    planted.add(odd, "benign", "p2", name="odd.png")
    found = audited(planted.card(split={"kind": "leave-one-group-out"}), home)
    assert names(found, "copies-across-folds") == [{"000.png", "conflict.jpg"}]
    assert names(found, "contradicting-labels") == [{"000.png", "conflict.jpg"}]
    assert names(found, "blank") == [{"blank.png"}]
    assert names(found, "blurred") == [{"blurred.png"}]
    assert names(found, "outlier") == [{"odd.png"}]
    assert found.failed


def test_known_issues_do_not_fail(planted: Planted, home: Path) -> None:
    planted.fill()
    planted.add(planted.pixels("000.png"), "benign", "p5")
    card = planted.card(split={"kind": "leave-one-group-out"})
    first = audited(card, home)
    assert first.failed
    assert not audited(card, home, allow={"copies-across-folds"}).failed
    assert not audited(card, home, baseline={issue.key for issue in first.issues}).failed
    planted.add(planted.pixels("001.png"), "malignant", "p6")
    changed = planted.card(split={"kind": "leave-one-group-out"})
    again = audited(changed, home, baseline={issue.key for issue in first.issues})
    assert again.failed
    assert [issue.known for issue in again.of_kind("copies-across-folds")] == [False, True]


def test_a_pool_that_holds_tested_pictures_is_found(planted: Planted, home: Path, tmp_path: Path) -> None:
    planted.fill()
    pool = Planted(tmp_path / "pool")
    pool.root.mkdir()
    pool.rng = np.random.default_rng(99)
    pool.add(planted.pixels("004.png"), "", "", name="taken.jpg", quality=75)
    for _ in range(5):
        pool.add(None, "", "")
    found = audited(planted.card(), home, pools=[str(pool.root)])
    assert names(found, "pool-copies") == [{"004.png", "pool: taken.jpg"}]


def test_a_packed_pool_is_read_without_its_images(planted: Planted, home: Path, tmp_path: Path) -> None:
    planted.fill()
    writer = PoolWriter(tmp_path / "run" / "pool", 64)
    writer.add([draw_cell(np.random.default_rng(5)), planted.pixels("007.png")])
    writer.finish([Source("mine", "", 2, {})], "0" * 64, {})
    found = audited(planted.card(), home, pools=[str(tmp_path / "run")], look=True)
    assert names(found, "pool-copies") == [{"007.png", "run: picture 1"}]


def test_turned_and_shifted_copies_are_told_with_how_they_are_related(planted: Planted, home: Path) -> None:
    planted.fill(groups=12)
    for number, turn in enumerate(("rot90", "fliplr", "rot180")):
        pixels = planted.pixels(f"00{number}.png")
        made = {"rot90": np.rot90(pixels, -1), "fliplr": pixels[:, ::-1], "rot180": pixels[::-1, ::-1]}[turn]
        planted.add(np.ascontiguousarray(made), "benign", "p7", name=f"{turn}.jpg", quality=85)
    wide = draw_cell(np.random.default_rng(1), 80)
    planted.add(wide[:72, :72], "benign", "p1", name="place.png")
    planted.add(wide[6:78, 4:76], "benign", "p8", name="shifted.jpg", quality=85)
    found = audited(planted.card(split={"kind": "leave-one-group-out"}), home)
    says = {
        frozenset(one.name for one in issue.members): issue.says
        for issue in found.of_kind("copies-across-folds")
    }
    assert len(says) == 4
    assert "rotated by 90° clockwise" in says[frozenset({"000.png", "rot90.jpg"})]
    assert "mirrored left to right" in says[frozenset({"001.png", "fliplr.jpg"})]
    assert "rotated by 180°" in says[frozenset({"002.png", "rot180.jpg"})]
    assert "of the side up and 5% of the side to the left" in says[frozenset({"place.png", "shifted.jpg"})]


def boxed_cells(planted: Planted, home: Path, usual: str) -> Audit:
    """Audit cells with a box in a corner for the fourth, and the `usual` one for all others."""
    planted.fill()
    card = planted.card()
    text = (planted.root / "cells.csv").read_text().splitlines()
    boxes = ["0,0,2,2" if number == 3 else usual for number in range(len(text) - 1)]
    head = "image,label,patient,x,y,w,h"
    (planted.root / "cells.csv").write_text(
        "\n".join([head, *(f"{line},{box}" for line, box in zip(text[1:], boxes, strict=True))]) + "\n"
    )
    boxed = card.model_copy(update={"view": card.view.model_copy(update={"kind": "window", "size": 40})})
    return audited(boxed, home)


def test_cells_whose_view_leaves_the_image_are_found(planted: Planted, home: Path) -> None:
    found = boxed_cells(planted, home, "30,30,4,4")
    assert ["003.png" in issue.members[0].name for issue in found.of_kind("off-image")] == [True]
    assert not any("leaves the image" in remark for remark in found.remarks)


def test_a_view_that_often_leaves_the_image_is_one_remark(planted: Planted, home: Path) -> None:
    found = boxed_cells(planted, home, "0,30,4,4")
    assert ["003.png" in issue.members[0].name for issue in found.of_kind("off-image")] == [True]
    assert any("48 of 48 cells leaves the image" in remark for remark in found.remarks)


def test_data_that_cannot_be_read_whole_fail(planted: Planted, home: Path) -> None:
    planted.fill()
    card = planted.card()
    (planted.root / "004.png").unlink()
    (planted.root / "005.png").write_bytes(b"no image")
    found = audited(card, home)
    assert found.failed
    assert any("004.png" in name for (name,) in names(found, "data"))
    assert names(found, "unreadable") == [{"005.png"}]
    assert "004.png" in page(card, found, found.pictures.of, SilentReporter())


def test_the_page_shows_pairs_and_escapes_names(planted: Planted, home: Path) -> None:
    planted.fill(labels=("<img src=x>", "b"))
    planted.add(planted.pixels("000.png"), "b", "p5")
    card = planted.card(split={"kind": "leave-one-group-out"})
    found = audited(card, home)
    html = page(card, found, found.pictures.of, SilentReporter())
    assert html.count("data:image/webp") >= 2
    assert "<img src=x>" not in html
    assert str(planted.root) not in html
    assert json.loads(as_json(found))["counts"]["contradicting-labels"] == 1


def test_pictures_that_may_not_be_shown_are_not(planted: Planted, home: Path) -> None:
    planted.fill()
    planted.add(planted.pixels("000.png"), "malignant", "p5")
    card = planted.card(show_images=False, split={"kind": "leave-one-group-out"})
    found = audited(card, home)
    html = page(card, found, found.pictures.of, SilentReporter())
    assert "data:image/webp" not in html
    assert "000.png" in html
