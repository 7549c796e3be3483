"""What a space says of itself: `space.json`, written once, before any shard."""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cytobench.errors import StoreError
from cytobench.features.durable import flush_folder, make_folder, unwritable, write_durably
from cytobench.features.shards import versions
from cytobench.features.space import SCHEMA, space_id

FILE = "space.json"
NEW = ".new-"
"""How the folder of a space begins until its description is written."""
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Description:
    """A space's id, the width of its features, and the identity whose digest the id is."""

    id: str
    dim: int
    identity: Mapping[str, object]
    created: str


def is_space_name(name: str) -> bool:
    """Tell the folder of a space by its name."""
    return _NAME.fullmatch(name) is not None


def read_description(folder: Path) -> Description | None:
    """Read `space.json` of a folder; None where it is absent or unreadable."""
    try:
        raw = json.loads((folder / FILE).read_bytes())
        return Description(folder.name, int(raw["dim"]), dict(raw["identity"]), str(raw["created"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe(store: Path, space: str, dim: int | None, identity: Mapping[str, object] | None) -> Description:
    """Return the description of a space, creating its folder if `dim` and `identity` are given.

    Raises StoreError where it is absent, contradicts what is on disk, or cannot be created.
    """
    if not is_space_name(space):
        raise StoreError(f"'{space}' is not the id of a feature space: it should be 64 hexadecimal digits.")
    if identity is not None and space_id(identity) != space:
        raise StoreError(
            f"The identity offered for space {space[:12]} has another digest, {space_id(identity)[:12]}: "
            f"compute the id from it."
        )
    found = read_description(store / space)
    if found is None:
        if dim is None or identity is None:
            raise StoreError(f"There are no features of space {space[:12]} in {store}: extract them first.")
        return _create(store, space, dim, identity)
    if dim is not None and dim != found.dim:
        raise StoreError(
            f"Space {space[:12]} holds features of width {found.dim}, not {dim}: correct `dim` in the "
            f"backbone's card."
        )
    return found


def _create(store: Path, space: str, dim: int, identity: Mapping[str, object]) -> Description:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    body = {
        "schema": SCHEMA,
        "space": space,
        "dim": dim,
        "identity": identity,
        "created": now,
        "versions": versions(),
    }
    text = json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"
    if not (store / space).is_dir():
        _create_folder(store, space, text)
    if read_description(store / space) is None:  # somebody deleted the file alone
        write_durably(store / space / FILE, [text])
    return Description(space, dim, identity, now)


def _create_folder(store: Path, space: str, text: bytes) -> None:
    """Make the folder appear with its description in it: a kill leaves no space that says nothing."""
    staging = store / f"{NEW}{space[:12]}-{secrets.token_hex(6)}"
    make_folder(staging)
    try:
        write_durably(staging / FILE, [text])
        staging.rename(store / space)
    except OSError as error:
        if not (store / space).is_dir():  # else another process was here first, with the same text
            raise unwritable(store, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    flush_folder(store)
