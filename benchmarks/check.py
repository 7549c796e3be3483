"""`cytobench check` of a task with 20,000 images: the first time, when all are decoded, and again.

Synthetic cells of realistic size and content, half JPEG and half PNG, 128 to 256 px, in 8 classes of 200
patients; a few copies planted.

    python benchmarks/check.py --images 20000
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cytobench.cards import TaskCard
from cytobench.checks.task import check_task
from cytobench.progress import SilentReporter

CLASSES, PATIENTS = 8, 200


def write(root: Path, number: int) -> str:
    """Write one cell and return its line of the table."""
    rng = np.random.default_rng(number)
    side = int(rng.integers(128, 257))
    y, x = np.mgrid[:side, :side] / side
    picture = np.full((side, side, 3), (226.0, 216.0, 222.0))
    for _ in range(7):
        centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.1, 0.3)
        picture[np.hypot(y - centre[0], x - centre[1]) < radius] = rng.normal((150, 90, 160), 25)
    pixels = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
    name = f"{number:06d}.{'jpg' if number % 2 else 'png'}"
    if number % 2:
        Image.fromarray(pixels).save(root / name, quality=90)
    else:
        Image.fromarray(pixels).save(root / name, compress_level=1)
    return f"{name},class{int(rng.integers(CLASSES))},patient{number % PATIENTS}"


def main() -> None:
    """Make the images, check them twice, print seconds."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--images", type=int, default=20_000)
    wanted = arguments.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cells"
        root.mkdir()
        with ProcessPoolExecutor() as pool:
            lines = list(pool.map(partial(write, root), range(wanted), chunksize=64))
        for copy in range(5):  # a copy under another patient's name
            name = f"copy{copy}.jpg"
            Image.open(root / f"{copy:06d}.{'jpg' if copy % 2 else 'png'}").save(root / name, quality=80)
            lines.append(f"{name},class0,patient{copy + 50}")
        (root / "cells.csv").write_text("\n".join(["image,label,patient", *lines]) + "\n")
        card = TaskCard.model_validate(
            {
                "name": "many",
                "title": "Many cells",
                "dataset": {"format": "table", "path": "cells.csv"},
                "group": "patient",
                "view": {"kind": "window", "size": 128},
                "source": root / "many.toml",
            }
        )
        print(f"{wanted:,} images, {len(os.sched_getaffinity(0))} cores")
        for run in ("first check", "again"):
            began = time.perf_counter()
            found = check_task(card, data_dirs=[], home=Path(folder) / "home", reporter=SilentReporter())
            print(f"{run}: {time.perf_counter() - began:.1f} s")
        for one in found:
            print(f"  {one.mark:5} {one.question}: {one.says}")


if __name__ == "__main__":
    main()
