"""Which patches of which crop the student does not see: block-wise and random masks, and their index lists.

Block-wise masks follow BEiT (Bao et al., ICLR 2022) with iBOT's constants. All crops of a batch are drawn at
once, round by round, which has the same distribution as drawing them one after another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TRIES = 10  # rectangles tried before a crop is left as it is


@dataclass(frozen=True)
class Masking:
    """How crops are masked: every crop picks one of `ratios` +- its `variations`, all equally likely.

    The default is iBOT's: half of the crops unmasked, the other half U(0.1, 0.5) of their patches. `exact`
    masks exactly `exact_share` of the crops and the same total number of patches in every batch, so that
    shapes never change: the masked crops' shares are the midpoints of equal strata of `exact_range`,
    shuffled; blocks that fall short are completed with single patches.
    """

    shape: Literal["block", "random"] = "block"
    ratios: tuple[float, ...] = (0.0, 0.3)
    variations: tuple[float, ...] = (0.0, 0.2)
    log_aspect: float = math.log(1 / 0.3)
    exact: bool = False
    exact_share: float = 0.5
    exact_range: tuple[float, float] = (0.1, 0.5)

    def __post_init__(self) -> None:
        """Refuse ratios that leave [0, 1]; raises ValueError."""
        if not self.ratios or len(self.ratios) != len(self.variations):
            raise ValueError(f"as many variations as ratios are needed: {self.ratios}, {self.variations}")
        spans = [(r - v, r + v) for r, v in zip(self.ratios, self.variations, strict=True)]
        for low, high in [*spans, self.exact_range, (0.0, self.exact_share)]:
            if not 0 <= low <= high <= 1:
                raise ValueError(f"a masked share must lie between 0 and 1, not {low} to {high}")


class MaskBatch(NamedTuple):
    """Masks of a batch of crops and where its masked patches are.

    tokens: bool [crops, N]; patch_index: int64 [P], positions of masked patches in the flattened [crops * N];
    weight: float [P], the share of each masked patch in the patch loss: 1 / (its crop's masked patches *
    crops), and 0 for padding.
    """

    tokens: Bools
    patch_index: Ints
    weight: NDArray[np.floating[Any]]


def draw(masking: Masking, crops: int, grid: tuple[int, int], rng: np.random.Generator) -> Bools:
    """Return masks, bool [crops, height, width], for `crops` crops of `grid` = (height, width) patches."""
    if masking.exact:
        return _draw_exact(masking, crops, grid, rng)
    targets = _draw_ratios(masking, crops, rng) * (grid[0] * grid[1])
    if masking.shape == "random":
        return _scatter(np.floor(targets).astype(np.int64), grid, rng)
    return _blocks(targets, grid, masking.log_aspect, rng)


def exact_count(masking: Masking, crops: int, patches: int) -> int:
    """Return how many patches all batches of `crops` crops have masked in exact mode."""
    return int(_exact_counts(masking, crops, patches).sum())


def index_masks(
    masks: Bools,
    *,
    length: int | None = None,
    multiple: int = 1,
    dtype: type[np.floating[Any]] = np.float32,
) -> MaskBatch:
    """Return the masks with the index list and loss weights of their masked patches.

    masks: bool [crops, height, width] or [crops, N]. The list is padded (index 0, weight 0) to `length`, or
    to the next `multiple`, which changes no loss. Raises ValueError when `length` is too short.
    """
    tokens = masks.reshape(len(masks), -1)
    index = np.flatnonzero(tokens)
    per_crop = tokens.sum(axis=1)
    weight = 1.0 / (np.repeat(per_crop, per_crop) * float(max(1, len(tokens))))
    wanted = -(-len(index) // multiple) * multiple if length is None else length
    if wanted < len(index):
        raise ValueError(f"{len(index)} patches are masked, more than the {wanted} there is room for")
    padding = (0, wanted - len(index))
    return MaskBatch(tokens, np.pad(index, padding), np.pad(weight, padding).astype(dtype))


def _draw_ratios(masking: Masking, crops: int, rng: np.random.Generator) -> Floats:
    centres, spreads = np.asarray(masking.ratios), np.asarray(masking.variations)
    choice = rng.integers(len(centres), size=crops)
    return np.asarray(centres[choice] + spreads[choice] * rng.uniform(-1, 1, size=crops))


def _scatter(counts: Ints, grid: tuple[int, int], rng: np.random.Generator) -> Bools:
    """Mask exactly counts[i] patches of crop i, all sets of that size equally likely."""
    order = rng.random((len(counts), grid[0] * grid[1])).argsort(axis=1).argsort(axis=1)
    return np.asarray(order < counts[:, None]).reshape(-1, *grid)


def _exact_counts(masking: Masking, crops: int, patches: int) -> Ints:
    masked = round(crops * masking.exact_share)
    low, high = masking.exact_range
    shares = low + (np.arange(masked) + 0.5) / max(1, masked) * (high - low)
    counts = np.zeros(crops, dtype=np.int64)
    counts[:masked] = np.rint(shares * patches)
    return counts


def _draw_exact(masking: Masking, crops: int, grid: tuple[int, int], rng: np.random.Generator) -> Bools:
    counts = rng.permutation(_exact_counts(masking, crops, grid[0] * grid[1]))
    if masking.shape == "random":
        return _scatter(counts, grid, rng)
    masks = _blocks(counts.astype(np.float64), grid, masking.log_aspect, rng).reshape(crops, -1)
    # masked patches rank first and keep their place; free ones follow in random order until the count is met
    rank = np.where(masks, -1.0, rng.random(masks.shape)).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank < counts[:, None]).reshape(crops, *grid)


def _blocks(targets: Floats, grid: tuple[int, int], log_aspect: float, rng: np.random.Generator) -> Bools:
    """Cover each crop with rectangles until `targets[i]` patches are masked or none of ten tries fits."""
    masks = np.zeros((len(targets), *grid), dtype=bool)
    active = np.flatnonzero(targets > 0)
    while len(active):
        room = targets[active] - masks[active].sum(axis=(1, 2))
        fits, rectangles = _try_rectangles(masks[active], room, log_aspect, rng)
        active, rectangles = active[fits], rectangles[fits]
        masks[active] |= _paint(rectangles, grid)
        active = active[masks[active].sum(axis=(1, 2)) < targets[active]]
    return masks


def _try_rectangles(
    masks: Bools, room: Floats, log_aspect: float, rng: np.random.Generator
) -> tuple[Bools, Ints]:
    """Return for each crop whether one of its tries fits, and the first that does as (top, left, h, w)."""
    height, width = masks.shape[1:]
    tries = (len(masks), _TRIES)
    smallest = (min(height, width) // 3) ** 2
    area = smallest + (room[:, None] - smallest) * rng.random(tries)
    aspect = np.exp(rng.uniform(-log_aspect, log_aspect, tries))
    h = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    w = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    inside = (h < height) & (w < width)
    h, w = np.where(inside, h, 0), np.where(inside, w, 0)
    top = np.floor(rng.random(tries) * (height - h + 1)).astype(np.int64)
    left = np.floor(rng.random(tries) * (width - w + 1)).astype(np.int64)
    new = h * w - _masked_inside(masks, top, left, h, w)
    valid = inside & (new > 0) & (new <= room[:, None])
    first = valid.argmax(axis=1)
    chosen = np.stack([top, left, h, w], axis=-1)[np.arange(len(masks)), first]
    return valid.any(axis=1), chosen


def _masked_inside(masks: Bools, top: Ints, left: Ints, h: Ints, w: Ints) -> Ints:
    """Count masked patches in each rectangle by a summed-area table."""
    area = np.zeros((len(masks), masks.shape[1] + 1, masks.shape[2] + 1), dtype=np.int64)
    area[:, 1:, 1:] = masks.cumsum(axis=1).cumsum(axis=2)
    crop = np.arange(len(masks))[:, None]
    inside = area[crop, top + h, left + w] - area[crop, top, left + w]
    return np.asarray(inside - area[crop, top + h, left] + area[crop, top, left])


def _paint(rectangles: Ints, grid: tuple[int, int]) -> Bools:
    top, left, h, w = (part[:, None] for part in rectangles.T)
    rows, columns = np.arange(grid[0]), np.arange(grid[1])
    in_rows = (rows >= top) & (rows < top + h)
    in_columns = (columns >= left) & (columns < left + w)
    return np.asarray(in_rows[:, :, None] & in_columns[:, None, :])
