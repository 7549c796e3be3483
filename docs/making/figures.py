"""Figures computed at build time with the statistics that CytoBench itself uses."""

from __future__ import annotations

import io
import re

import numpy as np

from cytobench.statistics.ranks import Contest, contest, critical_value, rank_intervals
from cytobench.statistics.weighted import Scored

_PATIENTS, _CELLS, _SEED = 60, 40, 3
_SKILLS = {"A": 1.30, "B": 1.28, "C": 1.0, "D": 0.72, "E": 0.70}
_INK = "#123456"  # replaced by the colour of the page's text


def ranks() -> str:
    """Return five simulated backbones: overlapping intervals, and the ranks that paired differences leave."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    found = _simulated()
    places = rank_intervals(found, critical_value([found]))
    if places[0, 1] != 2 or places[2, 0] < 2 or found.intervals[0].low > found.intervals[2].high:
        raise ValueError("The figure of ranks no longer shows what its caption says: choose other skills.")
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "cytobench",
        "font.family": "sans-serif",
        "font.size": 10,
    }
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    )
    with mpl.rc_context(style | ink):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.5), sharey=True, layout="constrained")
        rows = np.arange(len(_SKILLS))
        for row, one in enumerate(found.intervals):
            left.plot([100 * one.low, 100 * one.high], [row, row], color=_INK, lw=1.5)
            right.plot(places[row], [row, row], color="#7e57c2", lw=6, solid_capstyle="round")
        left.plot(100 * found.values, rows, "o", color="#7e57c2")
        left.set(yticks=rows, yticklabels=list(_SKILLS), xlabel="balanced accuracy, %, with 95 % intervals")
        right.set(xticks=range(1, len(_SKILLS) + 1), xlabel="ranks that remain possible (max-T)")
        left.invert_yaxis()
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return _inline(text.getvalue())


def _simulated() -> Contest:
    """Return a contest over patients who are hard, or easy, for all backbones alike."""
    rng = np.random.default_rng(_SEED)
    patient = np.repeat(np.arange(_PATIENTS), _CELLS)
    labels = rng.integers(0, 2, len(patient))
    hardness = rng.normal(0, 1.0, _PATIENTS)[patient] + rng.normal(0, 0.8, len(patient))
    runs = []
    for skill in _SKILLS.values():
        right = skill - hardness + rng.normal(0, 0.35, len(patient)) > 0
        score = np.where(right == (labels == 1), 0.8, 0.2)
        both = np.stack([1 - score, score], axis=1)
        runs.append(Scored(labels, both, np.zeros(len(patient), np.int64), patient, _PATIENTS))
    made = contest("balanced_accuracy", runs)
    assert made is not None  # sixty groups are enough
    return made


def _inline(svg: str) -> str:
    drawing = re.sub(r"\n\s*", " ", svg[svg.index("<svg") :]).replace(_INK, "currentColor")
    drawing = re.sub(
        r'(<svg [^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", drawing, count=1),
        count=1,
    )
    caption = (
        f"Five simulated backbones on the same {_PATIENTS} patients. Left: the intervals of C and of A "
        "overlap. Right: "
        "patients who are hard are hard for all, so the paired differences vary far less: C cannot be "
        "first, while A "
        "and B, and D and E, are tied."
    )
    opening = f'<figure class="drawing" role="img" aria-label="{caption}">'
    return f"{opening}{drawing}<figcaption>{caption}</figcaption></figure>"
