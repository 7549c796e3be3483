"""What a visitor does at the page in a browser, and what is asked of every visit at its end."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tests.app.conftest import Served
from tests.browser import Watched

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., Watched]
_SECONDS = 60_000


def choose(page: Page, label: str, option: str) -> None:
    """Choose something in one of the pickers."""
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option").filter(has_text=option).first.click()


def opened(
    page: Page, collection: str = "toy", backbone: str = "morphology", *, within: int = _SECONDS
) -> None:
    """Wait until this collection is open under this backbone; have its index made where there is none."""
    about = page.get_by_text(re.compile(rf"cells of {collection} under {backbone}; index"))
    missing = page.get_by_text(f"{collection} has no index under {backbone} yet.")
    about.or_(missing).first.wait_for(timeout=_SECONDS)
    if missing.is_visible():
        page.get_by_role("button", name="Make it now").click()
    about.wait_for(timeout=within)
    page.locator(".examples .cell").first.wait_for()


def drop(page: Page, name: str, data: bytes) -> None:
    """Give the page a file."""
    page.set_input_files("input[type=file]", {"name": name, "mimeType": "image/png", "buffer": data})


def png(pixels: np.ndarray) -> bytes:
    """Return pixels as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def noise(seed: int, side: int = 24) -> bytes:
    """Return a PNG file of noise."""
    return png(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8))


def at_peace(seen: Watched, server: Served) -> None:
    """Assert that the browser asked nobody but the server, and complained of nothing."""
    assert not seen.asked_elsewhere(server.url, server.url.replace("http", "ws"), "data:", "blob:")
    assert seen.complaints == []
    assert "Traceback" not in server.said()


def run_alone(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a thread of its own: the browser of other tests may hold this one's loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
