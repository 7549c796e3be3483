"""The image in which a visitor draws a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from cytobench.app.lookup import FIELD_SIDE
from cytobench.features.items import Box
from cytobench.images import RGB
from cytobench.pictures.page import picture_uri

_SIDES = 4  # numbers that make a box: x, y, w, h
_FAR = 1e6  # px; beyond it a browser has made something up
_LABEL = (
    "The image. Draw a box around a cell or click on its centre; arrow keys move the box, with Shift they "
    "change its size."
)


class FieldImage(Element, component="templates/field.js"):
    """An image, uint8 [h, w, 3], in which a box is drawn; `on_box` hears of it in the image's own pixels."""

    def __init__(self, pixels: RGB, box: Box | None, on_box: Callable[[Box], Any]) -> None:
        super().__init__()
        height, width = pixels.shape[:2]
        self._size = width, height
        self._on_box = on_box
        self.props.update(
            {
                "src": picture_uri(pixels, side=FIELD_SIDE),
                "width": width,
                "height": height,
                "box": box,
                "label": _LABEL,
            }
        )
        self.on("drawn", self._drawn)

    def show(self, box: Box | None) -> None:
        """Show a box that was chosen elsewhere."""
        self.run_method("put", box)

    def _drawn(self, event: GenericEventArguments) -> Any:
        box = checked_box(event.args.get("box") if isinstance(event.args, dict) else None, *self._size)
        if box is None:
            return None
        return self._on_box(box)


def checked_box(said: Sequence[object] | None, width: int, height: int) -> Box | None:
    """Return a box that a browser named, cut to the image; w = h = 0: a point; None for what is neither."""
    if not isinstance(said, list | tuple):
        return None
    numbers = [value for value in said if isinstance(value, int | float) and abs(value) < _FAR]
    if not len(numbers) == len(said) == _SIDES:
        return None
    x, y, w, h = (int(value) for value in numbers)
    if w == h == 0:
        return (x, y, 0, 0) if 0 <= x < width and 0 <= y < height else None
    left, top = max(0, x), max(0, y)
    right, bottom = min(width, x + w), min(height, y + h)
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None
