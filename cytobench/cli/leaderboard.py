"""`cytobench leaderboard`: the table of a leaderboard card, from what is stored."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, Places, PluginOption, load_registry, places, writing
from cytobench.errors import UsageError

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard, LeaderboardCard, TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.leaderboard.collect import StoredRuns
    from cytobench.leaderboard.rows import Row
    from cytobench.leaderboard.table import Layout
    from cytobench.leaderboard.uncertainty import Judged
    from cytobench.registry import Registry

_BINARY = ("parquet",)


class Format(StrEnum):
    """How a leaderboard is printed."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    parquet = "parquet"
    latex = "latex"
    json = "json"


def leaderboard(
    name: Annotated[str, typer.Argument(help="A leaderboard's name or card file.")] = "cytology",
    style: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write to this file; a folder gets all formats and a picture."),
    ] = None,
    note: Annotated[
        str, typer.Option(help="A remark to print below the table, such as how the run was made.")
    ] = "",
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a static site: sortable table, figures, a page a task and a backbone, downloads.",
        ),
    ] = None,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Show a leaderboard: every backbone on every column of its card, what did not run included.

    With --site and --data, pages of tasks show example cells and what looks most alike to a backbone.

    [dim]Examples:[/dim]  cytobench leaderboard  ·  cytobench leaderboard cytology -f markdown -o board.md  ·
    cytobench leaderboard cytology --site public --data DIR
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.interchange.foreign_cards import with_imported

    where = places(home, data)
    if site is not None:
        from cytobench.leaderboard.site.folder import refuse_strangers

        refuse_strangers(site)
    registry, reporter = with_imported(load_registry(plugin, home=home), where.home), ConsoleReporter()
    card = registry.leaderboard(name)
    counting = None if site is None else _counting(_backbones(card, registry, where.home), where.home)
    made = _judged(name, card, registry, where, reporter, note=note, public=site is not None)
    if site is not None and counting is not None:
        _write_site(made, site, counting, reporter)
    rows = made.judged.rows
    if out is None:
        if site is None:
            _print(rows, made.layout, style)
        return
    with writing(out):
        if out.is_dir():
            _write_folder(rows, made.layout, out, name)
        else:
            _write_file(rows, made.layout, style, out)


@dataclass(frozen=True)
class _Made:
    """A judged leaderboard and all that it was made of."""

    name: str
    layout: Layout
    judged: Judged
    backbones: dict[str, BackboneCard]
    tasks: dict[str, TaskCard]
    stored: StoredRuns
    where: Places


def _backbones(card: LeaderboardCard, registry: Registry, home: Path) -> dict[str, BackboneCard]:
    """Return the backbones a leaderboard shows, and those of other labs behind them."""
    from cytobench.interchange.foreign_cards import labs
    from cytobench.interchange.merged import invited
    from cytobench.leaderboard.collect import chosen_backbones

    foreign = labs(home)
    shown = [name for name in chosen_backbones(card, registry.backbones) if name not in foreign]
    return {name: registry.backbone(name) for name in [*shown, *invited(card.backbones, foreign)]}


def _judged(
    name: str,
    card: LeaderboardCard,
    registry: Registry,
    where: Places,
    reporter: ConsoleReporter,
    *,
    note: str,
    public: bool,
) -> _Made:
    """Read what is stored and judge it; for the public, reasons name no folder of this machine."""
    from cytobench.interchange.foreign_cards import labs
    from cytobench.interchange.merged import merged
    from cytobench.leaderboard.collect import StoredRuns, is_null, rows_of_card
    from cytobench.leaderboard.table import lay_out
    from cytobench.leaderboard.uncertainty import judge

    backbones = _backbones(card, registry, where.home)
    tasks = {column.task: registry.task(column.task) for column in card.columns}
    stored = StoredRuns(where.home, reporter)
    rows = rows_of_card(card, backbones=backbones, tasks=tasks, stored=stored)
    found, remarks = merged(rows, labs(where.home))
    shown = {row.backbone for row in found}
    backbones = {one: backbone for one, backbone in backbones.items() if one in shown}
    if public:
        from cytobench.leaderboard.site.places import anonymous

        found = anonymous(found, (where.home, *where.data))
    judged = judge(found, where.home, reporter)
    nulls = frozenset(one for one, backbone in backbones.items() if is_null(backbone))
    layout = lay_out(card.title, judged, list(tasks.values()), nulls, remarks=(card.notes, note, *remarks))
    return _Made(name, layout, judged, backbones, tasks, stored, where)


def _counting(backbones: dict[str, BackboneCard], home: Path) -> Callable[[], dict[str, int | None]]:
    """Begin to count parameters: torch takes seconds to be imported, which reading runs takes too."""
    from cytobench.digests import FileDigests
    from cytobench.encoders.open_clip_config import as_held
    from cytobench.evaluation.cores import available
    from cytobench.leaderboard.site.cost import parameters
    from cytobench.leaderboard.site.workers import beside

    cards = [as_held(card, home=home, digests=FileDigests(home)) for card in backbones.values()]
    return beside(parameters, cards, available())


def _write_site(
    made: _Made, folder: Path, counting: Callable[[], dict[str, int | None]], reporter: ConsoleReporter
) -> None:
    from cytobench.evaluation.cores import available
    from cytobench.leaderboard.site.build import board_of, build
    from cytobench.leaderboard.site.examples import Source
    from cytobench.leaderboard.site.folder import put_in_place

    with reporter.task("counting parameters", None):
        counted = counting()
    board = board_of(
        made.name,
        made.layout,
        made.judged,
        backbones=made.backbones,
        tasks=made.tasks,
        runs=made.stored.runs,
        source=Source(made.where.home, made.where.data),
        counted=counted,
        command=shlex.join(["cytobench", "leaderboard", Path(made.name).stem, "--site", folder.name])
        + (" --data DIR" if made.where.data else ""),
        reporter=reporter,
    )
    content = build(board, reporter, workers=available())
    size = put_in_place(content, folder)
    pages = sum(name.endswith(".html") for name in content)
    reporter.say(
        f"Written: {folder / 'index.html'} ({pages} pages, {len(content)} files, {size / 1e6:.1f} MB)"
    )


def _write_folder(rows: list[Row], layout: Layout, folder: Path, board: str) -> None:
    from cytobench.leaderboard.figures import critical_difference_figure, scores_figure
    from cytobench.leaderboard.render import write

    name = Path(board).stem
    command = shlex.join(["cytobench", "leaderboard", board, "--out", str(folder)])
    made = write(rows, layout, folder, name=name, command=command)
    pictures = [
        scores_figure(rows, folder / f"{name}.{suffix}", title=layout.title) for suffix in ("png", "svg")
    ]
    pictures.append(
        critical_difference_figure(rows, folder / f"{name}-critical-difference.png", title=layout.title)
    )
    for path in [*made, *(picture for picture in pictures if picture)]:
        typer.echo(path)


def _write_file(rows: list[Row], layout: Layout, style: Format, path: Path) -> None:
    from cytobench.leaderboard.render import as_parquet

    path.write_bytes(as_parquet(rows) if style is Format.parquet else _text(rows, layout, style).encode())
    typer.echo(path)


def _print(rows: list[Row], layout: Layout, style: Format) -> None:
    if style in _BINARY and sys.stdout.isatty():
        raise UsageError(f"{style.value} is not for a terminal; add --out FILE.")
    if style is Format.parquet:
        from cytobench.leaderboard.render import as_parquet

        sys.stdout.buffer.write(as_parquet(rows))
    elif style is Format.table:
        from cytobench.cli.console import output
        from cytobench.leaderboard.render import terminal

        output().print(terminal(layout))
    else:
        typer.echo(_text(rows, layout, style), nl=False)


def _text(rows: list[Row], layout: Layout, style: Format) -> str:
    from cytobench.leaderboard import render

    makers: dict[Format, Callable[[], str]] = {
        Format.markdown: lambda: render.markdown(layout),
        Format.latex: lambda: render.latex(layout),
        Format.json: lambda: render.as_json(rows),
        Format.csv: lambda: render.as_csv(rows),
        Format.table: lambda: _plain(layout),
    }
    return makers[style]()


def _plain(layout: Layout) -> str:
    import io

    from rich.console import Console

    from cytobench.leaderboard.render import terminal

    buffer = io.StringIO()
    Console(file=buffer, width=120).print(terminal(layout))
    return buffer.getvalue()
