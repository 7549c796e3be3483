"""The page of an audit: what was found, kind by kind, with the pictures side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cytobench.audit.issue import KINDS, Audit, Issue, Member
from cytobench.cards import TaskCard
from cytobench.images import RGB
from cytobench.pictures.licence import credits_of
from cytobench.pictures.page import picture_uri, render
from cytobench.progress import Reporter

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN = 24  # issues of a kind with pictures
_LISTED = 200  # issues of a kind in the page's tables; the JSON has all
_CELL, _FIELD = 192, 384  # px
_LEAST = 96

HIDDEN = "The licence of these images forbids showing them: tables only."


def page(card: TaskCard, audit: Audit, picture: Callable[[Member], RGB], reporter: Reporter) -> str:
    """Return the self-contained page; pictures are left out where the card forbids them."""
    sections = []
    uris: dict[tuple[str, int], str] = {}
    shown = [issue for name in KINDS for issue in audit.of_kind(name)[:_SHOWN]] if card.show_images else []
    with reporter.task("pictures of the page", len(shown)) as step:
        for issue in shown:
            for member in issue.members:
                _add(uris, member, picture)
            step.advance()
    for kind in KINDS.values():
        issues = audit.of_kind(kind.name)
        if issues:
            sections.append(
                {
                    "kind": kind,
                    "count": f"{len(issues):,}",
                    "open": sum(not issue.known for issue in issues),
                    "shown": [_shown(issue, uris) for issue in issues[:_SHOWN]] if card.show_images else [],
                    "listed": [_shown(issue, {}) for issue in issues[_start(card) : _LISTED]],
                    "left": max(0, len(issues) - _LISTED),
                    "wide": any(member.where == "field" for issue in issues for member in issue.members),
                }
            )
    context = {
        "title": f"Audit of {card.name}",
        "subtitle": card.title,
        "verdict": verdict(audit),
        "failed": audit.failed,
        "facts": audit.facts,
        "remarks": audit.remarks,
        "confounds": card.known_confounds,
        "sections": sections,
        "clean": [kind.heading for kind in KINDS.values() if _clean(audit, kind.name)],
        "unseen": [
            f"{kind.heading} (needs a {' and a '.join(lacking)})"
            for kind in KINDS.values()
            if (lacking := audit.lacks(kind.name))
        ],
        "notes": [*credits_of(card), *([] if card.show_images else [HIDDEN])],
    }
    return render("audit.html", context, folder=_TEMPLATES)


def as_json(audit: Audit) -> str:
    """Return everything found as JSON text: also the baseline of later audits."""
    found = {
        "task": audit.task,
        "failed": audit.failed,
        "facts": list(audit.facts),
        "remarks": list(audit.remarks),
        "not_looked_for": [name for name in KINDS if audit.lacks(name)],
        "counts": {name: len(audit.of_kind(name)) for name in KINDS if audit.of_kind(name)},
        "issues": [issue.record() for issue in audit.issues],
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def verdict(audit: Audit) -> str:
    """Return in a sentence what must be mended and what is worth a look."""
    wrong = sum(issue.kind.mark == "fail" and not issue.known for issue in audit.issues)
    look = sum(issue.kind.mark == "warn" and not issue.known for issue in audit.issues)
    known = sum(issue.known for issue in audit.issues)
    if not audit.issues:
        return "Nothing was found."
    parts = [f"{wrong:,} to mend", f"{look:,} worth a look"]
    return ", ".join(parts + ([f"{known:,} known already"] if known else [])) + "."


def _clean(audit: Audit, kind: str) -> bool:
    return not audit.of_kind(kind) and not audit.lacks(kind)


def _start(card: TaskCard) -> int:
    return _SHOWN if card.show_images else 0


def _add(uris: dict[tuple[str, int], str], member: Member, picture: Callable[[Member], RGB]) -> None:
    key = member.where, member.row
    if member.row >= 0 and key not in uris:
        side = _FIELD if member.where == "field" else _CELL
        uris[key] = picture_uri(_enlarged(picture(member)), side=side)


def _enlarged(pixels: RGB) -> Image.Image:
    """Return small crops at a whole multiple of their size, so that a screen does not blur them."""
    image = Image.fromarray(pixels)
    factor = max(1, -(-_LEAST // max(image.size)))
    return image if factor == 1 else image.resize((image.width * factor, image.height * factor), 0)


def _shown(issue: Issue, uris: dict[tuple[str, int], str]) -> dict[str, Any]:
    members: Sequence[dict[str, str]] = [
        {"name": one.name, "place": one.place, "uri": uris.get((one.where, one.row), "")}
        for one in issue.members
    ]
    return {"says": issue.says, "known": issue.known, "members": members}
