"""A laid-out leaderboard as a terminal table, Markdown or LaTeX; tidy rows as CSV, Parquet or JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.leaderboard.rows import Row, tidy
from cytobench.leaderboard.table import Cell, Layout

if TYPE_CHECKING:
    from rich.console import RenderableType

_EXTRAS = ("ranks", "skill")
_FIELD = {"rank": "ranks", "skill": "skill"}
_ABREAST = 2
"""So many columns of a task stand beside each other in a terminal."""

_LATEX = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "†": r"\textdagger{}",
        "‡": r"\textdaggerdbl{}",
    }
)


def terminal(layout: Layout) -> RenderableType:
    """Return the leaderboard for a terminal: a table per task when all columns would not fit."""
    from rich.console import Group
    from rich.text import Text

    tasks = dict.fromkeys(heading.task for heading in layout.headings)
    tables = [part for task in tasks for part in _task_tables(layout, task)]
    notes = [Text(note, style="dim") for note in layout.notes]
    return Group(Text(layout.title, style="bold"), *_standings_table(layout), *tables, *notes)


def _standings_table(layout: Layout) -> list[RenderableType]:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not layout.standings:
        return []
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("backbone", no_wrap=True)
    table.add_column("mean rank", justify="right")
    for one in layout.standings:
        text = f"{one.rank:.1f} [{one.low:.1f}, {one.high:.1f}]"
        table.add_row(one.backbone, Text(text, style="bold green" if one.tied else ""))
    return [Text.assemble("\n", ("overall", "bold cyan"), "  mean ranks with 95 % intervals"), table]


def _task_tables(layout: Layout, task: str) -> list[RenderableType]:
    """Return a heading and as many tables below each other as the task's columns need."""
    from rich.text import Text

    places = [i for i, heading in enumerate(layout.headings) if heading.task == task]
    about = layout.about(task) or "no results"
    parts = [places[first : first + _ABREAST] for first in range(0, len(places), _ABREAST)]
    return [Text.assemble("\n", (task, "bold cyan"), f"  {about}"), *(_table(layout, one) for one in parts)]


def _table(layout: Layout, places: list[int]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("backbone", no_wrap=True)
    ranked, skilled = (any(_any(layout, i, field) for i in places) for field in _EXTRAS)
    for i in places:
        table.add_column(layout.headings[i].short, justify="right", no_wrap=True)
        if ranked:
            table.add_column("rank", justify="right", no_wrap=True)
        if skilled:
            table.add_column("skill", justify="right", no_wrap=True)
    for name, cells in _shown_lines(layout):
        shown: list[Text] = []
        for cell in (cells[i] for i in places):
            shown.append(Text(cell.text + cell.marks, style=_style(cell)))
            if ranked:
                shown.append(Text(cell.ranks, style="dim"))
            if skilled:
                shown.append(Text(cell.skill, style="dim"))
        table.add_row(name, *shown)
    if any(layout.headings[i].detectable for i in places):
        gap = [""] * (ranked + skilled)
        last = [text for i in places for text in (layout.headings[i].detectable, *gap)]
        table.add_row("detectable", *last, style="dim italic")
    return table


def _style(cell: Cell) -> str:
    if cell.best:
        return "bold green"
    return "red" if cell.text == "failed" else "dim" if cell.text == "not run" else ""


def markdown(layout: Layout, *, command: str = "") -> str:
    """Return the leaderboard as GitHub Markdown: one table a task, notes below."""
    lines = [f"# {layout.title}", ""]
    if command:
        lines += ["Made by:", "", "```", command, "```", ""]
    lines += _markdown_standings(layout)
    for task in dict.fromkeys(heading.task for heading in layout.headings):
        lines += _markdown_task(layout, task)
    lines += [f"* {_escape(note)}" for note in layout.notes]
    return "\n".join(lines) + "\n"


def _markdown_task(layout: Layout, task: str) -> list[str]:
    places = [i for i, heading in enumerate(layout.headings) if heading.task == task]
    ranked = "" if any(layout.headings[i].ranked for i in places) else " (shown, not ranked)"
    about = layout.about(task)
    lines = [f"## {task}{ranked}", "", *([about, ""] if about else [])]
    extras = [
        [word for word, field in zip(("rank", "skill"), _EXTRAS, strict=True) if _any(layout, i, field)]
        for i in places
    ]
    heads: list[str] = []
    for i, more in zip(places, extras, strict=True):
        heads += [layout.headings[i].short, *more]
    lines.append("| backbone | " + " | ".join(heads) + " |")
    lines.append("|---|" + "---:|" * len(heads))
    for name, cells in _shown_lines(layout):
        shown: list[str] = []
        for i, more in zip(places, extras, strict=True):
            cell = cells[i]
            text = f"**{cell.text}**" if cell.best else cell.text
            shown += [text + cell.marks, *(getattr(cell, _FIELD[word]) for word in more)]
        lines.append(f"| {_escape(name)} | " + " | ".join(shown) + " |")
    if any(layout.headings[i].detectable for i in places):
        last: list[str] = []
        for i, more in zip(places, extras, strict=True):
            last += [layout.headings[i].detectable, *[""] * len(more)]
        lines.append("| *detectable* | " + " | ".join(last) + " |")
    return [*lines, ""]


def _shown_lines(layout: Layout) -> list[tuple[str, tuple[Cell, ...]]]:
    """Return the lines of tables: who has not run at all stands in the notes, unless nobody has run."""
    ran = [line for line in layout.lines if any(cell.text != "not run" for cell in line[1])]
    return ran or list(layout.lines)


def _any(layout: Layout, place: int, field: str) -> bool:
    return any(getattr(cells[place], field) for _, cells in layout.lines)


def _markdown_standings(layout: Layout) -> list[str]:
    if not layout.standings:
        return []
    lines = ["## Overall", "", "| backbone | mean rank | 95 % |", "|---|---:|---:|"]
    for one in layout.standings:
        rank = f"**{one.rank:.1f}**" if one.tied else f"{one.rank:.1f}"
        lines.append(f"| {_escape(one.backbone)} | {rank} | {one.low:.1f} to {one.high:.1f} |")
    return [*lines, ""]


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def latex(layout: Layout) -> str:
    """Return the leaderboard as a LaTeX table (package booktabs), transposed: one line a task and probe."""
    names = [name for name, _ in layout.lines]
    lines = [
        r"\begin{tabular}{ll" + "r" * len(names) + "}",
        r"\toprule",
        " & ".join(["task", "probe", *(name.translate(_LATEX) for name in names)]) + r" \\",
        r"\midrule",
    ]
    for place, heading in enumerate(layout.headings):
        cells = [cells[place] for _, cells in layout.lines]
        texts = [_latex_cell(cell) for cell in cells]
        lines.append(
            " & ".join([heading.task.translate(_LATEX), heading.short.translate(_LATEX), *texts]) + r" \\"
        )
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [f"% {note}" for note in layout.notes]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = cell.text.translate(_LATEX)
    return (rf"\textbf{{{text}}}" if cell.best else text) + cell.marks.translate(_LATEX)


def write(rows: Sequence[Row], layout: Layout, folder: Path, *, name: str, command: str = "") -> list[Path]:
    """Write the leaderboard as Markdown, LaTeX, JSON, CSV and Parquet; return the files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "md": markdown(layout, command=command).encode(),
        "tex": latex(layout).encode(),
        "json": as_json(rows).encode(),
        "csv": as_csv(rows).encode(),
        "parquet": as_parquet(rows),
    }
    paths = [folder / f"{name}.{suffix}" for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


def as_csv(rows: Sequence[Row]) -> str:
    """Return the tidy rows as CSV."""
    return tidy(rows).write_csv(float_precision=6)


def as_parquet(rows: Sequence[Row]) -> bytes:
    """Return the bytes of a Parquet file: polars' own writing hides a full disk behind other errors."""
    buffer = io.BytesIO()
    tidy(rows).write_parquet(buffer)
    return buffer.getvalue()


def as_json(rows: Sequence[Row]) -> str:
    """Return the tidy rows as a JSON list, a row a line; what a row has no value for is left out."""
    known = [{key: one for key, one in row.items() if one is not None} for row in tidy(rows).to_dicts()]
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in known) + "\n]\n"
