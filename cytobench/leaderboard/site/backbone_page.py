"""The page of one backbone: licence, citation, what it has seen, its cost, and every score."""

from __future__ import annotations

from typing import Any

from cytobench.cards import BackboneCard
from cytobench.evaluation.metrics import title_of
from cytobench.leaderboard.overlap import overlap
from cytobench.leaderboard.rows import tidy
from cytobench.leaderboard.site.board import Board, probe_of
from cytobench.leaderboard.site.bundle import Bundle
from cytobench.leaderboard.site.cells import score_cell
from cytobench.leaderboard.site.index_page import backbone_page_name, state_of, task_page_name
from cytobench.leaderboard.site.names import file_stem
from cytobench.leaderboard.site.profile_figure import profile_figure
from cytobench.leaderboard.site.task_page import safe_url

_SAYS = {
    "same data set": ("†", "pretrained on this data set"),
    "same smears": ("‡", "pretrained on other cells of the same smears"),
    "unknown": ("?", "its pretraining sets were not published: an overlap can be neither shown nor excluded"),
    "unseen": ("", "unseen"),
    "": ("", "nothing was pretrained"),
}
_PUBLIC = ("hf-hub:", "https://", "http://", "gdrive:", "shipped:", "random", "none", "timm:", "open_clip:")


def add_backbone(board: Board, name: str, bundle: Bundle) -> None:
    """Draw and write the page of a backbone, and its files."""
    card, section = board.backbones[name], f"Backbone {name}"
    rows = [row for row in board.judged.rows if row.backbone == name]
    drawing = profile_figure(board, name)
    files = []
    if drawing is not None:
        bundle.drawing(drawing, section, drawing.title)
        # The whole leaderboard has these lines in the other formats too.
        files = [bundle.csv(tidy(rows), file_stem("backbone", name), section, "Scores")]
    scored = [row for row in rows if row.value is not None]
    bundle.page(
        backbone_page_name(name),
        "backbone.html",
        {
            "title": name,
            "card": card,
            "null": any(row.null for row in rows),
            "state": "" if scored else f"No score here: {state_of(board, name)}.",
            "facts": _facts(board, card),
            "licence_url": safe_url(card.licence_url),
            "url": safe_url(card.url),
            "notes": card.notes.strip(),
            "seen": _seen(card),
            "overlaps": _overlaps(board, card),
            "drawing": drawing,
            "lines": [
                {
                    "task": row.task,
                    "page": task_page_name(row.task),
                    "probe": probe_of(row.column),
                    "metric": title_of(row.metric),
                    "cell": score_cell(row),
                    "n": f"{row.n:,}" if row.n else "",
                }
                for row in rows
            ]
            if scored
            else [],
            "table_files": files,
            "reasons": _reasons(board, name) if scored else [],
        },
    )


def _facts(board: Board, card: BackboneCard) -> list[tuple[str, str]]:
    cost = board.costs[card.name]
    standing = next((one for one in board.judged.standings if one.backbone == card.name), None)
    found = []
    if standing is not None:
        place = f"{standing.rank:.1f} [{standing.low:.1f}, {standing.high:.1f}]"
        found.append(("overall mean rank", place + (", may be first" if standing.tied else "")))
    found += [
        ("pretrained on images of", card.domain),
        ("architecture", card.arch or card.loader),
        ("parameters", cost.parameters_text),
        ("speed of the network alone", cost.rates_text),
        ("features", f"{card.dim:,} numbers, pooling: {card.pooling}, {card.precision}"),
    ]
    if card.preprocess is not None:
        found.append(("input", f"{card.preprocess.size} px, {card.preprocess.resize_mode}"))
    if card.weights.startswith(_PUBLIC):
        found.append(("weights", card.weights))
    digest = next(
        (digest for digest in map(_weights_digest, _encoders(board, card.name)) if digest), card.sha256
    )
    if digest:
        found.append(("SHA-256 of the weights", digest))
    return found


def _encoders(board: Board, name: str) -> list[dict[str, Any]]:
    return [run.encoder for (_, backbone, _), run in board.runs.items() if backbone == name and run.encoder]


def _weights_digest(encoder: dict[str, Any]) -> str:
    weights = encoder.get("weights")
    return str(weights.get("sha256") or "") if isinstance(weights, dict) else ""


def _seen(card: BackboneCard) -> str:
    if card.weights in ("random", "none"):
        return "Nothing: no weights were learnt."
    if not card.pretrained_on:
        return "Its training sets were not published."
    return "Pretrained on: " + ", ".join(card.pretrained_on) + "."


def _overlaps(board: Board, card: BackboneCard) -> list[dict[str, str]]:
    if card.weights in ("random", "none"):
        return []
    found = []
    for name, task in board.tasks.items():
        mark, says = _SAYS[overlap(card, task)]
        found.append({"task": name, "page": task_page_name(name), "mark": mark, "says": says})
    return found


def _reasons(board: Board, name: str) -> list[str]:
    """Say once per reason in which columns there is no score."""
    by_reason: dict[str, list[str]] = {}
    for row in board.judged.rows:
        if row.backbone == name and row.value is None:
            why = f"{row.status}: {row.reason}" if row.reason else row.status
            by_reason.setdefault(why, []).append(f"{row.task} ({probe_of(row.column)})")
    return [f"{', '.join(places)}: {why}" for why, places in by_reason.items()]
