"""A run's log: a row every few steps as CSV, and a picture of its curves."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.errors import StoreError
from cytobench.features.durable import save_durably, unwritable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Row:
    """Means since the last row; entropies in nats; knn: balanced accuracy, nan where not measured."""

    step: int
    epoch: int
    images: int
    seconds: float
    loss: float
    cls: float
    patch: float
    teacher_entropy: float
    marginal_entropy: float
    gradient_norm: float
    lr: float
    weight_decay: float
    momentum: float
    temperature: float
    images_per_second: float
    waited: float
    mfu: float
    knn: float = math.nan


class Log:
    """The file of rows; reopened after an interruption, rows past the last checkpoint are taken back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names = [one.name for one in fields(Row)]

    def take_back(self, steps_done: int) -> None:
        """Keep the rows up to `steps_done` alone; the file is whole at any moment. Raises StoreError."""
        held = read_rows(self.path) if self.path.exists() else []
        kept = [row for row in held if int(float(row["step"])) <= steps_done]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names)
        writer.writeheader()
        writer.writerows(kept)
        save_durably(self.path, lambda file: file.write(text.getvalue().encode()), option="--out")

    def add(self, row: Row) -> None:
        """Append a row; raises StoreError."""
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._names).writerow(
                    {name: _short(value) for name, value in asdict(row).items()}
                )
        except OSError as error:
            raise unwritable(self.path.parent, error, option="--out") from error


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the whole rows of a log; a last line cut short by a kill is dropped. Raises StoreError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}).") from error
    return [row for row in rows if None not in row.values() and None not in row]


def draw_curves(path: Path, picture: Path, *, prototypes: int, title: str) -> Path | None:
    """Draw losses, entropies, nearest neighbours and speed over the steps; None without matplotlib.

    Writes PNG or SVG by the suffix of `picture`.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = read_rows(path)
    if not rows:
        return None
    columns = {name: [float(row[name]) for row in rows] for name in rows[0]}
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained")
    steps = columns["step"]
    _lines(axes[0, 0], steps, columns, {"cls": "class token", "patch": "masked patches"}, "loss, nats")
    entropies = {"teacher_entropy": "of one answer", "marginal_entropy": "of the mean answer"}
    _lines(axes[0, 1], steps, columns, entropies, "teacher's entropy, nats")
    axes[0, 1].axhline(math.log(prototypes), color="0.6", lw=1, ls="--")
    axes[0, 1].annotate("ln K", (steps[0], math.log(prototypes)), va="bottom", color="0.4", fontsize=8)
    _points(axes[1, 0], steps, columns["knn"])
    _lines(axes[1, 1], steps, columns, {"images_per_second": "images a second"}, "images / s")
    axes[1, 1].set_ylim(bottom=0)
    for axis in axes.flat:
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=130, format=picture.suffix.removeprefix("."))
    plt.close(figure)
    save_durably(picture, lambda file: file.write(drawn.getbuffer()), option="--out")
    return picture


def _lines(
    axis: Axes,
    steps: Sequence[float],
    columns: Mapping[str, Sequence[float]],
    shown: Mapping[str, str],
    name: str,
) -> None:
    for colour, (column, label) in zip(("#0173b2", "#de8f05"), shown.items(), strict=False):
        axis.plot(steps, columns[column], color=colour, lw=1.2, label=label)
    axis.set_ylabel(name)
    if len(shown) > 1:
        axis.legend(frameon=False, fontsize=9)


def _points(axis: Axes, steps: Sequence[float], values: Sequence[float]) -> None:
    measured = [(step, 100 * value) for step, value in zip(steps, values, strict=True) if value == value]
    if measured:
        axis.plot(*zip(*measured, strict=True), marker="o", ms=3, color="#029e73", lw=1.2)
    else:
        axis.annotate(
            "no labelled cells given", (0.5, 0.5), xycoords="axes fraction", ha="center", color="0.5"
        )
    axis.set_ylabel("nearest neighbours, balanced accuracy %")


def _short(value: float) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
