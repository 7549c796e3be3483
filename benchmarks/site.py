"""The leaderboard as a site: seconds, megabytes, and how long a browser takes to open its pages.

    python benchmarks/site.py [--backbones 20] [--tasks 12]

Made-up predictions of 20 backbones on 12 tasks (2,000 cells of 100 patients, 2 to 11 classes) under kNN and
logistic regression, tuned and untuned, are stored as `cytobench run` stores them: 960 runs. Then
`cytobench leaderboard --site` is timed as a user would call it, start of Python included, and Chromium opens
the largest pages.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cytobench.cards import TaskCard
from cytobench.evaluation.ledger import save_run
from cytobench.evaluation.metrics import Predictions
from cytobench.evaluation.results import (
    PROTOCOL,
    FoldResult,
    RunRecord,
    RunResult,
    SplitResult,
    class_results,
    predictions_table,
    scores_of,
)
from cytobench.registry import Registry

CELLS, PATIENTS, FOLDS = 2000, 100, 5
PROBES = ("knn", "linear")
ARCHITECTURES = ("vit_tiny", "vit_small", "vit_base", "vit_large")
BACKBONE = """name = "net-{number:02d}"
title = "Network {number}"
loader = "timm"
arch = "{arch}_patch16_224"
weights = "{weights}"
dim = 192
pooling = "cls"
preprocess = {{ size = 224, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }}
domain = "{domain}"
pretrained_on = ["somewhere"]
licence = "made up"
citation = "made up"
"""
TASK = """name = "task-{number:02d}"
title = "Task {number}"
dataset = {{ format = "folder", path = "none" }}
group = "patient"
view = {{ kind = "box" }}
"""


def write_cards(folder: Path, backbones: int, tasks: int) -> None:
    """Write cards of made-up backbones (three of them nulls), tasks and their leaderboard."""
    for kind in ("backbones", "tasks", "leaderboards"):
        (folder / kind).mkdir(parents=True)
    domains = ("cytology", "histology", "natural")
    for number in range(backbones):
        card = BACKBONE.format(
            number=number,
            arch=ARCHITECTURES[number % len(ARCHITECTURES)],
            weights="random" if number < 3 else "https://example.org/weights.pth",
            domain="none" if number < 3 else domains[number % 3],
        )
        (folder / "backbones" / f"{number}.toml").write_text(card, encoding="utf-8")
    for number in range(tasks):
        (folder / "tasks" / f"{number}.toml").write_text(TASK.format(number=number), encoding="utf-8")
    columns = ",\n".join(
        f'{{ task = "task-{number:02d}", probe = "{probe}", tuned = {str(tuned).lower()} }}'
        for number in range(tasks)
        for probe in PROBES
        for tuned in (False, True)
    )
    names = ", ".join(f'"net-{number:02d}"' for number in range(backbones))
    board = f'name = "made-up"\ntitle = "Made up"\nbackbones = [{names}]\ncolumns = [\n{columns}\n]\n'
    (folder / "leaderboards" / "made-up.toml").write_text(board, encoding="utf-8")


def store_run(home: Path, card: TaskCard, backbone: str, probe: str, *, tuned: bool, quality: float) -> None:
    """Store predictions that are right with probability `quality`."""
    number = int(card.name[-2:])
    rng = np.random.default_rng([number, *backbone.encode(), len(probe), tuned])
    classes = tuple(f"class-{k}" for k in range(2 + number % 10))
    labels = np.arange(CELLS) % len(classes)
    called = np.where(rng.random(CELLS) < quality, labels, rng.integers(0, len(classes), CELLS))
    odds = rng.random((CELLS, len(classes))) + 2 * np.eye(len(classes))[called]
    patients = np.arange(CELLS) * PATIENTS // CELLS
    predictions = Predictions(labels, odds / odds.sum(1, keepdims=True), patients % FOLDS)
    scores = scores_of(
        predictions, metric=card.metric, fold_names=[str(k) for k in range(FOLDS)], thresholds={}
    )
    values = scores.pop("fold_values")
    folds = [
        FoldResult(
            name=str(k), n_train=1600, n_test=400, params={}, value=values[k], threshold=None, diagnostics={}
        )
        for k in range(FOLDS)
    ]
    result = RunResult(
        **scores,
        protocol=PROTOCOL,
        run_id=f"{card.name}-{backbone}-{probe}-{tuned}".encode().hex().ljust(64, "0")[:64],
        task=card.name,
        backbone=backbone,
        probe=probe,
        tuned=tuned,
        metric=card.metric,
        classes=class_results(scores["confusion"], list(classes)),
        folds=folds,
        n_groups=PATIENTS,
        unit="cell",
        group="patient",
        split=SplitResult(kind="grouped-kfold", folds=FOLDS, seed=0, digest=card.name),
        trials=None,
        seed=0,
        manifest_digest=f"{number:064d}",
        space_id=backbone,
        encoder=None,
        predictions_sha256="",
        trials_sha256=None,
        versions={"cytobench": "0"},
        device="cpu",
        precision="fp32",
        seconds={"encode": 3.0 + int(backbone[-2:])},
        warnings=[],
    )
    samples = [f"{i:05d}" for i in range(CELLS)]
    table = predictions_table(samples, [f"p{p:03d}" for p in patients], classes, predictions)
    save_run(home, RunRecord(result, table))


def opening(pages: list[Path]) -> dict[str, float]:
    """Return seconds until each page has loaded and is laid out, in Chromium; empty without one."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser = None
    if not browser:
        print("No browser or no playwright here: opening is not measured.")
        return {}
    seconds = {}
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for page in pages:
            tab = started.new_page()
            begin = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="load")
            tab.evaluate("document.body.getBoundingClientRect().height")
            seconds[page.name] = time.perf_counter() - begin
            tab.close()
        started.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbones", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--keep", type=Path, help="keep the site in this folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        home, plugin, site = root / "home", root / "plugin", asked.keep or root / "site"
        write_cards(plugin, asked.backbones, asked.tasks)
        registry = Registry.load([plugin], entry_points=False)
        for task in (f"task-{number:02d}" for number in range(asked.tasks)):
            for number in range(asked.backbones):
                quality = 0.3 + 0.4 * number / asked.backbones
                for probe in PROBES:
                    for tuned in (False, True):
                        better = quality + 0.05 * (probe == "linear") + 0.02 * tuned
                        name = f"net-{number:02d}"
                        store_run(home, registry.task(task), name, probe, tuned=tuned, quality=better)
        command = [sys.executable, "-m", "cytobench", "leaderboard", "made-up", "--site", str(site)]
        begin = time.perf_counter()
        subprocess.run([*command, "--home", str(home), "--plugin", str(plugin)], check=True)
        seconds = time.perf_counter() - begin
        files = [path for path in site.rglob("*") if path.is_file()]
        pages = sorted(
            (path for path in files if path.suffix == ".html"), key=lambda one: -one.stat().st_size
        )
        size = sum(path.stat().st_size for path in files) / 1e6
        print(f"{asked.backbones} backbones x {asked.tasks} tasks: {seconds:.1f} s, {size:.1f} MB, ", end="")
        print(f"{len(pages)} pages, {len(files)} files")
        shown = [site / "index.html", *(page for page in pages if page.name != "index.html")][:4]
        for name, taken in opening(shown).items():
            print(f"  {name}: {(site / name).stat().st_size / 1e3:.0f} kB, opens in {taken:.2f} s")


if __name__ == "__main__":
    main()
