"""Ids of patients, slides and smears that only the names of files tell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cytobench.errors import CardError, name_some


def ids_in_names(names: Sequence[str], pattern: str, option: str, problems: list[str]) -> list[str | None]:
    r"""Return what the one group of the regular expression `pattern` finds in each name, None where nothing.

    Without a pattern nothing is looked for. Names that do not match are added to `problems`. Raises CardError
    that calls the pattern by its key in the card, `option`, when it is no such expression.
    """
    if not pattern:
        return [None] * len(names)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CardError(
            f"{option} '{pattern}' is no regular expression ({error}): correct the card."
        ) from error
    if compiled.groups != 1:
        raise CardError(f"{option} '{pattern}' needs exactly one group in parentheses: correct the card.")
    matches = [compiled.search(name) for name in names]
    missed = [name for name, match in zip(names, matches, strict=True) if match is None]
    if missed:
        problems.append(f"{option} '{pattern}' does not match {name_some(missed)}")
    return [match[1] if match else None for match in matches]
