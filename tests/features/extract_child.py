"""An extraction in a process of its own, to be killed, starved of disk or run in shares.

Usage: python -m tests.features.extract_child IMAGES HOME [disk-full-after=N | in-processes]
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.errors import CytoBenchError
from cytobench.features import processes, writer
from cytobench.features.extract import extract
from cytobench.features.store import FeatureStore
from tests.features.toy_encoders import ToyEncoder, items_from

BATCH = 4


class DiskFullLater(ToyEncoder):
    """Leaves no room for another shard once it has seen `after` images."""

    after = 0

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if self.images_seen >= self.after:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
        return super().encode(batch)


class SlowElsewhere(ToyEncoder):
    """Takes long to prepare an image, in processes of its own."""

    def prepare(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        time.sleep(0.5)
        return super().prepare(crop)


def first_encoder(option: str) -> ToyEncoder:
    if option == "in-processes":
        processes._WORTH_ROWS = 1
        return SlowElsewhere("first", seed=1, prefers_processes=True)
    if option:
        starved = DiskFullLater("first", seed=1)
        starved.after = int(option.removeprefix("disk-full-after="))
        return starved
    return ToyEncoder("first", seed=1, seconds=0.01)


def main(images: Path, home: Path, option: str = "") -> None:
    writer.FLUSH_ROWS = 8  # many shards, so that kills fall between and into them
    items = items_from(sorted(images.glob("*.png")), home)
    encoders = [first_encoder(option), ToyEncoder("second", seed=2, dim=5)]
    print("ready", flush=True)
    report = extract([items], encoders, FeatureStore(home / "features"), batch_size=BATCH, workers=2)
    print(f"computed {report.spaces[0].computed}", flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    except CytoBenchError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(error.exit_code)
