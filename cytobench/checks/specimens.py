"""Pictures on which a backbone is examined: drawn cells, and what no laboratory would send."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Crop = npt.NDArray[np.uint8]
_SIDE = 96


def cells(count: int) -> list[Crop]:
    """Return up to 8 drawn cells of different kinds and stains, uint8 [h, w, 3] of different shapes."""
    from cytobench.datasets.synthetic.plan import pictures, render

    first: dict[str, Crop] = {}
    for picture in pictures():
        if picture.kind not in first:
            first[picture.kind] = render(picture, picture.slide.look)
        if len(first) == count:
            break
    return [_cut(crop, number) for number, crop in enumerate(first.values())]


def _cut(crop: Crop, number: int) -> Crop:
    """Every second crop is not square: boxes of cells rarely are."""
    height = crop.shape[0] - (8 * number if number % 2 else 0)
    return np.ascontiguousarray(crop[:height])


def extremes() -> Mapping[str, Crop]:
    """Return crops at the edge of what may come, by name: uint8 [h, w, 3]."""
    noise = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    return {
        "black": np.zeros((_SIDE, _SIDE, 3), np.uint8),
        "white": np.full((_SIDE, _SIDE, 3), 255, np.uint8),
        "noise": noise,
        "tiny (5 x 5)": np.ascontiguousarray(noise[:5, :5]),
        "one pixel": np.ascontiguousarray(noise[:1, :1]),
        "narrow (12 x 96)": np.ascontiguousarray(noise[:12]),
    }
