"""Values as TOML writes them: for cards that are written, not read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any


def toml(value: Any) -> str:
    """Return a value as TOML writes it; JSON's texts, numbers and lists are TOML's too."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {toml(one)}" for key, one in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_lines(keys: Mapping[str, Any]) -> str:
    """Return the keys of a card, a line each."""
    return "\n".join(f"{_key(key)} = {toml(value)}" for key, value in keys.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
