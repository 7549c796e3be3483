"""Self-contained pages: one HTML file with its style, script and pictures inside, that asks nobody for more.

Templates are Jinja's, escaped without exception: labels and file names are other people's text. A page
extends `page.html`, which brings the theme (light and dark, print, keyboard) and a policy under which a
browser refuses to load anything from elsewhere.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from cytobench.images import RGB

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent / "templates"


def render(template: str, context: Mapping[str, Any], *, folder: Path | None = None) -> str:
    """Return a template of `folder` (or of this package) filled in; a name that is missing is an error."""
    return _environment(folder).get_template(template).render(**context)


def picture_uri(picture: RGB | Image.Image, *, side: int | None = None, lossless: bool = False) -> str:
    """Return a picture as a data URI, WebP; fitted into `side` px where it is larger."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if side is not None and max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=88, lossless=lossless, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


@lru_cache
def _environment(folder: Path | None) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = [_HERE] if folder is None else [folder, _HERE]
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
