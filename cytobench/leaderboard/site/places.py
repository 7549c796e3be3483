"""Reasons tell where something was looked for; a site is for everybody, so places of this machine go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cytobench.leaderboard.rows import Row


def without_places(text: str, folders: Sequence[Path]) -> str:
    """Return `text` with each of the folders, and the user's own, replaced by its last name or `~`."""
    for folder in sorted(folders, key=lambda one: -len(str(one))):
        if len(folder.parts) > 1:
            text = text.replace(str(folder), folder.name)
    own = Path.home()
    return text.replace(str(own), "~") if len(own.parts) > 1 else text


def anonymous(rows: Sequence[Row], folders: Sequence[Path]) -> list[Row]:
    """Return rows whose reasons name no folder of this machine."""
    return [replace(row, reason=without_places(row.reason, folders)) if row.reason else row for row in rows]
