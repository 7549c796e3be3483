"""`cytobench demo`: the whole road on embedded cells, with nothing to download."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import HomeOption, Places, load_registry, places, writing

if TYPE_CHECKING:
    from cytobench.cli.console import ConsoleReporter
    from cytobench.evaluation.run import RunRequest

_BOARD = "demo"
_PICTURED = {"synthetic-cell-type": "label", "synthetic-breast-fna": "kind"}


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where tables and pictures go.")
    ] = Path("cytobench-demo"),
    home: HomeOption = None,
) -> None:
    """Run the benchmark on embedded synthetic cells: CytoFM, as trained here, and four null models.

    Prints a leaderboard and writes tables and pictures; the second time takes seconds.

    Features and results go to DIR/home unless a home is named.

    [dim]Example:[/dim]  cytobench demo --out cytobench-demo
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.cli.run import compare, request_of, require_scores, summarise

    started = time.monotonic()
    beside = None if os.environ.get("CYTOBENCH_HOME") else out / "home"
    where = places(home or beside, None)
    registry = load_registry(None)
    card = registry.leaderboard(_BOARD)
    reporter = ConsoleReporter()
    tasks = list(dict.fromkeys(column.task for column in card.columns))
    probes = list(dict.fromkeys(column.probe for column in card.columns))
    request = request_of(
        registry, where, backbones=card.backbones, tasks=tasks, probes=probes, trials=card.trials
    )
    outcomes = compare(request, reporter)
    require_scores(outcomes)
    _show(request, where, out, reporter)
    summarise(outcomes, where.home, reporter)
    reporter.say(
        f"Done in {time.monotonic() - started:.0f} s. Next: cytobench list backbones; cytobench run --help"
    )


def _show(request: RunRequest, where: Places, out: Path, reporter: ConsoleReporter) -> None:
    """Print the leaderboard and write its files and pictures."""
    from cytobench.cli.console import output
    from cytobench.cli.options import load_registry
    from cytobench.leaderboard.collect import StoredRuns, is_null, rows_of_card
    from cytobench.leaderboard.figures import scores_figure
    from cytobench.leaderboard.render import terminal, write
    from cytobench.leaderboard.table import lay_out
    from cytobench.leaderboard.uncertainty import judge

    card = load_registry(None).leaderboard(_BOARD)
    backbones = {one.name: one for one in request.backbones}
    tasks = {one.name: one for one in request.tasks}
    stored = StoredRuns(where.home, reporter)
    rows = rows_of_card(card, backbones=backbones, tasks=tasks, stored=stored)
    nulls = frozenset(name for name, one in backbones.items() if is_null(one))
    judged = judge(rows, where.home, reporter)
    layout = lay_out(card.title, judged, list(tasks.values()), nulls, remarks=(card.notes,))
    output().print(terminal(layout))
    with writing(out):
        made = write(judged.rows, layout, out, name="leaderboard", command="cytobench demo")
        picture = scores_figure(judged.rows, out / "leaderboard.png", title=card.title)
        sheets = _contact_sheets(request, where, out)
    reporter.say(
        "Written: " + ", ".join(str(path) for path in [*made, *([picture] if picture else []), *sheets])
    )


def _contact_sheets(request: RunRequest, where: Places, out: Path) -> list[Path]:
    """Draw a sheet of example cells per class for each embedded task."""
    from cytobench.datasets.synthetic import classes_sheet
    from cytobench.datasets.task import load_task

    made = []
    for task in request.tasks:
        if task.name in _PICTURED:
            data = load_task(task, data_dirs=where.data, home=where.home)
            made.append(classes_sheet(data.table, out / f"{task.name}.png", column=_PICTURED[task.name]))
    return made
