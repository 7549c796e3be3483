"""A real browser for tests of pages: Debian's Chromium, headless, watched for requests and complaints.

A pytest plugin: `open_page` is the fixture; tests skip, with the reason, where there is no browser.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OpenPage = Callable[..., "Watched"]
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Watched:
    """A page in the browser, every address it asked for, and everything it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def asked_elsewhere(self, *permitted: str) -> list[str]:
        """Return the requests to addresses that do not begin with `permitted` (default: file: and data:)."""
        return [url for url in self.requests if not url.startswith(permitted or ("file:", "data:"))]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window: 0 when nothing scrolls sideways."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless; CHROMIUM may name it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no browser tests: playwright is missing")
    named = os.environ.get("CHROMIUM")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if not found or not Path(found).exists():
        pytest.skip("no browser tests: Chromium is missing (apt-get install chromium, or set CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """A function that opens an address and returns the watched page.

    `open_page(address, width=1280, height=900, dark=False, javascript=True)`; the address is a path or a URL.
    """
    contexts = []

    def open_it(
        address: str | Path,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        javascript: bool = True,
    ) -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
        )
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        watched.page.on(
            "console",
            lambda said: watched.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        watched.page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
        return watched

    yield open_it
    for context in contexts:
        context.close()
