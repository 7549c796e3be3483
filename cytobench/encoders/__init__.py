"""From a backbone card to an encoder; importing this package loads neither torch nor timm."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cytobench.encoders.encoder import JSON, Encoder
from cytobench.errors import EncoderError, WeightsError
from cytobench.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard
    from cytobench.encoders.network import Built

__all__ = ["JSON", "Digests", "Encoder", "identify", "load"]

SCHEMA = 1  # raised by hand when the same card and weights begin to give other features
_LOADERS = {"timm": "timm_vit", "open_clip": "open_clip_model", "ibot": "ibot"}
_CUSTOMARY = {"open_clip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")}
"""Where a loader's own library looks for weights in a repository: before the names of other libraries."""
_PRECISIONS = ("fp32", "fp16", "bf16")
_log = logging.getLogger(__name__)


class Digests(Protocol):
    """Whatever knows the SHA-256 of a file: `cytobench.digests.FileDigests`."""

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of the file's bytes, 64 hex digits."""


@dataclass(frozen=True)
class _Weights:
    """Where the weights are, and the part of the identity that they are."""

    path: Path | None
    identity: dict[str, JSON]


def identify(
    card: BackboneCard,
    *,
    home: Path,
    digests: Digests,
    download: bool = True,
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, JSON]:
    """Return what decides the card's features, without importing torch: the input of `space_id`.

    Weights are fetched where `download` allows it and count by the SHA-256 of their bytes. `load` with the
    same arguments gives the same identity. Raises WeightsError, EncoderError.
    """
    if card.loader == "handcrafted":
        return _handcrafted_identity(card)
    if card.loader == "precomputed":
        from cytobench.features.precomputed import identity_of

        return identity_of(card, home=home, digests=digests, reporter=reporter or SilentReporter())
    card, published = _settled(card, home, digests, download, reporter or SilentReporter())
    weights = _resolve(card, home, digests, download, reporter or SilentReporter())
    return _network_identity(card, weights, precision) | published


def load(
    card: BackboneCard,
    *,
    home: Path,
    digests: Digests,
    device: str = "auto",
    precision: str | None = None,
    download: bool = True,
    reporter: Reporter | None = None,
    known_as: Mapping[str, JSON] | None = None,
) -> Encoder:
    """Return the card's encoder on `device` (auto, cpu, cuda or cuda:N).

    `precision` (fp32, fp16, bf16) overrides the card's, and is part of the identity; `known_as`: what
    `identify` returned before. Raises WeightsError where the weights cannot be had or do not fit,
    EncoderError where the card and the architecture disagree, the device is missing, or the card or its
    weights are others than they were known as.
    """
    if card.loader == "handcrafted":
        from cytobench.encoders.handcrafted.adapter import HandcraftedEncoder

        return HandcraftedEncoder(card, _handcrafted_identity(card))
    if card.loader == "precomputed":
        raise EncoderError(
            f"{card.name} is a folder of features that another tool computed: there is no network here that "
            "could see other images."
        )
    talk = reporter or _LogReporter()
    card, published = _settled(card, home, digests, download, talk)
    weights = _resolve(card, home, digests, download, talk)
    identity = _network_identity(card, weights, precision) | published
    if known_as is not None and identity != known_as:
        raise EncoderError(
            f"The backbone {card.name} was loaded as something else than its card and weights said before "
            "(did a file change meanwhile?); run again."
        )
    return _network(card, weights, identity, device, str(identity["precision"]), talk)


def _network(
    card: BackboneCard,
    weights: _Weights,
    identity: dict[str, JSON],
    device: str,
    precision: str,
    reporter: Reporter,
) -> Encoder:
    from cytobench.encoders import preprocess
    from cytobench.encoders.network import NetworkEncoder, choose_device

    chosen = choose_device(device)
    built = _build(card, weights.path, reporter)
    if built.dim not in (0, card.dim):
        raise EncoderError(
            f"{card.name}: the card says dim = {card.dim}, but '{card.arch}' with pooling '{card.pooling}' "
            f"gives {built.dim}; correct dim or pooling in the card."
        )
    if built.prepare is not None:
        prepare, key = built.prepare, f"{card.loader}/{card.arch}"
    else:
        assert card.preprocess is not None  # the cards' own rule; a plugin's is checked when it is built
        fill: preprocess.Fill = "black" if card.loader == "open_clip" else "mean"
        prepare = preprocess.make_prepare(card.preprocess, fill=fill)
        key = preprocess.prepare_key(card.preprocess, fill=fill)
    return NetworkEncoder(
        built,
        name=card.name,
        dim=card.dim,
        identity=identity,
        prepare=prepare,
        prepare_key=key,
        preprocess=card.preprocess,
        precision=precision,
        device=chosen,
    )


def _build(card: BackboneCard, path: Path | None, reporter: Reporter) -> Built:
    module = importlib.import_module(f"cytobench.encoders.{_LOADERS.get(card.loader, 'plugin')}")
    built: Built = module.build(card, path, reporter)
    return built


def _settled(
    card: BackboneCard, home: Path, digests: Digests, download: bool, reporter: Reporter
) -> tuple[BackboneCard, dict[str, JSON]]:
    """Return the card with the architecture its publisher describes, if it leaves that to a file."""
    if card.loader != "open_clip":
        return card, {}
    from cytobench.encoders.open_clip_config import settled

    return settled(card, home=home, digests=digests, download=download, reporter=reporter)


def _resolve(
    card: BackboneCard, home: Path, digests: Digests, download: bool, reporter: Reporter
) -> _Weights:
    if card.loader == "null":
        raise EncoderError(
            f"{card.name} predicts without looking, so it has no features; leave it to the probes."
        )
    if card.weights == "random":
        from cytobench.encoders.random_weights import SCHEME

        return _Weights(None, {"random": card.seed, "scheme": SCHEME})
    if card.weights == "none":
        if card.loader in _LOADERS:
            raise WeightsError(f'{card.name}: a network needs weights; give weights = "random" or a file.')
        return _Weights(None, {"none": True})
    from cytobench.encoders.weights import resolve

    found = resolve(
        card.weights,
        sha256=card.sha256,
        card_dir=card.source.parent if card.source is not None else None,
        home=home,
        gated=card.gated,
        licence_url=card.licence_url or card.url,
        download=download,
        reporter=reporter,
        digests=digests,
        customary=_CUSTOMARY.get(card.loader, ()),
    )
    return _Weights(found.path, {"sha256": found.sha256})


def _network_identity(card: BackboneCard, weights: _Weights, precision: str | None) -> dict[str, JSON]:
    chosen = precision or card.precision
    if chosen not in _PRECISIONS:
        raise EncoderError(f"There is no precision '{chosen}'; choose {', '.join(_PRECISIONS)}.")
    semantics: dict[str, Any] = card.semantics()
    semantics.pop("seed")  # it counts only where it made the weights, and is named there
    return {**semantics, "schema": SCHEMA, "weights": weights.identity, "precision": chosen}


def _handcrafted_identity(card: BackboneCard) -> dict[str, JSON]:
    from cytobench.encoders.handcrafted import adapter

    return {**adapter.identity(card), "schema": SCHEMA}


class _LogReporter(SilentReporter):
    """Says through `logging` what nobody asked to see, so that the branch used is in the log at least."""

    def say(self, text: str) -> None:
        """Log a remark."""
        _log.info(text)

    def warn(self, text: str) -> None:
        """Log a warning."""
        _log.warning(text)
