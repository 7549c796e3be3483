"""What an audit may find again without failing: kinds that are accepted, findings that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cytobench.audit.issue import KINDS
from cytobench.errors import UsageError


def require_kinds(names: Sequence[str]) -> frozenset[str]:
    """Return the kinds of issue that `names` are; raises UsageError for one that there is not."""
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise UsageError(
            f"There is no kind of finding '{unknown[0]}' to allow; the kinds are {', '.join(KINDS)}."
        )
    return frozenset(names)


def known_issues(path: Path, task: str) -> frozenset[str]:
    """Return the keys of the issues in an earlier audit's JSON file; raises UsageError where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        named, keys = found["task"], [issue["key"] for issue in found["issues"]]
    except OSError as error:
        raise UsageError(f"The baseline {path} cannot be read ({error.strerror}): check its path.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no audit.json that `cytobench audit` wrote: name one with --baseline."
        ) from error
    if named != task:
        raise UsageError(f"The baseline {path} is of the task {named}, not of {task}: name the right one.")
    return frozenset(keys)
