"""Drawings as SVG in the page itself, so that they take its colours: light, dark, print."""

from __future__ import annotations

import ast
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "cytobench"
_OUTSIDE = {"__init__", "__main__"}
_LATE = {("registry", "encoders")}
"""Imported when it is used only: the registry asks for it to turn timm:NAME into a card."""
_PURPOSE = {
    "cli": "commands",
    "app": "page on this machine",
    "leaderboard": "tables, figures, site",
    "retrieval": "look-alikes",
    "pretraining": "iBOT",
    "inspection": "maps, mistakes, attention",
    "evaluation": "folds, tuning, runs",
    "probes": "arrays in, probabilities out",
    "statistics": "intervals, tests, ranks",
    "features": "identity, store, extraction",
    "encoders": "card to network",
    "datasets": "download to manifest",
    "images": "decode, crop, tile",
    "pictures": "sheets and pages",
    "perturb": "blur, stain, hue",
    "registry": "where cards come from",
    "cards": "what things are",
    "manifest": "the one table",
    "digests": "of files",
    "fingerprint": "of pictures",
    "errors": "sentences",
    "findings": "ticks and crosses",
    "progress": "rates, time left",
    "checks": "is it sound?",
    "audit": "near copies, outliers",
    "interchange": "bundles, H5",
    "scaffold": "new cards",
    "plugins": "whose, and broken?",
    "transfer": "fetch, go on, check",
}


def rooms() -> str:
    """Return the rooms of the package, a row for each level of its real imports."""
    levels = _levels(_imports())
    rows = [
        sorted(room for room, level in levels.items() if level == at)
        for at in range(max(levels.values()), -1, -1)
    ]
    width, box, gap, height = 860, 160, 10, 46
    parts, y = [], 6
    for row in rows:
        per_line = max(1, (width + gap) // (box + gap))
        for begin in range(0, len(row), per_line):
            line = row[begin : begin + per_line]
            x = (width - len(line) * (box + gap) + gap) / 2
            for room in line:
                parts.append(_box(x, y, box, height, (room, _PURPOSE.get(room, ""))))
                x += box + gap
            y += height + gap
        y += 6
        parts.append(f'<line x1="0" x2="{width}" y1="{y - 8}" y2="{y - 8}" class="rule"/>')
    parts.pop()
    return _figure(
        parts,
        width,
        y,
        "Rooms of cytobench/, from its import statements: a room imports only from rows below its own.",
    )


def road() -> str:
    """Return the road that data takes, with its two side roads."""
    stops = ("cards", "manifest", "features", "folds", "probe", "predictions", "scores", "leaderboard")
    box, gap, height = 100, 16, 34
    width = len(stops) * (box + gap) - gap
    parts = [_marker()]
    for at, stop in enumerate(stops):
        x = at * (box + gap)
        parts.append(_box(x, 8, box, height, (stop,)))
        if at:
            parts.append(_arrow(x - gap, 25, x - 1, 25))
    parts.append(_box(0, 92, 2.5 * box + gap, height, ("pretraining → a new backbone card",)))
    parts.append(_arrow(1.5 * box + gap, 42, 1.5 * box + gap, 91))
    third = 2.5 * box + 2 * gap
    parts.append(_box(third, 92, 2 * box + gap, height, ("retrieval, maps, attention",)))
    parts.append(_arrow(2.5 * box + 2 * gap + 30, 42, 2.5 * box + 2 * gap + 30, 91))
    return _figure(parts, width, 134, "The road of the data: each stop has a room of its name.")


def folds() -> str:
    """Return the outer folds of one run, the inner ones of its first, and the refit."""
    cell, gap, left = 84, 6, 130
    parts, width = [], left + 5 * (cell + gap) + 220
    for row in range(3):
        y = 10 + row * 30
        name = ("outer fold 1", "outer fold 2", "…")[row]
        parts.append(f'<text x="0" y="{y + 16}">{name}</text>')
        for part in range(5):
            kind = "test" if part == row else "train"
            parts.append(
                _bar(
                    left + part * (cell + gap), y, cell, kind if row < 2 else "faint", kind if row < 2 else ""
                )
            )
    parts.append(
        '<text x="0" y="122" class="small">inside outer fold 1: the test part is not handed on</text>'
    )
    for row in range(3):
        y = 132 + row * 30
        parts.append(
            f'<text x="0" y="{y + 16}">{("inner fold 1", "inner fold 2", "inner fold 3")[row]}</text>'
        )
        for part in range(1, 5):
            held = part - 1 == row or (row == 2 and part == 4)
            parts.append(
                _bar(
                    left + part * (cell + gap),
                    y,
                    cell,
                    "held" if held else "train",
                    "validate" if held else "train",
                )
            )
    parts.append(
        f'<text x="{left + 5 * (cell + gap) + 10}" y="178" class="small">every backbone: the same</text>'
    )
    parts.append(
        f'<text x="{left + 5 * (cell + gap) + 10}" y="196" class="small">candidates, the same budget</text>'
    )
    y = 236
    parts.append(f'<text x="0" y="{y + 16}">refit, predict</text>')
    parts.append(_bar(left, y, cell, "test", "predict once"))
    parts += [_bar(left + part * (cell + gap), y, cell, "train", "fit the best") for part in range(1, 5)]
    return _figure(
        parts, width, 272, "Whole groups (patients, slides) fill the parts; no group is in two of them."
    )


def _imports() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room not in _OUTSIDE:
            found.setdefault(room, set()).update(_rooms_of(path) - {room} - _OUTSIDE)
    return {
        room: {one for one in targets if one in found and (room, one) not in _LATE}
        for room, targets in found.items()
    }


def _rooms_of(path: Path) -> set[str]:
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "cytobench":
            rooms |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cytobench."):
            rooms.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {one.name.split(".")[1] for one in node.names if one.name.startswith("cytobench.")}
    return rooms


def _levels(imports: dict[str, set[str]]) -> dict[str, int]:
    """Return how high each room stands: above all it imports; rooms that import each other stand together."""
    levels = dict.fromkeys(imports, 0)
    for _ in imports:  # as many rounds as the longest chain could need
        for room, targets in imports.items():
            below = [levels[one] + (0 if room in imports[one] else 1) for one in targets]
            levels[room] = max([levels[room], *below])
    return levels


def _box(x: float, y: float, width: float, height: float, lines: Sequence[str]) -> str:
    middle = x + width / 2
    base = y + height / 2 + 4 - (len([one for one in lines if one]) - 1) * 8
    texts = "".join(
        f'<text x="{middle:g}" y="{base + at * 16:g}" class="{"small" if at else "name"} middle">'
        f"{html.escape(one)}</text>"
        for at, one in enumerate(lines)
        if one
    )
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" class="box"/>{texts}'


def _bar(x: float, y: float, width: float, kind: str, word: str) -> str:
    text = f'<text x="{x + width / 2:g}" y="{y + 16:g}" class="small middle">{word}</text>'
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="24" rx="3" class="{kind}"/>{text}'


def _marker() -> str:
    return (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" class="tip"/></marker></defs>'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="arrow" marker-end="url(#tip)"/>'


def _figure(parts: Iterable[str], width: float, height: float, caption: str) -> str:
    said = html.escape(caption)
    return (
        f'<figure class="drawing"><svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{said}">'
        f"{''.join(parts)}</svg><figcaption>{said}</figcaption></figure>"
    )
