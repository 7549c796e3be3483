"""What an examination found: one finding a question, with a mark, the facts and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Mark = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """The answer to one question of an examination.

    `question`: what was looked at, as a few words ("batch invariance"); `mark`: `pass`; `warn`, what a user
    should know before trusting a score; `fail`, what must be mended; `skip`, what could not be looked at;
    `says`: what was found, with numbers, as a sentence; `cure`: what to do about it ("" where nothing is);
    `cases`: the rows, files or pairs concerned, complete, for those who want all of them.
    """

    question: str
    mark: Mark
    says: str
    cure: str = ""
    cases: tuple[str, ...] = ()


def failed(findings: Iterable[Finding]) -> bool:
    """Tell whether any finding must be mended: an examination then ends with exit code 1."""
    return any(finding.mark == "fail" for finding in findings)
