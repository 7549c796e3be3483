"""A tower described by its publishers: read from the hub, built as open_clip builds it, never guessed."""

from __future__ import annotations

import io
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tiny_cards import crops, load_tiny, tiny_card

from cytobench.cards import BackboneCard
from cytobench.checks.asking import Hearing
from cytobench.checks.backbone import check_backbone, measured_dim
from cytobench.digests import FileDigests
from cytobench.encoders import identify, random_weights
from cytobench.encoders.deposit import Deposit
from cytobench.encoders.open_clip_config import as_held
from cytobench.encoders.size import parameters_of
from cytobench.encoders.uri import card_from_uri
from cytobench.errors import CardError, EncoderError, WeightsError, WrongWeightsError
from cytobench.features.space import space_id
from cytobench.findings import failed
from cytobench.progress import SilentReporter
from cytobench.scaffold.backbone import draft_backbone
from tests.encoders.local_hub import LocalHub, Repo, WebFile, serve_hugging_face

COMMIT, LATER = "c" * 40, "d" * 40
REPO = "lab/tiny-clip"
ARCH = f"hf-hub:{REPO}@{COMMIT}:open_clip_config.json"
WEIGHTS = f"hf-hub:{REPO}@{COMMIT}:open_clip_pytorch_model.bin"
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.26, 0.27]
MODEL: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64},
    "text_cfg": {"layers": 1, "width": 32, "heads": 2, "vocab_size": 60, "context_length": 8},
}
CONFIG: dict[str, Any] = {"model_cfg": MODEL, "preprocess_cfg": {"mean": MEAN, "std": STD}}


def _with(quick_gelu: bool | None = None, preprocess: dict[str, Any] | None = None, **vision: Any) -> Any:
    model = MODEL | {"vision_cfg": MODEL["vision_cfg"] | vision}
    if quick_gelu is not None:
        model |= {"quick_gelu": quick_gelu}
    return {"model_cfg": model, "preprocess_cfg": CONFIG["preprocess_cfg"] | (preprocess or {})}


def _clip_weights() -> bytes:
    model = MODEL | {"vision_cfg": open_clip.CLIPVisionCfg(**MODEL["vision_cfg"])}
    model |= {"text_cfg": open_clip.CLIPTextCfg(**MODEL["text_cfg"])}
    clip = open_clip.CLIP(**model)
    random_weights.fill(clip, seed=3)
    held = io.BytesIO()
    torch.save(clip.state_dict(), held)
    return held.getvalue()


@pytest.fixture(scope="module")
def weights() -> bytes:
    """The weights of a whole CLIP model: they fit the tower with QuickGELU and the one without."""
    return _clip_weights()


Publish = Callable[..., LocalHub]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: bytes) -> Iterator[Publish]:
    """A hub on which a model with some configuration is published, by default the plain one."""
    with serve_hugging_face(monkeypatch, tmp_path) as hub:

        def publish(config: Any = CONFIG, commit: str = COMMIT, **files: bytes) -> LocalHub:
            content = config if isinstance(config, bytes) else json.dumps(config).encode()
            # As in many repositories, the weights of another library lie beside those of open_clip.
            kept = {"open_clip_pytorch_model.bin": weights, "pytorch_model.bin": b"of transformers"}
            repo = hub.repos.setdefault(REPO, Repo({}, {}))
            repo.commits[commit] = {"open_clip_config.json": content, **kept, **files}
            repo.refs["main"] = commit
            return hub

        yield publish


def _card(**changes: Any) -> BackboneCard:
    preprocess = {"size": 64, "mean": MEAN, "std": STD} | changes.pop("preprocess", {})
    fields = {"loader": "open_clip", "arch": ARCH, "arch_options": {}, "weights": WEIGHTS, "dim": 64}
    return tiny_card(**fields | {"preprocess": preprocess} | changes)


def _space(card: BackboneCard, home: Path, **options: Any) -> str:
    return space_id(identify(card, home=home, digests=FileDigests(home), **options))


@pytest.mark.parametrize("config", [_with(), _with(False), _with(True)], ids=["unsaid", "GELU", "QuickGELU"])
def test_the_tower_is_the_one_that_open_clip_builds(
    publish: Publish, home: Path, tmp_path: Path, weights: bytes, config: Any
) -> None:
    publish(config)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(weights)
    clip, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    picture = crops(1, size=90)[0][:70]  # neither square nor of the tower's size
    encoder = load_tiny(home, _card(pooling="head", dim=24))
    with torch.no_grad():
        wanted = clip.eval().encode_image(transform(Image.fromarray(picture))[None]).numpy()
    np.testing.assert_allclose(encoder.encode(encoder.prepare(picture)[None]), wanted, atol=1e-6)
    tokens = load_tiny(home, _card()).encode(encoder.prepare(picture)[None])
    np.testing.assert_allclose(tokens @ clip.visual.proj.detach().numpy(), wanted, atol=1e-6)


def test_quickgelu_changes_features_and_space(publish: Publish, tmp_path: Path) -> None:
    found = []
    for word in (False, True):
        publish(_with(word))
        home = tmp_path / str(word)
        encoder = load_tiny(home, _card())
        assert space_id(encoder.identity) == _space(_card(), home, download=False)
        found.append((space_id(encoder.identity), encoder.encode(crops(1, size=64))))
    assert found[0][0] != found[1][0]
    assert np.abs(found[0][1] - found[1][1]).max() > 1e-4


def test_two_configurations_never_share_a_space(publish: Publish, tmp_path: Path) -> None:
    other_text = MODEL | {"text_cfg": MODEL["text_cfg"] | {"context_length": 9}}
    configs = [_with(), _with(False), _with(True), _with(layers=3), CONFIG | {"model_cfg": other_text}]
    spaces = []
    for at, config in enumerate(configs):
        publish(config)
        spaces.append(_space(_card(), tmp_path / str(at)))
    assert len(set(spaces)) == len(spaces)
    publish(_with(), commit=LATER)
    moved = _card(arch=ARCH.replace(COMMIT, LATER), weights=WEIGHTS.replace(COMMIT, LATER))
    assert _space(moved, tmp_path / "later") == spaces[0]  # what is read counts, not where it was read


def test_a_branch_is_pinned_at_first_use(publish: Publish, home: Path) -> None:
    hub = publish(_with(False))
    heard, card = Hearing(SilentReporter()), _card(arch=f"hf-hub:{REPO}")
    before = _space(card, home, reporter=heard)
    assert any(f"pinned to revision {COMMIT} from now on" in said for said in heard.said)
    assert not any("`sha256` in the card" in said for said in heard.said if "config" in said)
    publish(_with(True), commit=LATER)
    assert _space(card, home) == before
    asked = len(hub.asked)
    assert _space(card, home, download=False) == before
    assert len(hub.asked) == asked


def test_a_file_that_was_changed_is_refused(publish: Publish, home: Path) -> None:
    publish()
    _space(_card(), home)
    file = Deposit.of(ARCH, home).folder / "open_clip_config.json"
    file.write_text(json.dumps(_with(True)))
    with pytest.raises(WrongWeightsError, match=r"its first use recorded [0-9a-f]{64}.*run again"):
        _space(_card(), home)
    _space(_card(), home)  # as the sentence says


def test_offline_it_is_said_what_to_fetch_and_where_to_put_it(
    publish: Publish, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub = publish()
    folder = Deposit.of(ARCH, home).folder
    with pytest.raises(WeightsError, match=rf"published settings {ARCH} are not on this machine.*{folder}/"):
        _space(_card(), home, download=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=rf"{ARCH} \(HF_HUB_OFFLINE is set.*put it into {folder}/"):
        _space(_card(), home)
    assert hub.asked == []
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    assert space_id(load_tiny(home, _card(weights="random")).identity)


def test_half_a_file_is_never_read_and_is_continued(publish: Publish, home: Path) -> None:
    config = CONFIG | {"comment": "x" * 40_000}
    hub = publish(config)
    path = f"/{REPO}/resolve/{COMMIT}/open_clip_config.json"
    body = hub.bodies[path] = WebFile(json.dumps(config).encode(), cuts=[17_000, 0, 0, 0])
    with pytest.raises(WeightsError, match="open_clip_config"):
        _space(_card(), home)
    body.cuts.clear()
    assert load_tiny(home, _card()).dim == 64
    assert any(asked.headers.get("Range") == "bytes=17000-" for asked in hub.gets(path))


BROKEN: dict[str, tuple[Any, str]] = {
    "no JSON": (b"<html>", "is not JSON"),
    "no text": (b"\xff\xfe", "is not JSON"),
    "a number that JSON has not": (b'{"model_cfg": NaN}', "NaN is no number of JSON"),
    "no table": ([1], "holds no table"),
    "no model": ({"preprocess_cfg": {}}, "model_cfg is missing"),
    "no length": ({"model_cfg": MODEL | {"embed_dim": "24"}}, "embed_dim = '24' is no length"),
    "no tower": ({"model_cfg": {"embed_dim": 24, "text_cfg": {}}}, "vision_cfg is missing"),
    "a word for QuickGELU": ({"model_cfg": MODEL | {"quick_gelu": "yes"}}, "neither true nor false"),
    "a key nobody knows": ({"model_cfg": MODEL | {"audio_cfg": {}}}, "model_cfg has audio_cfg"),
    "an oblong": (_with(image_size=[64, 96]), "is no square"),
    "another kind of tower": (_with(hf_model_name="dino"), "does not know; install the version"),
    "a trunk nobody knows": (_with(timm_model_name="vit_nope"), "open_clip cannot build"),
    "no preprocessing": ({"model_cfg": MODEL, "preprocess_cfg": [1]}, "preprocess_cfg is no table"),
    "two means": (_with(preprocess={"mean": [0.5, 0.5]}), "is not one number for red, green and blue"),
    "a strange resize": (_with(preprocess={"resize_mode": "warp"}), "resize_mode = 'warp'"),
    "a strange kernel": (_with(preprocess={"interpolation": "area"}), "interpolation = 'area'"),
    "a white border": (
        _with(preprocess={"resize_mode": "longest", "fill_color": 255}),
        "fill_color = 255",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_configuration_that_cannot_be_used_gets_one_clear_sentence(
    publish: Publish, home: Path, case: str
) -> None:
    config, words = BROKEN[case]
    publish(config)
    with pytest.raises(EncoderError) as caught:
        load_tiny(home, _card())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert failed(check_backbone(_card(), home=home))


def test_a_repository_without_a_configuration_is_named(publish: Publish, home: Path) -> None:
    hub = publish()
    del hub.repos[REPO].commits[COMMIT]["open_clip_config.json"]
    with pytest.raises(WeightsError, match=rf"no file open_clip_config\.json in {REPO}.*correct `arch`"):
        _space(_card(), home)


def test_a_card_that_differs_from_what_was_published_is_told_all_of_it_at_once(
    publish: Publish, home: Path
) -> None:
    publish(_with(True, {"interpolation": "bilinear", "resize_mode": "longest"}))
    mistaken = _card(
        preprocess={"mean": [0.5, 0.4, 0.31], "crop_pct": 0.9}, arch_options={"quick_gelu": False}
    )
    for ask in (_space, lambda card, home: load_tiny(home, card)):
        with pytest.raises(EncoderError) as caught:
            ask(mistaken, home)
        for words in (
            "mean = [0.5, 0.4, 0.31] in the card, [0.5, 0.4, 0.3] published",
            "crop_pct = 0.9 in the card, 1.0 published",
            "interpolation = bicubic in the card, bilinear published",
            "resize_mode = shortest in the card, pad published",
            "arch_options.quick_gelu = false in the card, true published",
        ):
            assert words in str(caught.value)
        assert "std" not in str(caught.value)
    (finding, weights, *_) = check_backbone(mistaken, home=home)
    assert (finding.question, finding.mark, weights.mark) == ("architecture", "fail", "skip")


def test_what_is_not_said_is_as_open_clip_has_it(publish: Publish, home: Path) -> None:
    publish({"model_cfg": MODEL})
    wanted = open_clip.transform.PreprocessCfg()
    agreeing = {"mean": wanted.mean, "std": wanted.std, "interpolation": wanted.interpolation}
    assert _space(_card(preprocess=agreeing), home)


def test_check_says_which_activation_was_published(publish: Publish, home: Path) -> None:
    hub = publish(_with(True))
    told = check_backbone(_card(), home=home, download=False)
    assert (told[0].question, told[0].mark, hub.asked) == ("architecture", "skip", [])
    found = {one.question: one for one in check_backbone(_card(), home=home)}
    assert found["architecture"].mark == "pass"
    assert "with QuickGELU" in found["architecture"].says
    assert found["output dimension"].says == "64, as the card says."
    assert found["normalisation"].says.startswith("As in the published open_clip_config.json")
    assert not [one for one in found.values() if one.mark == "fail"]
    unpinned = check_backbone(_card(arch=f"hf-hub:{REPO}"), home=home)
    assert unpinned[0].mark == "warn"
    assert "Name the commit" in unpinned[0].cure


def test_a_card_alone_asks_nobody(publish: Publish) -> None:
    hub = publish()
    assert measured_dim(_card()) == 0
    assert parameters_of(_card()) is None
    assert hub.asked == []


def test_parameters_are_counted_once_the_configuration_is_here(publish: Publish, home: Path) -> None:
    hub, digests = publish(), FileDigests(home)
    assert as_held(_card(), home=home, digests=digests) == _card()
    assert hub.asked == []
    encoder: Any = load_tiny(home, _card())
    held = as_held(_card(), home=home, digests=digests)
    assert parameters_of(held) == sum(one.numel() for one in encoder.module.parameters())
    assert measured_dim(held) == 64


def test_a_model_of_the_hub_is_named_without_a_card(publish: Publish, home: Path) -> None:
    hub = publish(_with(True))
    uri = f"open_clip:hf-hub:{REPO}"
    card = card_from_uri(uri, home=home)
    assert (card.name, card.arch, card.weights) == (uri, ARCH, f"hf-hub:{REPO}@{COMMIT}")
    assert (card.dim, card.pooling, card.arch_options["quick_gelu"]) == (64, "cls", True)
    assert card.preprocess == _card().preprocess
    np.testing.assert_array_equal(
        load_tiny(home, card).encode(crops(2, size=64)), load_tiny(home, _card()).encode(crops(2, size=64))
    )
    assert _space(card, home) == _space(_card(), home)
    publish(_with(False), commit=LATER)
    asked = len(hub.asked)
    again = card_from_uri(f"{uri}?pooling=head", home=home, download=False)
    assert (again.arch, again.dim, len(hub.asked)) == (ARCH, 24, asked)
    assert card_from_uri(f"{uri}@{LATER}", home=home).arch_options["quick_gelu"] is False


def test_a_name_that_cannot_be_looked_up_says_why(publish: Publish, home: Path) -> None:
    publish()
    uri = f"open_clip:hf-hub:{REPO}"
    with pytest.raises(WeightsError, match=r"published settings hf-hub:.* are not on this machine"):
        card_from_uri(uri, home=home, download=False)
    with pytest.raises(WeightsError, match=r"is not an address on the hub"):
        card_from_uri("open_clip:hf-hub:tiny-clip", home=home)
    with pytest.raises(CardError, match="no folder to keep"):
        card_from_uri(uri)
    with pytest.raises(CardError, match="unknown option depth"):
        card_from_uri(f"{uri}?depth=2", home=home)


def test_a_new_card_leaves_the_architecture_to_its_publishers(
    publish: Publish, home: Path, tmp_path: Path
) -> None:
    publish(_with(True, ls_init_value=None))
    (text,) = draft_backbone("tiny", tmp_path, open_clip=f"hf-hub:{REPO}", home=home).files.values()
    raw = tomllib.loads(str(text))
    assert (raw["arch"], "arch_options" in raw) == (ARCH, False)
    assert load_tiny(home, BackboneCard(**raw)).dim == 64
