"""What `check` finds of backbones that are broken one way each, and that sound ones pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard
from cytobench.checks.backbone import check_backbone
from cytobench.findings import Finding, failed
from cytobench.registry import Registry
from tests.checks.broken_networks import SOURCE
from tests.encoders.tiny_cards import tiny_card

SMALL = {"size": 64, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def _check(card: BackboneCard, home: Path) -> dict[str, Finding]:
    found = check_backbone(card, home=home, device="cpu", download=False)
    return {finding.question: finding for finding in found}


@pytest.fixture
def broken(tmp_path: Path, home: Path) -> Any:
    """Check a backbone of a plugin folder whose loader is the named one."""
    (tmp_path / "my" / "backbones").mkdir(parents=True)
    (tmp_path / "my" / "broken_nets.py").write_text(SOURCE)

    def check(fault: str, **changes: Any) -> dict[str, Finding]:
        raw = {
            "name": fault,
            "title": fault,
            "loader": f"broken_nets:{fault}",
            "weights": "random",
            "dim": 16,
            "preprocess": SMALL,
            "domain": "none",
            "licence": "private",
            "citation": "mine",
        }
        source = tmp_path / "my" / "backbones" / f"{fault}.toml"
        return _check(parse_card(BackboneCard, raw | changes, source=source), home)

    return check


def test_a_sound_backbone_passes_everything(broken) -> None:
    assert {finding.mark for finding in broken("sound").values()} == {"pass"}


@pytest.mark.parametrize(
    ("fault", "question"),
    [
        ("batchnorm", "batch invariance"),
        ("dropout", "determinism"),
        ("order", "order invariance"),
        ("dead", "sensitivity"),
        ("nan", "extreme inputs"),
        ("raises", "loads"),
    ],
)
def test_each_fault_is_named_by_its_question(broken, fault: str, question: str) -> None:
    finding = broken(fault)[question]
    assert finding.mark == "fail"
    assert finding.says.endswith(".")


def test_features_beyond_half_precision_are_told(broken) -> None:
    assert broken("huge")["storage at half precision"].mark == "warn"


def test_a_wrong_dim_is_told_with_the_right_one(broken, home: Path) -> None:
    assert broken("sound", dim=17)["output dimension"].cure.startswith("Write dim = 16")
    built = _check(tiny_card(dim=100), home)
    assert built["output dimension"].cure.startswith("Write dim = 192")
    assert built["determinism"].mark == "pass"  # the rest is looked at all the same


@pytest.mark.parametrize(("loader", "word"), [("bgr", "blue, green, red"), ("raw", "not normalised")])
def test_own_preparation_is_looked_at(broken, loader: str, word: str) -> None:
    finding = broken(loader, preprocess=None)["preparation"]
    assert finding.mark == "warn"
    assert word in finding.says


@pytest.mark.parametrize(
    ("mean", "std", "word"),
    [
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "not normalised"),
        ((0.406, 0.456, 0.485), (0.225, 0.224, 0.229), "blue, green"),
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "0..255"),
    ],
)
def test_classic_mistakes_of_normalisation(broken, mean, std, word: str) -> None:
    finding = broken("sound", preprocess={"size": 64, "mean": mean, "std": std})["normalisation"]
    assert finding.mark in ("warn", "fail")
    assert word in finding.says


def test_weights_out_of_reach_are_skipped_with_what_to_do(home: Path) -> None:
    found = _check(Registry.load(entry_points=False).backbone("dino-vits16"), home)
    assert found["weights"].mark == "skip"
    assert "not on this machine" in found["weights"].says
    assert found["output dimension"].mark == found["normalisation"].mark == "pass"
    assert not failed(found.values())


def test_a_missing_local_file_fails(home: Path) -> None:
    assert _check(tiny_card(weights="/nowhere/net.safetensors"), home)["weights"].mark == "fail"


def test_preprocessing_unlike_the_record_is_told(home: Path) -> None:
    card = Registry.load(entry_points=False).backbone("dino-vits16")
    assert card.preprocess is not None
    wrong = card.preprocess.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    finding = _check(card.model_copy(update={"preprocess": wrong}), home)["normalisation"]
    assert finding.mark == "fail"
    assert "timm's record" in finding.says


def test_quick_gelu_is_compared_with_the_record(home: Path) -> None:
    card = Registry.load(entry_points=False).backbone("clip-vitb16")
    wrong = card.model_copy(update={"arch_options": {"quick_gelu": False}})
    assert "QuickGELU" in _check(wrong, home)["normalisation"].says


@pytest.mark.parametrize("name", ["cytofm", "colour-statistics", "morphology"])
def test_shipped_backbones_pass(name: str, home: Path) -> None:
    found = _check(Registry.load(entry_points=False).backbone(name), home)
    assert {finding.mark for finding in found.values()} == {"pass"}
