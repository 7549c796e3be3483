"""What `cytobench run` adds below the scores of a task whose classes form a tree: its wider levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.evaluation.results import RunResult
    from cytobench.evaluation.run import RunOutcome

_CAPTION = (
    "Level 1 is the widest: the probabilities of its classes are summed. The hierarchical distance says how "
    "far up the tree a prediction and the truth meet, 0 for a right one: lower is better."
)


def print_levels(outcomes: Sequence[RunOutcome]) -> None:
    """Print a table for each task with a hierarchy; nothing for the others."""
    from cytobench.cli.console import output

    found = [one.result for one in outcomes if one.result is not None and one.result.hierarchy]
    for task in dict.fromkeys(result.task for result in found):
        output().print(_of_levels([one for one in found if one.task == task]))


def _of_levels(results: Sequence[RunResult]) -> Table:
    """Return the distance, and the scores at every wider level: a line a run."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from cytobench.evaluation.hierarchy import DISTANCE, tree_names
    from cytobench.evaluation.metrics import title_of

    tree = results[0].tree
    names = [name for name in tree_names(tree) if name != DISTANCE] if tree else []
    title = f"{results[0].task}  levels of the hierarchy, percent, and hierarchical distance"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", collapse_padding=True)
    table.caption, table.caption_justify = _CAPTION, "left"
    for words in ("backbone", "probe"):
        table.add_column(words, no_wrap=True)
    for name in names:
        table.add_column(title_of(name).replace(" at ", "\nat "), justify="right", no_wrap=True)
    table.add_column("distance\n(lower: better)", justify="right", no_wrap=True)
    for one in results:
        scores = (one.metrics.get(name) for name in names)
        far = one.metrics.get(DISTANCE)
        table.add_row(
            Text(one.backbone),
            f"{one.probe}{', tuned' if one.tuned else ''}",
            *("-" if value is None else f"{100 * value:.1f}" for value in scores),
            "-" if far is None else f"{far:.3f}",
        )
    return table
