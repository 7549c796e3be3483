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
    tables = [part for task in tasks for part in _task_table(layout, task)]
    notes = [Text(note, style="dim") for note in layout.notes]
    return Group(Text(layout.title, style="bold"), *tables, *notes)


def _task_table(layout: Layout, task: str) -> tuple[RenderableType, RenderableType]:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    places = [i for i, heading in enumerate(layout.headings) if heading.task == task]
    about = next((layout.headings[i].about for i in places if layout.headings[i].about), "no results")
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("backbone", no_wrap=True)
    for i in places:
        table.add_column(layout.headings[i].short, justify="right")
    for name, cells in layout.lines:
        shown = [cells[i] for i in places]
        table.add_row(name, *(Text(c.text + c.marks, style=_style(c)) for c in shown))
    return Text.assemble("\n", (task, "bold cyan"), f"  {about}"), table


def _style(cell: Cell) -> str:
    if cell.best:
        return "bold green"
    return "red" if cell.text == "failed" else "dim" if cell.text == "not run" else ""


def markdown(layout: Layout, *, command: str = "") -> str:
    """Return the leaderboard as GitHub Markdown: one table a task, notes below."""
    lines = [f"# {layout.title}", ""]
    if command:
        lines += ["Made by:", "", "```", command, "```", ""]
    for task in dict.fromkeys(heading.task for heading in layout.headings):
        lines += _markdown_task(layout, task)
    lines += [f"* {_escape(note)}" for note in layout.notes]
    return "\n".join(lines) + "\n"


def _markdown_task(layout: Layout, task: str) -> list[str]:
    places = [i for i, heading in enumerate(layout.headings) if heading.task == task]
    ranked = "" if layout.headings[places[0]].ranked else " (shown, not ranked)"
    about = next((layout.headings[i].about for i in places if layout.headings[i].about), "")
    lines = [f"## {task}{ranked}", "", *([about, ""] if about else [])]
    lines.append("| backbone | " + " | ".join(layout.headings[i].short for i in places) + " |")
    lines.append("|---|" + "---:|" * len(places))
    for name, cells in layout.lines:
        shown = [
            f"**{cells[i].text}**{cells[i].marks}" if cells[i].best else cells[i].text + cells[i].marks
            for i in places
        ]
        lines.append(f"| {_escape(name)} | " + " | ".join(shown) + " |")
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
    """Return the tidy rows as a JSON list."""
    return json.dumps(tidy(rows).to_dicts(), indent=1, ensure_ascii=False) + "\n"
