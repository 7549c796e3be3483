"""Names that cards may have, templates filled in, and files that are never overwritten unasked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytobench.errors import StoreError, UsageError
from cytobench.registry import Registry
from cytobench.toml_text import toml

_HERE = Path(__file__).parent / "templates"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Draft:
    """What is to be written: text or bytes by path; `said`: what was found or guessed, a sentence each."""

    files: Mapping[Path, str | bytes]
    said: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def valid_name(name: str, kind: str) -> str:
    """Return `name`; raises UsageError where it cannot name a file and a card."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise UsageError(
            f"'{name}' cannot name a {kind}: use letters, digits, '-', '_' and '.', beginning with a letter "
            "or digit, at most 80."
        )
    return name


def identifier(name: str) -> str:
    """Return `name` as Python may import it."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII).lower()
    return f"_{plain}" if plain[0].isdigit() else plain


def new_name(name: str, kind: str, target: Path) -> str:
    """Return `name` if no card of another file has it; raises UsageError."""
    valid_name(name, kind)
    registry = Registry.load()
    known = registry.backbones if kind == "backbone" else registry.tasks
    twin = known.get(name)
    if twin is not None and twin.source != target.resolve():
        raise UsageError(f"There is a {kind} named '{name}' already ({twin.source}); choose another name.")
    return name


def fill(template: str, **values: Any) -> str:
    """Return a template of this package filled in; `toml` is its filter for values."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["toml"] = toml
    return environment.get_template(template).render(**values)


def write(draft: Draft, *, force: bool = False) -> list[Path]:
    """Write all files or none and return them; raises UsageError where one is there already."""
    there = [str(path) for path in draft.files if path.exists()]
    if there and not force:
        raise UsageError(
            f"{there[0]} is there already{f' (and {len(there) - 1} more)' * (len(there) > 1)}; choose "
            "another name or place, or overwrite with --force."
        )
    for path, content in draft.files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written ({error.strerror or error}); choose another place with --out."
            ) from error
    return list(draft.files)


def path_in_card(path: Path, card: Path) -> str:
    """Return how a card in `<plugin>/<kind>/` names a file: relative where it lies in the plugin folder."""
    plugin, whole = card.resolve().parent.parent, path.expanduser().resolve()
    if whole.is_relative_to(plugin):
        return f"../{whole.relative_to(plugin).as_posix()}"
    return whole.as_posix()
