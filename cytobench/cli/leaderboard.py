"""`cytobench leaderboard`: the table of a leaderboard card, from what is stored."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import HomeOption, PluginOption, load_registry, places, writing
from cytobench.errors import UsageError

if TYPE_CHECKING:
    from cytobench.leaderboard.rows import Row
    from cytobench.leaderboard.table import Layout

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
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Show a leaderboard: every backbone on every column of its card, what did not run included.

    [dim]Examples:[/dim]  cytobench leaderboard  ·  cytobench leaderboard cytology -f markdown -o board.md
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.leaderboard.collect import chosen_backbones, is_null, rows_of_card
    from cytobench.leaderboard.table import lay_out
    from cytobench.leaderboard.uncertainty import judge

    where = places(home, None)
    registry = load_registry(plugin)
    card = registry.leaderboard(name)
    backbones = {b: registry.backbone(b) for b in chosen_backbones(card, registry.backbones)}
    tasks = {column.task: registry.task(column.task) for column in card.columns}
    reporter = ConsoleReporter()
    found = rows_of_card(card, backbones=backbones, tasks=tasks, home=where.home, reporter=reporter)
    judged = judge(found, where.home, reporter)
    rows, nulls = judged.rows, frozenset(b for b, one in backbones.items() if is_null(one))
    layout = lay_out(card.title, judged, list(tasks.values()), nulls, remarks=(card.notes, note))
    if out is None:
        _print(rows, layout, style)
        return
    with writing(out):
        if out.is_dir():
            _write_folder(rows, layout, out, name)
        else:
            _write_file(rows, layout, style, out)


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
