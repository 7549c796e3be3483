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
_SHORT = {"precision": "P", "majority vote": "vote"}
_CAPTION = (
    "P: precision, the share of neighbours of the query's class; vote: majority votes that are right; hub "
    "skew: skewness of how often training cells are among each other's 10 nearest (0: even); antihubs: "
    "percent of them that never are."
)


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

    title = f"{results[0].task}  retrieval, percent (means over classes), and hubness"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", collapse_padding=True)
    table.caption, table.caption_justify = _CAPTION, "left"
    table.add_column("backbone", no_wrap=True)
    for words in (*(_heading(name) for name in METRICS), "hub\nskew", "anti-\nhubs"):
        table.add_column(words, justify="right", no_wrap=True)
    skewness, antihubs = FOLD_METRICS
    for result in results:
        scores = (_percent(result.metrics.get(name)) for name in METRICS)
        skewed = result.metrics.get(skewness)
        table.add_row(
            Text(result.backbone),
            *scores,
            "-" if skewed is None else f"{skewed:.2f}",
            _percent(result.metrics.get(antihubs)),
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
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", collapse_padding=True)
    table.add_column("class", no_wrap=True)
    table.add_column("n", justify="right")
    for result in results:
        table.add_column(Text(result.backbone), justify="right", overflow="fold")
    for name, support in _classes(results[0]):
        values = (result.class_scores.get(metric, {}).get(name) for result in results)
        table.add_row(Text(name), f"{support:,}", *(_percent(value) for value in values))
    return table


def _classes(result: RunResult) -> Iterator[tuple[str, int]]:
    return ((one.name, one.support) for one in result.classes if one.support)


def _heading(metric: str) -> str:
    """Return a metric's name over two lines: all of them fit beside each other in a narrow terminal."""
    from cytobench.evaluation.metrics import title_of

    words, _, k = title_of(metric).partition("@")
    return f"{_SHORT.get(words, words)}\n@{k}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
