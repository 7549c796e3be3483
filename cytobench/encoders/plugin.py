"""Backbones that a card names as `"package.module:function"`: a few lines of Python of one's own.

The function is called as `function(card, weights_path)`, where `weights_path` is the checked local file or
None (weights "none" or "random"), and returns either

* a `torch.nn.Module` from normalised pixels, float [b, 3, size, size], to features, [b, dim]; the card then
  needs `preprocess`, which is applied as for any other backbone; or
* a pair (module, prepare), where `prepare(crop: uint8 [h, w, 3]) -> array` runs in worker threads and the
  module is handed its stacked results unchanged.

With `weights = "random"` the module's parameters are drawn as for any other random backbone; with "none" they
are left as the function made them. The features' identity holds the function's name, the weights and the
card, but not the function's code: give it a new name when it computes something else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from cytobench.cards import BackboneCard
from cytobench.encoders import random_weights
from cytobench.encoders.network import Built
from cytobench.errors import CytoBenchError, EncoderError
from cytobench.progress import Reporter
from cytobench.registry import import_beside


def build(card: BackboneCard, path: Path | None, reporter: Reporter) -> Built:
    """Return what the card's function makes; raises EncoderError when it cannot be imported or fails."""
    function = find(card)
    try:
        made = function(card, path)
    except CytoBenchError:
        raise
    except Exception as error:  # whatever foreign code raises, the user must learn whose it is
        raise EncoderError(
            f"{card.name}: the loader {card.loader} failed with {type(error).__name__}: {error}; "
            "correct the plugin."
        ) from error
    module, prepare = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module) or not (prepare is None or callable(prepare)):
        raise EncoderError(
            f"{card.name}: the loader {card.loader} returned {type(made).__name__}; it must return a torch "
            "module or a pair (module, prepare)."
        )
    if prepare is None and card.preprocess is None:
        raise EncoderError(
            f"{card.name}: the loader {card.loader} brings no prepare function; add preprocess = {{…}} to "
            "the card."
        )
    if card.weights == "random":
        random_weights.fill(module, card.seed)
    return Built(module, prepare=prepare)


def find(card: BackboneCard) -> Any:
    """Import the card's function; a module beside the card's folder (a plugin folder) is found too."""
    name, _, attribute = card.loader.partition(":")
    try:
        module = import_beside(name, card.source)
        function = getattr(module, attribute)
    except ImportError as error:
        raise EncoderError(
            f"{card.name}: cannot import the loader {card.loader} ({error}); install the plugin's package or "
            "put its module into the plugin folder."
        ) from error
    except AttributeError:
        raise EncoderError(
            f"{card.name}: {name} has no function '{attribute}'; correct loader in the card."
        ) from None
    return function
