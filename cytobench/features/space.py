"""The identity of a feature space: the SHA-256 of what produced its features."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from cytobench.errors import StoreError

SCHEMA = 1
"""Raised whenever decoding, cutting or preparing images changes its meaning: old features then never hit."""


def space_id(identity: Mapping[str, object]) -> str:
    """Return the SHA-256, 64 hex digits, of the canonical JSON of `identity` together with `SCHEMA`.

    `identity` holds what determines the numbers (digest of the weights, architecture and options,
    preprocessing, pooling, precision) and nothing else: no path, no object. Raises StoreError for values
    that JSON cannot hold exactly.
    """
    text = canonical_json({"schema": SCHEMA, "identity": identity})
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def canonical_json(value: object) -> str:
    """Return the one JSON text of `value`: keys sorted, no spaces, ASCII, whole floats written as integers.

    Raises StoreError for anything but text, finite numbers, booleans, None, lists and mappings of these.
    """
    return json.dumps(_primitive(value, "identity"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _primitive(value: object, where: str) -> object:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise _refused(key, f"a key of {where}")
        return {key: _primitive(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_primitive(entry, f"{where}[{at}]") for at, entry in enumerate(value)]
    raise _refused(value, where)


def _refused(value: object, where: str) -> StoreError:
    return StoreError(
        f"The identity of a feature space may hold text, finite numbers, booleans and lists or tables of "
        f"them, but {where} is {value!r} ({type(value).__name__}): describe it in those terms."
    )
