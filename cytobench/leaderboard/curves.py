"""Curves of backbones: under stress, against the share of telling cells, after few labelled ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cytobench.evaluation.metrics import title_of
from cytobench.leaderboard.looks import Look, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLEAN = {"scale": 1.0}
_AXES = {
    "defocus": "defocus, radius / side",
    "stain": "stain, density change",
    "hue": "hue, turn",
    "scale": "scale",
    "shift": "shift / side",
}


def stress_figure(table: pl.DataFrame, path: Path) -> Path:
    """Write the picture of `draw_stress` to `path` and return it."""
    return _saved(draw_stress, table, path)


def dilution_figure(table: pl.DataFrame, path: Path) -> Path:
    """Write the picture of `draw_dilution` to `path` and return it."""
    return _saved(draw_dilution, table, path)


def shots_figure(table: pl.DataFrame, path: Path) -> Path:
    """Write the picture of `draw_shots` to `path` and return it."""
    return _saved(draw_shots, table, path)


def draw_stress(table: pl.DataFrame) -> Figure:
    """Draw a panel a kind of change: every backbone's score against its strength; one task and probe."""
    kinds = [kind for kind in _AXES if kind in table["kind"].unique().to_list()]
    mine, styles = table, _looks(table)

    def draw(axis: Axes, place: int) -> None:
        kind = kinds[place]
        clean = mine.filter(pl.col("kind") == "none").with_columns(
            pl.lit(_CLEAN.get(kind, 0.0)).alias("level")
        )
        both = pl.concat([mine.filter(pl.col("kind") == kind), clean]).sort("level")
        _lines(axis, both, "level", "value", styles)
        axis.set_xlabel(_AXES[kind])

    title = f"{mine['task'][0]}: {mine['probe'][0]} under stress (n = {mine['n'][0]:,})"
    return _figure(title, len(kinds), draw, ylabel=title_of(mine["metric"][0]))


def draw_dilution(table: pl.DataFrame) -> Figure:
    """Draw AUROC against the share of telling instances, a panel a probe; one task."""
    probes, styles = table["probe"].unique(maintain_order=True).to_list(), _looks(table)

    def draw(axis: Axes, place: int) -> None:
        mine = table.filter(pl.col("probe") == probes[place]).sort("fraction")
        _lines(axis, mine, "fraction", "value", styles)
        axis.set_xscale("log")
        ticks = mine["fraction"].unique().sort().to_list()
        axis.set_xticks(ticks, [f"{100 * one:g} %" for one in ticks])
        axis.minorticks_off()
        axis.set_xlabel(f"share of telling instances ({probes[place]})")

    return _figure(f"{table['task'][0]}: diluted bags", len(probes), draw, ylabel="AUROC")


def draw_shots(table: pl.DataFrame) -> Figure:
    """Draw the score against the number of cells of each class, a panel a probe; bands: seeds; one task."""
    probes, styles = table["probe"].unique(maintain_order=True).to_list(), _looks(table)
    means = table.group_by("backbone", "probe", "shots", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("value").std().fill_null(0.0).alias("sd")
    )

    def draw(axis: Axes, place: int) -> None:
        mine = means.filter(pl.col("probe") == probes[place]).sort("shots")
        _lines(axis, mine, "shots", "value", styles, band="sd")
        axis.set_xscale("log", base=2)
        ticks = mine["shots"].unique().sort().to_list()
        axis.set_xticks(ticks, [str(one) for one in ticks])
        axis.set_xlabel(f"cells of each class ({probes[place]})")

    title = f"{table['task'][0]}: few labelled cells"
    return _figure(title, len(probes), draw, ylabel=title_of(table["metric"][0]))


def _looks(table: pl.DataFrame) -> dict[str, Look]:
    """Return a look for each backbone, the same in all panels."""
    return looks(table["backbone"].unique().sort().to_list())


def _lines(
    axis: Axes, table: pl.DataFrame, x: str, y: str, styles: Mapping[str, Look], *, band: str = ""
) -> None:
    for name, look in styles.items():
        mine = table.filter(pl.col("backbone") == name)
        if mine.is_empty():
            continue
        axis.plot(mine[x].to_numpy(), mine[y].to_numpy(), label=name, ms=4, **look.line)
        if band:
            low, high = (mine[y] - mine[band]).to_numpy(), (mine[y] + mine[band]).to_numpy()
            axis.fill_between(mine[x].to_numpy(), low, high, color=look.colour, alpha=0.15, linewidth=0)


def _figure(title: str, panels: int, draw: Callable[[Axes, int], None], *, ylabel: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * panels + 0.6, 3.6))
    axes = figure.subplots(1, panels, squeeze=False, sharey=True)
    for place in range(panels):
        draw(axes[0, place], place)
    axes[0, 0].set_ylabel(ylabel)
    found: dict[str, Any] = {}
    for axis in axes[0]:
        found |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    labels, handles = list(found), list(found.values())
    columns = min(len(labels), 2 * panels)
    rows = -(-len(labels) // columns)
    figure.set_size_inches(figure.get_figwidth(), 3.4 + 0.22 * rows)
    figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False)
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    figure.tight_layout(rect=(0, 0.24 * rows / figure.get_figheight(), 1, 0.99))
    return figure


def _saved(draw: Callable[[pl.DataFrame], Figure], table: pl.DataFrame, path: Path) -> Path:
    """Draw a table in seaborn's style, write it to `path` and return that."""
    import seaborn as sns

    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.85)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(table).savefig(path, dpi=150)
    return path
