"""One table of several labs: equal runs are one row, others stand side by side, and that is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cytobench.interchange.bundle_check import differences
from cytobench.leaderboard.rows import Row, with_skill

Labs = Mapping[str, tuple[str, str]]
"""Imported backbones by name: what their lab calls them, and the lab."""


def invited(listed: Sequence[str], labs: Labs) -> list[str]:
    """Return the imported backbones that a leaderboard shows: those of what its card lists, else all."""
    return [name for name, (base, _) in labs.items() if not listed or base in listed]


def merged(rows: Sequence[Row], labs: Labs) -> tuple[list[Row], list[str]]:
    """Return the rows without those of labs that say nothing new, and sentences on what was merged.

    A lab's backbone goes when it has no score here, or when each of its runs is also that of a row kept
    before it, with the same numbers. Skill is computed anew.
    """
    kept = [row for row in rows if row.backbone not in labs]
    said: list[str] = []
    same: dict[tuple[str, str], list[str]] = {}
    for name, (base, lab) in labs.items():
        mine = [row for row in rows if row.backbone == name]
        done = [row for row in mine if row.value is not None]
        if not done:
            continue
        twins = [_twin(row, base, kept, labs) for row in done]
        if all(twin is not None and _equal(row, twin) for row, twin in zip(done, twins, strict=True)):
            shown = next(twin.backbone for twin in twins if twin is not None)
            same.setdefault((lab, labs[shown][1] if shown in labs else ""), []).append(base)
            continue
        kept += mine
        for row, twin in zip(done, twins, strict=True):
            if twin is not None and not _equal(row, twin):
                how = f"{row.task}, {row.probe}{' tuned' if row.tuned else ''}"
                said.append(
                    f"{name} and {twin.backbone} made the same run ({how}) and differ: "
                    f"{100 * (row.value or 0):.2f} and {100 * (twin.value or 0):.2f}; both are shown."
                )
    present = dict.fromkeys(labs[row.backbone][1] for row in kept if row.backbone in labs)
    if present:
        said.insert(0, f"Rows named …@LAB were computed by other labs: {', '.join(present)}.")
    for (lab, other), bases in same.items():
        said.append(
            f"{lab} has the same numbers as {other or 'we'} for {', '.join(bases)}: one row for both."
        )
    return with_skill(kept), said


def _twin(row: Row, base: str, kept: Sequence[Row], labs: Labs) -> Row | None:
    """Return the row of the same backbone and run among those kept, of ours or of another lab."""
    for other in kept:
        if other.run_id == row.run_id and labs.get(other.backbone, (other.backbone, ""))[0] == base:
            return other
    return None


def _equal(row: Row, twin: Row) -> bool:
    return not differences(dict(row.metrics), dict(twin.metrics))
