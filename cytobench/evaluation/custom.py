"""Probes that plugins bring: found by name, asked what they declare, run under the protocol of all others.

What such a function is given and must return is written in `cytobench.probes.custom`.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cytobench.cards import UNIT_OF_PROBE, ProbeCard
from cytobench.errors import CytoBenchError, ProbeError
from cytobench.evaluation.examples import Ints
from cytobench.evaluation.folds import generator
from cytobench.evaluation.recipes import Features, Floats, InnerFold, Params, Prediction, Training
from cytobench.plugins import harmless, import_beside, probe_of_function, why_broken
from cytobench.probes.custom import read_only, require_probabilities, training_part

_MOST = 500
_ONE_AT_A_TIME = threading.Lock()
"""Foreign code need not be made for several threads, and outer folds are run side by side."""


@dataclass(frozen=True)
class Custom:
    """A plugin's probe as a recipe: `grid`: the values tried of each parameter, `defaults`: untuned ones."""

    name: str
    reference: str
    version: str
    function: Callable[..., Any] = field(repr=False)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    searched: Literal[False] = False

    def default(self, training: Training) -> Params:
        """Return the defaults of the function's own signature."""
        return dict(self.defaults)

    def default_rule(self) -> dict[str, Any]:
        """Return the function's name, its declared version and its defaults."""
        return {"function": self.reference, "version": self.version, "params": dict(self.defaults)}

    def space(self) -> dict[str, Any]:
        """Return the function's name, its declared version and the values tried."""
        grid = {name: list(values) for name, values in self.grid.items()}
        return {"function": self.reference, "version": self.version, "grid": grid}

    def candidates(self) -> list[Params]:
        """Return all combinations, the first parameter varying slowest."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        """Fit every candidate on each inner fold's training rows; all draw from the same random numbers."""
        for k in np.unique(folds):
            rows = np.flatnonzero(folds == k)
            rest = training.take(np.flatnonzero(folds != k))
            held = training.features[rows]
            made = [self._made(rest, one, held, ("inner", int(k))) for one in self.candidates()]
            yield InnerFold(rows, np.stack(made))

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Fit on all of `training` and predict the rows of `test`."""
        return Prediction(self._made(training, params, test, ("refit",)))

    def _made(self, training: Training, params: Params, test: Features, part: tuple[Any, ...]) -> Floats:
        rng = generator(self.reference, *training.key, *part)
        handed = training_part(training.features, training.labels, training.groups, training.n_classes, rng)
        try:
            with _ONE_AT_A_TIME, harmless():
                made = self.function(handed, read_only(test), **params)
            return require_probabilities(made, (len(test), training.n_classes))
        except ProbeError as error:
            raise ProbeError(f"The probe {self._called(params)} {error}; correct the plugin.") from error
        except CytoBenchError:
            raise
        except Exception as error:  # whatever foreign code raises, the user must learn whose it is
            raise ProbeError(
                f"The probe {self._called(params)} failed with {why_broken(error)}; correct the plugin."
            ) from error

    def _called(self, params: Params) -> str:
        given = f" with {', '.join(f'{name} = {value}' for name, value in params.items())}" if params else ""
        return f"{self.reference}{given}"


def card_of_probe(name: str, cards: Mapping[str, ProbeCard], beside: Path | None) -> ProbeCard | None:
    """Return the card of a plugin's probe, None for a probe of CytoBench's own or a name that nobody knows.

    `cards`: known ones by name; `beside`: the card file that names it, in whose plugin folder the module of
    `package.module:function` may lie. Raises CardError when that cannot be imported.
    """
    if name in UNIT_OF_PROBE or (name not in cards and ":" not in name):
        return None
    return cards[name] if name in cards else probe_of_function(name, [beside] if beside else [])


def custom_recipe(card: ProbeCard) -> Custom:
    """Import a card's function and read what its module declares: GRID, VERSION, UNIT.

    Raises ProbeError when it cannot be imported or declares what cannot be used.
    """
    name, _, attribute = card.function.partition(":")
    try:
        module = import_beside(name, card.source)
    except Exception as error:  # whatever foreign code raises, the user must learn whose it is
        raise ProbeError(
            f"{card.name}: the probe {card.function} cannot be imported ({why_broken(error)}); install the "
            "plugin's package or put its module into the plugin folder."
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ProbeError(f"{card.name}: {name} has no function '{attribute}'; correct function in the card.")
    unit, version = getattr(module, "UNIT", card.unit), getattr(module, "VERSION", "")
    if unit != card.unit:
        raise ProbeError(
            f'{card.name}: the card says unit = "{card.unit}" and {name} UNIT = {unit!r}; correct one.'
        )
    grid = _grid(card, getattr(module, "GRID", {}))
    return Custom(card.name, card.function, str(version), function, grid, _defaults(card, function, grid))


def _grid(card: ProbeCard, declared: Any) -> dict[str, tuple[Any, ...]]:
    usable = isinstance(declared, Mapping) and all(
        isinstance(name, str)
        and isinstance(values, list | tuple)
        and values
        and all(isinstance(value, bool | int | float | str) for value in values)
        for name, values in declared.items()
    )
    if not usable:
        raise ProbeError(
            f"{card.name}: GRID beside {card.function} must give a list of numbers, texts or truth values "
            f"for each parameter, not {declared!r}."
        )
    grid = {name: tuple(values) for name, values in declared.items()}
    count = int(np.prod([len(values) for values in grid.values()], dtype=np.int64))
    if count > _MOST:
        raise ProbeError(
            f"{card.name}: GRID beside {card.function} has {count} settings; {_MOST} are enough."
        )
    return grid


def _defaults(card: ProbeCard, function: Callable[..., Any], grid: Mapping[str, tuple[Any, ...]]) -> Params:
    """Return the untuned value of each parameter of the grid."""
    takes = inspect.signature(function).parameters
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in takes.values())
    unknown = [name for name in grid if name not in [*takes][2:] and not anything]
    if unknown:
        raise ProbeError(
            f"{card.name}: GRID names {', '.join(unknown)}, and {card.function} has no such keyword "
            f"parameter (it has {', '.join([*takes][2:]) or 'none'})."
        )
    given = {name: takes[name].default for name in grid if name in takes}
    absent = inspect.Parameter.empty
    return {name: grid[name][0] if given.get(name, absent) is absent else given[name] for name in grid}
