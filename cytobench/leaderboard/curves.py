"""Curves of backbones: under stress, against the share of telling cells, after few labelled ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLEAN = {"scale": 1.0}
_SAFE = 10
"""So many colours can be told apart without seeing all of them."""
_AXES = {
    "defocus": "defocus, radius / side",
    "stain": "stain, density change",
    "hue": "hue, turn",
    "scale": "scale",
    "shift": "shift / side",
}


def stress_figure(table: pl.DataFrame, path: Path) -> Path:
    """Draw a panel a kind of change: every backbone's score against its strength; one task and probe."""
    kinds = [kind for kind in _AXES if kind in table["kind"].unique().to_list()]
    mine, colours = table, _colours(table)

    def draw(axis: Axes, place: int) -> None:
        kind = kinds[place]
        clean = mine.filter(pl.col("kind") == "none").with_columns(
            pl.lit(_CLEAN.get(kind, 0.0)).alias("level")
        )
        both = pl.concat([mine.filter(pl.col("kind") == kind), clean]).sort("level")
        _lines(axis, both, "level", "value", colours)
        axis.set_xlabel(_AXES[kind])

    title = f"{mine['task'][0]}: {mine['probe'][0]} under stress (n = {mine['n'][0]:,})"
    return _figure(path, title, len(kinds), draw, ylabel=mine["metric"][0].replace("_", " "))


def dilution_figure(table: pl.DataFrame, path: Path) -> Path:
    """Draw AUROC against the share of telling instances, a panel a probe; one task."""
    probes, colours = table["probe"].unique(maintain_order=True).to_list(), _colours(table)

    def draw(axis: Axes, place: int) -> None:
        mine = table.filter(pl.col("probe") == probes[place]).sort("fraction")
        _lines(axis, mine, "fraction", "value", colours)
        axis.set_xscale("log")
        ticks = mine["fraction"].unique().sort().to_list()
        axis.set_xticks(ticks, [f"{100 * one:g} %" for one in ticks])
        axis.minorticks_off()
        axis.set_xlabel(f"share of telling instances ({probes[place]})")

    return _figure(path, f"{table['task'][0]}: diluted bags", len(probes), draw, ylabel="AUROC")


def shots_figure(table: pl.DataFrame, path: Path) -> Path:
    """Draw the score against the number of cells of each class, a panel a probe; bands: seeds; one task."""
    probes, colours = table["probe"].unique(maintain_order=True).to_list(), _colours(table)
    means = table.group_by("backbone", "probe", "shots", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("value").std().fill_null(0.0).alias("sd")
    )

    def draw(axis: Axes, place: int) -> None:
        mine = means.filter(pl.col("probe") == probes[place]).sort("shots")
        _lines(axis, mine, "shots", "value", colours, band="sd")
        axis.set_xscale("log", base=2)
        ticks = mine["shots"].unique().sort().to_list()
        axis.set_xticks(ticks, [str(one) for one in ticks])
        axis.set_xlabel(f"cells of each class ({probes[place]})")

    title = f"{table['task'][0]}: few labelled cells"
    return _figure(path, title, len(probes), draw, ylabel=table["metric"][0].replace("_", " "))


def _colours(table: pl.DataFrame) -> dict[str, object]:
    """Return a colour for each backbone, the same in all panels."""
    import seaborn as sns

    names = table["backbone"].unique().sort().to_list()
    palette = sns.color_palette("colorblind" if len(names) <= _SAFE else "husl", len(names))
    return dict(zip(names, palette, strict=True))


def _lines(
    axis: Axes, table: pl.DataFrame, x: str, y: str, colours: Mapping[str, object], *, band: str = ""
) -> None:
    for name, colour in colours.items():
        mine = table.filter(pl.col("backbone") == name)
        if mine.is_empty():
            continue
        axis.plot(mine[x].to_numpy(), mine[y].to_numpy(), marker="o", ms=3.5, color=colour, label=name)
        if band:
            low, high = (mine[y] - mine[band]).to_numpy(), (mine[y] + mine[band]).to_numpy()
            axis.fill_between(mine[x].to_numpy(), low, high, color=colour, alpha=0.15, linewidth=0)


def _figure(path: Path, title: str, panels: int, draw: Callable[[Axes, int], None], *, ylabel: str) -> Path:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.85)
    figure, axes = plt.subplots(1, panels, figsize=(3.1 * panels + 0.6, 3.6), squeeze=False, sharey=True)
    for place in range(panels):
        draw(axes[0, place], place)
    axes[0, 0].set_ylabel(ylabel)
    found: dict[str, Any] = {}
    for axis in axes[0]:
        found |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    labels, handles = list(found), list(found.values())
    columns = min(len(labels), 2 * panels)
    rows = -(-len(labels) // columns)
    figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False)
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    figure.tight_layout(rect=(0, 0.07 * rows, 1, 0.99))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path
