"""What every probe demands of the arrays it is given, checked in one place and said in one sentence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError, ProtocolError


def check_labels(labels: npt.ArrayLike, n_classes: int) -> npt.NDArray[np.int64]:
    """Return `labels` as int64 [n].

    Raises:
        ProtocolError: there are no rows, or a label lies outside 0..n_classes-1.
    """
    checked = np.asarray(labels, dtype=np.int64)
    if checked.ndim != 1 or checked.size == 0:
        raise ProtocolError(
            "A probe was given no labelled training row: use fewer folds or check the task's labels."
        )
    if checked.min() < 0 or checked.max() >= n_classes:
        outside = checked[(checked < 0) | (checked >= n_classes)][0]
        raise ProtocolError(
            f"A probe was given the class index {outside} while the task has {n_classes} classes (0 to "
            f"{n_classes - 1}): check the task card's list of classes."
        )
    return checked


def check_features(features: npt.ArrayLike, n_rows: int | None, what: str) -> npt.NDArray[np.float32]:
    """Return `features` as C-ordered float32 [n, d]; `what` names them in messages ("training", "test").

    Raises:
        DataError: they are not a table of `n_rows` rows, or hold NaN or infinity.
    """
    checked = np.ascontiguousarray(features, dtype=np.float32)
    if checked.ndim != 2 or (n_rows is not None and len(checked) != n_rows):
        expected = "a table" if n_rows is None else f"{n_rows} rows"
        raise DataError(
            f"The {what} features have the shape {checked.shape} where {expected} was expected: "
            "extract them again."
        )
    sums = checked @ np.ones(
        checked.shape[1], np.float32
    )  # one fast pass; only odd rows are looked at closely
    for row in np.flatnonzero(~np.isfinite(sums)):
        if not np.isfinite(checked[row]).all():
            raise DataError(f"Row {row} of the {what} features holds NaN or infinity: extract it again.")
    return checked
