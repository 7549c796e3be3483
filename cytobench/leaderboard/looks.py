"""How backbones are told apart in figures: by colour, and by marker and line for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_PALETTE_SIZE = 10
_MARKERS = "oDs^vPX<>*"
_DASHES = ("-", "--", ":")


@dataclass(frozen=True)
class Look:
    """How one backbone is drawn: a colour and, for those who do not see it, a marker and a line."""

    colour: tuple[float, float, float]
    marker: str
    dashes: str

    @property
    def line(self) -> dict[str, Any]:
        """Matplotlib's arguments of a line in this look."""
        return {"color": self.colour, "marker": self.marker, "ls": self.dashes}


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name, no two alike up to thirty: ten colours, ten markers, three lines."""
    import seaborn as sns

    colours = sns.color_palette("colorblind", _PALETTE_SIZE)
    return {
        name: Look(
            colours[place % _PALETTE_SIZE],
            _MARKERS[(place + place // _PALETTE_SIZE * 3) % len(_MARKERS)],
            _DASHES[place // _PALETTE_SIZE % len(_DASHES)],
        )
        for place, name in enumerate(names)
    }
