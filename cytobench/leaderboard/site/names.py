"""What pages and files of the site are called: never what a hostile name would like them to be."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_LONGEST = 60
_IN_FIGURES = 34


def file_stem(kind: str, name: str) -> str:
    """Return the stem of a file about `name`: `kind`, a hyphen, and lower-case letters, digits, . _ and -.

    A name that has anything else in it, or is long, is cut and gets a digest, so that no two names share a
    file, on disks that do not tell upper from lower case either.
    """
    plain = re.sub(r"[^a-z0-9._-]", "-", name.lower()).strip(".-")[:_LONGEST] or "unnamed"
    if plain != name:
        plain = f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return f"{kind}-{plain}"


def printable(text: str) -> str:
    """Return `text` on one line and without control, format and surrogate characters."""
    kept = "".join(" " if one.isspace() else one for one in text if one.isspace() or _shows(one))
    return " ".join(kept.split())


def short(text: str, longest: int = _IN_FIGURES) -> str:
    """Return `text` as figures show it: printable, and its middle left out where it is long."""
    plain = printable(text)
    if len(plain) <= longest:
        return plain
    tail = longest // 3
    return f"{plain[: longest - tail - 1]}…{plain[-tail:]}"


def _shows(character: str) -> bool:
    return not unicodedata.category(character).startswith("C")
