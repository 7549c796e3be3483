"""What `cytobench run` adds below the scores of the retrieval probe: other cut-offs, hubness, classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.evaluation.results import RunResult
    from cytobench.evaluation.run import RunOutcome

_ABREAST = 5
"""So many backbones stand beside each other in a table of classes."""


def print_retrieval(outcomes: Sequence[RunOutcome]) -> None:
    """Print two tables for each task that the retrieval probe was run on; nothing where it was not."""
    from cytobench.cli.console import output

    found = [one.result for one in outcomes if one.probe == "retrieval" and one.result is not None]
    for task in dict.fromkeys(result.task for result in found):
        mine = sorted((one for one in found if one.task == task), key=lambda one: -one.value)
        output().print(_of_backbones(mine))
        for first in range(0, len(mine), _ABREAST):
            output().print(_of_classes(mine[first : first + _ABREAST]))


def _of_backbones(results: Sequence[RunResult]) -> Table:
    """Return every score at every number of neighbours, and hubness: a line a backbone."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from cytobench.evaluation.results import FOLD_METRICS
    from cytobench.evaluation.retrieval import METRICS

    title = f"{results[0].task}  retrieval in percent, means over classes; hubness of the galleries"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("backbone", no_wrap=True)
    for words in (*(_heading(name) for name in METRICS), "hubness\nskewness", "nobody's\nneighbour"):
        table.add_column(words, justify="right")
    skewness, antihubs = FOLD_METRICS
    for result in results:
        scores = (_percent(result.metrics.get(name)) for name in METRICS)
        skewed = result.metrics.get(skewness)
        table.add_row(
            Text(result.backbone),
            *scores,
            "-" if skewed is None else f"{skewed:.2f}",
            _percent(result.metrics.get(antihubs), " %"),
        )
    return table


def _of_classes(results: Sequence[RunResult]) -> Table:
    """Return the primary metric of each class: a line a class, a column a backbone."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from cytobench.evaluation.metrics import title_of

    metric = results[0].metric
    title = f"{results[0].task}  {title_of(metric)} by class, percent"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("class", no_wrap=True)
    table.add_column("n", justify="right")
    for result in results:
        table.add_column(Text(result.backbone), justify="right")
    for name, support in _classes(results[0]):
        values = (result.class_scores.get(metric, {}).get(name) for result in results)
        table.add_row(Text(name), f"{support:,}", *(_percent(value) for value in values))
    return table


def _classes(result: RunResult) -> Iterator[tuple[str, int]]:
    return ((one.name, one.support) for one in result.classes if one.support)


def _heading(metric: str) -> str:
    """Return a metric's name over two lines where it has two words."""
    from cytobench.evaluation.metrics import title_of

    return title_of(metric).replace("majority ", "majority\n")


def _percent(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{100 * value:.1f}{unit}"
