"""The page of `cytobench serve`: milliseconds from a query to its neighbours, as its visitor has them.

    python benchmarks/serve.py --data DIR --home HOME [--dataset bccd] [--backbone cytofm] [--queries 40]

The server is started as a user starts it; once the collection is open, a cell of the collection is looked up
by clicking on a neighbour, and boxes at random places of a field of the collection, which the backbone has to
see first, by their numbers. Given are the server's own milliseconds, from the question to the neighbours with
their pictures, and those in Chromium from the click until the last picture of the new answer is there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Page

_ASK = """([selector, at]) => new Promise((done) => {
  const place = document.querySelector(".for-answer");
  const began = performance.now();
  const watch = new MutationObserver(async () => {
    const images = [...place.querySelectorAll(".neighbour img")];
    if (!images.length) return;
    await Promise.all(images.map((image) => image.decode().catch(() => null)));
    watch.disconnect();
    done(performance.now() - began);
  });
  watch.observe(place, { childList: true, subtree: true });
  document.querySelectorAll(selector)[at].click();
})"""


def main() -> None:
    """Start the server, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--home", required=True)
    parser.add_argument("--dataset", default="bccd")
    parser.add_argument("--backbone", default="cytofm")
    parser.add_argument("--queries", type=int, default=40)
    asked = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["serve", "--no-open", "--port", str(port), "-d", asked.dataset, "-b", asked.backbone]
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "cytobench", *words, "--data", asked.data, "--home", asked.home],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        try:
            _wait(port)
            print(f"started in {time.perf_counter() - began:.1f} s")
            _measure(f"http://127.0.0.1:{port}/", asked.queries)
        finally:
            process.terminate()
            process.wait(30)


def _measure(url: str, queries: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        began = time.perf_counter()
        page.goto(url)
        page.get_by_text(re.compile("cells of .*; index")).or_(
            page.get_by_text("Make it now")
        ).first.wait_for()
        if page.get_by_text("Make it now").is_visible():
            page.get_by_text("Make it now").click()
        page.locator(".examples .cell").first.wait_for(timeout=3_600_000)
        print(f"page and collection open after {time.perf_counter() - began:.1f} s")
        print(page.locator(".for-answer").inner_text().splitlines()[0])
        page.locator(".examples .cell").first.click()
        page.locator(".neighbour").first.wait_for()
        _report("cells of the collection", [_ask(page, ".neighbour", at % 12) for at in range(queries)])
        if page.get_by_role("button", name="Open its field").count():
            page.get_by_role("button", name="Open its field").click()
            page.get_by_role("button", name="Look up the box").wait_for()
            _report("boxes in a field", [_ask_box(page, seed) for seed in range(queries)])
        browser.close()


def _ask(page: Page, selector: str, at: int) -> tuple[float, float]:
    seen = float(page.evaluate(_ASK, [selector, at]))
    text = page.locator(".query .pale").first.inner_text()
    return seen, float(text.split(" ms")[0])


def _ask_box(page: Page, seed: int) -> tuple[float, float]:
    wide, high = map(int, re.findall(r"(\d+) x (\d+) px", page.locator(".for-query").inner_text())[0])
    rng = np.random.default_rng(seed)
    side = min(wide, high) // 6
    places = (rng.integers(wide - side), rng.integers(high - side), side, side)
    for name, value in zip("xywh", places, strict=True):
        page.get_by_label(name, exact=True).fill(str(value))
    page.wait_for_timeout(150)
    buttons = page.locator(".for-query button").all_inner_texts()
    return _ask(page, ".for-query button", buttons.index("Look up the box"))


def _report(what: str, times: list[tuple[float, float]]) -> None:
    seen, server = np.array(times).T
    print(
        f"{what}, {len(times)} queries: server median {np.median(server):.0f} ms, 95th percentile "
        f"{np.percentile(server, 95):.0f} ms; click to last picture median {np.median(seen):.0f} ms, "
        f"95th percentile {np.percentile(seen, 95):.0f} ms"
    )


def _wait(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the server did not start")


if __name__ == "__main__":
    main()
