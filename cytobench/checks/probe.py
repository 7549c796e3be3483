"""Can a plugin's probe be used: its function is there, and what its module declares makes sense."""

from __future__ import annotations

from cytobench.cards import ProbeCard
from cytobench.errors import ProbeError
from cytobench.evaluation.custom import custom_recipe
from cytobench.findings import Finding


def check_probe(card: ProbeCard) -> list[Finding]:
    """Import the function and read GRID, VERSION and UNIT beside it; nothing is fitted."""
    try:
        recipe = custom_recipe(card)
    except ProbeError as error:
        return [Finding("function", "fail", str(error))]
    settings = len(recipe.candidates())
    grid = (
        f"{settings:,} settings of {', '.join(recipe.grid)}" if recipe.grid else "none, so nothing is tuned"
    )
    version = Finding("version", "pass", f"{recipe.version}.")
    if not recipe.version:
        cure = 'Write VERSION = "1" beside it, and raise it when the function computes something else.'
        version = Finding("version", "warn", "The module declares none.", cure)
    return [
        Finding("function", "pass", f"{card.function}, for a {card.unit}."),
        Finding("grid", "pass", f"{grid[:1].upper()}{grid[1:]}."),
        version,
    ]
