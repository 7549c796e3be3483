"""Drawing on several cores: plain child processes, each drawing every n-th slide.

Children are started with `python -m` rather than multiprocessing, so that a script without a main guard may
call `generate`, no lock is inherited by a fork, and children of a killed parent end by themselves: their
next report meets a closed pipe. Which core draws a slide does not show in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cytobench.progress import Step

_MOST_WORKERS = 8
_FAILED = "!"


def draw_everything(folder: Path, step: Step) -> None:
    """Draw all pictures into `folder`, telling `step`; raises OSError when they cannot be written."""
    count = min(_MOST_WORKERS, _cores())
    if count < 2 or not sys.executable:
        for drawn in _draw_share(folder, 0, 1):
            step.advance(drawn)
        return
    read_end, write_end = os.pipe()
    workers: list[subprocess.Popen[bytes]] = []
    try:
        with os.fdopen(write_end, "w") as pipe:
            workers += [_start(folder, share, count, pipe.fileno()) for share in range(count)]
        with os.fdopen(read_end) as lines:
            for line in lines:
                _take(line.rstrip("\n"), step)
        failed = [worker for worker in workers if worker.wait()]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    if failed:
        msg = "a drawing process ended early"
        raise OSError(msg)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(folder: Path, share: int, count: int, pipe: int) -> subprocess.Popen[bytes]:
    package_home = str(Path(__file__).resolve().parents[3])
    paths = os.pathsep.join([package_home, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-m", __name__, str(folder), str(share), str(count)]
    return subprocess.Popen(
        command, stdout=pipe, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
    )


def _take(line: str, step: Step) -> None:
    if line.startswith(_FAILED):
        raise OSError(line.removeprefix(_FAILED))
    step.advance(int(line))


def _draw_share(folder: Path, share: int, count: int) -> Iterator[int]:
    """Draw every `count`-th slide from `share` on, yielding how many pictures each one has."""
    from PIL import Image

    from cytobench.datasets.synthetic.plan import Picture, render, slides

    for slide in slides()[share::count]:
        look = slide.look
        (folder / slide.part / slide.name).mkdir(parents=True)
        for index, kind in enumerate(slide.kinds):
            picture = Picture(slide, index, kind)
            Image.fromarray(render(picture, look)).save(folder / picture.sample, compress_level=3)
        yield len(slide.kinds)


def _main(folder: str, share: str, count: str) -> int:
    try:
        for drawn in _draw_share(Path(folder), int(share), int(count)):
            _tell(str(drawn))
    except BrokenPipeError:
        return 1
    except OSError as error:
        _tell(f"{_FAILED}{error.strerror or error}")
        return 1
    return 0


def _tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
