"""`cytobench compare`: backbones pair by pair on one task, with intervals and tests."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import HomeOption, PluginOption, load_registry, places
from cytobench.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.leaderboard.duels import Duel

_FEW = 2
_COLUMNS = ("probe", "A", "B", "A - B [95 %]", "p (Holm)", "effect", "groups (for A : B)", "detectable", "")


def compare(
    backbones: Annotated[
        list[str], typer.Argument(metavar="A B…", help="Two or more backbones that have run on the task.")
    ],
    task: Annotated[str, typer.Option("--task", "-t", metavar="NAME", help="The task.")],
    probe: Annotated[
        str | None, typer.Option("--probe", "-p", help="One probe only; default: all.", show_default=False)
    ] = None,
    tuned: Annotated[
        bool | None,
        typer.Option("--tuned/--untuned", help="One of the two only; default: both.", show_default=False),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Default: the task's own.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the runs compared.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Compare backbones pair by pair on one task, from stored runs.

    Shows the difference with its 95 % interval, p-value, effect, the number of groups, and the smallest
    difference the task would have found. All on the same cells and samples of groups; p-values are corrected
    for all pairs shown (Holm).

    [dim]Example:[/dim]  cytobench compare uni dinov2-vitb14 --task cell-type-pbc
    """
    from cytobench.cli.console import ConsoleReporter, output
    from cytobench.interchange.foreign_cards import with_imported
    from cytobench.leaderboard.collect import StoredRuns
    from cytobench.leaderboard.duels import as_record, duels

    where = places(home, None)
    registry = with_imported(load_registry(plugin, home=home), where.home)
    names = [registry.backbone(name).name for name in dict.fromkeys(backbones)]
    if len(names) < _FEW:
        raise UsageError("Name two different backbones to compare.")
    stored = StoredRuns(where.home, ConsoleReporter())
    found = duels(
        names,
        registry.task(task),
        stored,
        where.home,
        probe=probe,
        tuned=tuned,
        metric=metric,
        seed=seed,
    )
    if as_json:
        typer.echo(json.dumps([as_record(one) for one in found], indent=1))
        return
    output().print(_table(found))
    output().print(_spreads(found))


def _title(found: list[Duel]) -> str:
    from cytobench.evaluation.metrics import title_of
    from cytobench.evaluation.recipes import OWN_METRIC

    corrected = f"p corrected for the {found[0].pairs} pairs shown"
    shared = [one for one in found if one.probe not in OWN_METRIC] or found
    return f"{title_of(shared[0].metric)}, points of 100; {corrected}"


def _table(found: list[Duel]) -> Table:
    from rich import box
    from rich.table import Table

    from cytobench.leaderboard.duels import LEVEL

    table = Table(box=box.SIMPLE_HEAD, title=_title(found), title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("probe", "A", "B", "") else "right")
    for one in found:
        low, high = one.found.interval.low, one.found.interval.high
        table.add_row(
            one.kind,
            f"{one.a} {100 * one.value_a:.1f}",
            f"{one.b} {100 * one.value_b:.1f}",
            f"{100 * one.found.difference:+.1f} [{_points(low, '+')}, {_points(high, '+')}]",
            _p(one.p_holm),
            "-" if math.isnan(one.found.effect) else f"{one.found.effect:+.2f}",
            f"{one.found.groups} ({one.found.better} : {one.found.worse})",
            _points(one.found.detectable),
            one.verdict,
            style="" if one.p_holm < LEVEL else "dim",
        )
    return table


def _spreads(found: list[Duel]) -> str:
    """Say where the spread of each score comes from."""
    lines = {}
    for one in found:
        for name, spread in ((one.a, one.spread_a), (one.b, one.spread_b)):
            parts = [f"{source} {_points(value)}" for source, value in vars(spread).items()]
            key = f"{name}, {one.kind}"
            lines[key] = f"  {key}: " + ", ".join(parts)
    head = "[dim]Standard deviation by source (fold, seed, sample of groups), points:\n"
    return head + "\n".join(lines.values()) + "[/dim]"


def _points(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{100 * value:{sign}.1f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
