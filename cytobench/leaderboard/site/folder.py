"""Putting a site in its place: whole or not at all, and never over somebody else's files."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from cytobench.errors import StoreError, UsageError, name_some

MARK = "site.json"
"""The file by which a site is known: who made it, and the names of its files."""
_MAKER = "cytobench leaderboard --site"


def refuse_strangers(folder: Path) -> None:
    """Raise UsageError when `folder` is a file, or holds anything that is not of an earlier site of ours."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder with --site.")
    here = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    if not here:
        return
    strangers = sorted(here - _own_files(folder))
    if strangers:
        raise UsageError(
            f"{folder} holds files that are not of a site made here ({name_some(strangers)}), so it is not "
            "overwritten; name an empty or new folder with --site."
        )


def put_in_place(content: Mapping[str, bytes], folder: Path) -> int:
    """Write a site beside `folder` and rename it to that; return its size in bytes.

    A killed process leaves the old site or the new one. Raises UsageError as `refuse_strangers`, and
    StoreError where the disk is full or not writable.
    """
    refuse_strangers(folder)
    final = folder.resolve()
    partial = final.with_name(f".{final.name}-{os.getpid()}-{secrets.token_hex(4)}")
    mark = {"made_by": _MAKER, "files": sorted([*content, MARK])}
    whole = {**content, MARK: (json.dumps(mark, indent=1) + "\n").encode()}
    try:
        for name, data in whole.items():
            path = partial / name
            if not path.resolve().is_relative_to(partial):
                raise StoreError(
                    f"The file name '{name}' leads out of the site; this is a bug, please report it."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        _swap(partial, final)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written ({error.strerror or error}); free some space, or choose another "
            "place with --site."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sum(len(data) for data in whole.values())


def _own_files(folder: Path) -> set[str]:
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return set(mark["files"]) if mark["made_by"] == _MAKER else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _swap(partial: Path, final: Path) -> None:
    """Rename `partial` to `final`; what is there steps aside first and comes back if that fails."""
    aside = partial.with_name(partial.name + "-old")
    with contextlib.suppress(FileNotFoundError):
        final.rename(aside)
    try:
        partial.rename(final)
    except OSError:
        if aside.exists():
            aside.rename(final)
        raise
    shutil.rmtree(aside, ignore_errors=True)
