"""An identity changes with everything that changes features, and with nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_cards import IMAGENET, PREPROCESS, load_tiny, tiny_card

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard
from cytobench.digests import FileDigests
from cytobench.encoders import identify, random_weights, timm_vit
from cytobench.errors import EncoderError, WeightsError
from cytobench.registry import Registry


def _identity(home: Path, card: BackboneCard, **options: Any) -> str:
    return json.dumps(identify(card, home=home, digests=FileDigests(home), **options), sort_keys=True)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file with the weights of the tiny ViT."""
    model = timm_vit.create(tiny_card())
    random_weights.fill(model, 5)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("loader", ["timm", "ibot"])
def test_a_loaded_encoder_has_the_identity_that_was_foretold(home: Path, weights: Path, loader: str) -> None:
    for card in (tiny_card(loader=loader), tiny_card(loader=loader, weights=str(weights))):
        for precision in (None, "bf16"):
            encoder = load_tiny(home, card, precision=precision)
            assert json.dumps(dict(encoder.identity), sort_keys=True) == _identity(
                home, card, precision=precision
            )


def test_handcrafted_descriptors_have_one_too(home: Path) -> None:
    pytest.importorskip("cytobench.encoders.handcrafted.colour")
    card = Registry.load().backbones.get("colour-statistics")
    if card is None:
        pytest.skip("the card of colour-statistics is not here")
    encoder = load_tiny(home, card)
    assert json.dumps(dict(encoder.identity), sort_keys=True) == _identity(home, card)
    assert encoder.identity["loader"] == "handcrafted"


def test_moving_and_renaming_change_nothing(home: Path, weights: Path, tmp_path: Path) -> None:
    before = _identity(home, tiny_card(weights=str(weights)))
    moved = tmp_path / "elsewhere" / "same.bin"
    moved.parent.mkdir()
    shutil.move(weights, moved)
    card = tiny_card(weights=str(moved), name="renamed", title="Other", citation="x", notes="y", licence="z")
    assert _identity(home, card) == before
    assert str(tmp_path) not in before


CHANGES: dict[str, dict[str, Any]] = {
    "mean": {"preprocess": {"size": 224, **IMAGENET, "mean": (0.5, 0.5, 0.5)}},
    "crop": {"preprocess": PREPROCESS | {"crop_pct": 0.9}},
    "interpolation": {"preprocess": PREPROCESS | {"interpolation": "bilinear"}},
    "pooling": {"pooling": "mean"},
    "architecture": {"arch": "deit_tiny_patch16_224"},
    "options": {"arch_options": {"depth": 3}},
    "precision": {"precision": "bf16"},
    "loader": {"loader": "ibot"},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_features_changes_the_identity(home: Path, change: str) -> None:
    assert _identity(home, tiny_card(**CHANGES[change])) != _identity(home, tiny_card())


def test_other_weights_under_the_same_name_change_the_identity(home: Path, weights: Path) -> None:
    card = tiny_card(weights=str(weights))
    before = _identity(home, card)
    state = torch.load(weights, weights_only=True)
    torch.save({**state, "cls_token": state["cls_token"] + 1}, weights)
    assert _identity(home, card) != before


def test_a_seed_counts_only_where_it_made_the_weights(home: Path, weights: Path) -> None:
    one, other = (tiny_card(weights=str(weights), seed=seed) for seed in (0, 1))
    assert _identity(home, one) == _identity(home, other)


def test_an_identity_is_made_of_json_primitives_without_torch(tmp_path: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; from cytobench.registry import Registry;"
        "from cytobench.encoders import identify; from cytobench.digests import FileDigests;"
        f"home = Path({str(tmp_path)!r}); card = Registry.load().backbone('random-vit-tiny');"
        "print(json.dumps(identify(card, home=home, digests=FileDigests(home))));"
        "print([name for name in ('torch', 'timm', 'open_clip', 'skimage', 'sklearn') if name in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    identity, heavy = done.stdout.splitlines()
    assert json.loads(identity)["weights"] == {"random": 0, "scheme": random_weights.SCHEME}
    assert heavy == "[]"


def test_cards_without_features_or_weights_are_refused(home: Path) -> None:
    null = tiny_card(loader="null", weights="none", dim=0, pooling="none", preprocess=None)
    with pytest.raises(EncoderError, match="no features"):
        _identity(home, null)
    with pytest.raises(WeightsError, match="needs weights"):
        _identity(home, tiny_card(weights="none"))
    with pytest.raises(WeightsError):
        _identity(home, tiny_card(weights=str(home / "missing.pth")))
    with pytest.raises(EncoderError, match="precision"):
        _identity(home, tiny_card(), precision="fp8")


def test_weights_are_found_beside_the_card(home: Path, weights: Path) -> None:
    raw = tiny_card().model_dump() | {"weights": weights.name}
    raw.pop("branch")
    card = parse_card(BackboneCard, raw, source=weights.parent / "mine.toml")
    assert _identity(home, card) == _identity(home, tiny_card(weights=str(weights)))
