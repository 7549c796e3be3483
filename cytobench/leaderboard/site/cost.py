"""What a backbone costs: its parameters, counted, and images a second, where stored runs measured them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from cytobench.cards import BackboneCard
from cytobench.encoders.size import parameters_of
from cytobench.evaluation.plan import Problem, attempt
from cytobench.evaluation.results import RunResult

_EVERY_ROW_IS_TESTED = ("grouped-kfold", "leave-one-group-out")


@dataclass(frozen=True)
class Cost:
    """What one backbone costs.

    `parameters`: None where they are not known; `rates`: images/s of the network alone by kind of device,
    the median over tasks, empty where nothing was measured; `dim`: length of a feature vector.
    """

    parameters: int | None
    dim: int
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def parameters_text(self) -> str:
        """The number of parameters as people say it."""
        if self.parameters is None:
            return "not known"
        if self.parameters == 0:
            return "none"
        millions = self.parameters / 1e6
        return f"{millions:,.1f} M" if millions < 100 else f"{millions:,.0f} M"

    @property
    def rates_text(self) -> str:
        """Images a second by device as people say it."""
        if not self.rates:
            return "not measured"
        return ", ".join(f"{_rounded(rate)}/s ({device})" for device, rate in sorted(self.rates.items()))


def parameters(cards: Sequence[BackboneCard]) -> dict[str, int | None]:
    """Return the parameters of each backbone; None where its architecture cannot be built here."""
    return {card.name: _count(card) for card in cards}


def costs_of(
    cards: Iterable[BackboneCard], runs: Iterable[RunResult], counted: Mapping[str, int | None]
) -> dict[str, Cost]:
    """Return what every backbone costs: its counted parameters, and what runs that used it measured."""
    measured = _rates(runs)
    return {card.name: Cost(counted.get(card.name), card.dim, measured.get(card.name, {})) for card in cards}


def as_table(costs: Mapping[str, Cost]) -> pl.DataFrame:
    """Return a line a backbone: backbone, parameters, dim, and images_per_second_<device>."""
    devices = sorted({device for cost in costs.values() for device in cost.rates})
    schema = {"backbone": pl.String, "parameters": pl.Int64, "dim": pl.Int64}
    schema |= {f"images_per_second_{device}": pl.Float64 for device in devices}
    rows = [
        [name, cost.parameters, cost.dim, *(cost.rates.get(device) for device in devices)]
        for name, cost in costs.items()
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def device_of(costs: Mapping[str, Cost]) -> str:
    """Return the kind of device on which most backbones were measured, "" where none was."""
    counts: dict[str, int] = {}
    for cost in costs.values():
        for device in cost.rates:
            counts[device] = counts.get(device, 0) + 1
    return max(sorted(counts), key=lambda device: counts[device]) if counts else ""


def _count(card: BackboneCard) -> int | None:
    found = attempt(partial(parameters_of, card))
    return None if isinstance(found, Problem) else found  # the reason stands with the runs that failed for it


def _rates(runs: Iterable[RunResult]) -> dict[str, dict[str, float]]:
    """Return images/s by backbone and kind of device, from tasks whose every cell is tested once.

    Only of these the number of encoded images is the number of predictions.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        seconds = run.seconds.get("encode", 0.0)
        if seconds > 0 and run.unit == "cell" and run.split.kind in _EVERY_ROW_IS_TESTED:
            of_device = found.setdefault(run.backbone, {}).setdefault(run.device.split(":")[0], {})
            of_device.setdefault(run.task, run.n / seconds)
    return {
        backbone: {device: statistics.median(tasks.values()) for device, tasks in devices.items()}
        for backbone, devices in found.items()
    }


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
