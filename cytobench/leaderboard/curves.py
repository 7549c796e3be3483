"""Curves of backbones: under stress, against the share of telling cells, after few labelled ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLEAN = {"scale": 1.0}
_AXES = {
    "defocus": "defocus, radius / side",
    "stain": "stain, density change",
    "hue": "hue, turn",
    "scale": "scale",
    "shift": "shift / side",
}


def stress_figure(table: pl.DataFrame, path: Path) -> Path:
    """Draw a panel a kind of change: the score of every backbone against its strength; one task."""
    kinds = [kind for kind in _AXES if kind in table["kind"].unique().to_list()]
    probe = table["probe"].unique(maintain_order=True)[0]
    mine = table.filter(pl.col("probe") == probe)

    def draw(axis: Axes, place: int) -> None:
        kind = kinds[place]
        clean = mine.filter(pl.col("kind") == "none").with_columns(
            pl.lit(_CLEAN.get(kind, 0.0)).alias("level")
        )
        both = pl.concat([mine.filter(pl.col("kind") == kind), clean]).sort("level")
        _lines(axis, both, "level", "value")
        axis.set_xlabel(_AXES[kind])

    title = f"{mine['task'][0]}: {probe} under stress (n = {mine['n'][0]:,})"
    return _figure(path, title, len(kinds), draw, ylabel=mine["metric"][0].replace("_", " "))


def dilution_figure(table: pl.DataFrame, path: Path) -> Path:
    """Draw AUROC against the share of telling instances, a panel a probe; one task."""
    probes = table["probe"].unique(maintain_order=True).to_list()

    def draw(axis: Axes, place: int) -> None:
        _lines(axis, table.filter(pl.col("probe") == probes[place]).sort("fraction"), "fraction", "value")
        axis.set_xscale("log")
        axis.set_xlabel(f"share of telling instances ({probes[place]})")

    return _figure(path, f"{table['task'][0]}: diluted bags", len(probes), draw, ylabel="AUROC")


def shots_figure(table: pl.DataFrame, path: Path) -> Path:
    """Draw the score against the number of cells of each class, a panel a probe; bands: seeds; one task."""
    probes = table["probe"].unique(maintain_order=True).to_list()
    means = table.group_by("backbone", "probe", "shots", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("value").std().fill_null(0.0).alias("sd")
    )

    def draw(axis: Axes, place: int) -> None:
        mine = means.filter(pl.col("probe") == probes[place]).sort("shots")
        _lines(axis, mine, "shots", "value", band="sd")
        axis.set_xscale("log", base=2)
        ticks = mine["shots"].unique().sort().to_list()
        axis.set_xticks(ticks, [str(one) for one in ticks])
        axis.set_xlabel(f"cells of each class ({probes[place]})")

    title = f"{table['task'][0]}: few labelled cells"
    return _figure(path, title, len(probes), draw, ylabel=table["metric"][0].replace("_", " "))


def _lines(axis: Axes, table: pl.DataFrame, x: str, y: str, *, band: str = "") -> None:
    import seaborn as sns

    names = table["backbone"].unique(maintain_order=True).sort().to_list()
    for name, colour in zip(names, sns.color_palette("colorblind", len(names)), strict=True):
        mine = table.filter(pl.col("backbone") == name)
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
    handles, labels = axes[0, 0].get_legend_handles_labels()
    columns = min(len(labels), 2 * panels)
    rows = -(-len(labels) // columns)
    figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False)
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    figure.tight_layout(rect=(0, 0.07 * rows, 1, 0.99))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path
