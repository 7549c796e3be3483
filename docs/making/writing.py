"""Markdown as the generated pages write it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """Return text for a table's cell: one line, nothing in it taken for markup of a table or of HTML."""
    line = " ".join(str(text).split())
    parts = re.split(r"(`[^`]*`)", line)  # inside code nothing but the bar needs care
    return "".join(
        part.replace("|", "\\|") if part.startswith("`") else _plain(part).replace("|", "\\|")
        for part in parts
    )


def _plain(text: str) -> str:
    for character in ("<", "*", "_", "["):
        text = text.replace(character, {"<": "&lt;"}.get(character, f"\\{character}"))
    return text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown already."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(' --- ' for _ in header)}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def anchor(name: str) -> str:
    """Return the anchor that a heading of this name gets."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", name).strip().lower())


def link(target: str) -> str:
    """Return an address as a link, or nothing where there is none."""
    return f"<{target}>" if target else ""
