"""Few-shot, stress and dilution curves of one task, as figures of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from cytobench.leaderboard.curves import draw_dilution, draw_shots, draw_stress
from cytobench.leaderboard.site.drawing import Drawing, finish
from cytobench.leaderboard.site.names import file_stem, short
from cytobench.leaderboard.site.stored_curves import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOTS = "Scores after few labelled cells of each class: mean over draws, bands: one standard deviation."
_STRESS = "Scores of the same cells changed (blur, stain, scale, shift), with models fitted on clean cells."
_DILUTION = "AUROC against the share of telling instances in positive bags that were thinned out."


def curve_figures(curves: Curves, task: str) -> list[Drawing]:
    """Return a drawing for each kind of table that is stored; stress has one a probe."""
    made = []
    stem = file_stem("task", task)
    if "shots" in curves.tables:
        table = curves.tables["shots"]
        made.append(
            _finished(draw_shots(_shortened(table)), f"{stem}-shots", "Few labelled cells", _SHOTS, table)
        )
    if "stress" in curves.tables:
        whole = curves.tables["stress"]
        for probe in whole["probe"].unique(maintain_order=True):
            table = whole.filter(pl.col("probe") == probe)
            name = f"{stem}-stress-{file_stem('probe', probe)}"
            made.append(
                _finished(draw_stress(_shortened(table)), name, f"Under stress, {probe}", _STRESS, table)
            )
    if "dilution" in curves.tables:
        table = curves.tables["dilution"]
        figure = draw_dilution(_shortened(table))
        made.append(_finished(figure, f"{stem}-dilution", "Diluted bags", _DILUTION, table))
    return made


def _finished(figure: Figure, name: str, title: str, words: str, table: pl.DataFrame) -> Drawing:
    count = table["backbone"].n_unique()
    return finish(figure, name, title, f"{words} {count} backbones.", table.drop("subset", "task"))


def _shortened(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with names as figures show them; a clash keeps the lines apart."""
    names = table["backbone"].unique(maintain_order=True).to_list()
    called: dict[str, str] = {}
    for name in names:
        plain = short(name)
        called[name] = plain if plain not in called.values() else f"{plain} ({len(called) + 1})"
    return table.with_columns(
        pl.col("backbone").replace_strict(called), pl.col("task").map_elements(short, pl.String)
    )
