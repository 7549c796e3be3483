"""A run's folder and the request it began with: what goes on, what is begun anew, what is refused.

The folder holds `run.json` (the request, and what was made of it), `pool/`, `checkpoint.pth`, `log.csv`,
`curves.png`, `model.safetensors` and `card.toml`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytobench.errors import DataError, UsageError
from cytobench.features.durable import TEMPORARY, make_folder, save_durably
from cytobench.pretraining import checkpoint
from cytobench.pretraining.pool import DESCRIPTION, Pool
from cytobench.pretraining.recipe import Recipe, as_dict, differences
from cytobench.progress import Reporter

if TYPE_CHECKING:
    from cytobench.datasets.task import RawTables
    from cytobench.registry import Registry

REQUEST, POOL = "run.json", "pool"
_MADE = "made"  # key of run.json: what became of the request
_DRAWN_LATER = ("data.batch", "data.balance", "data.mixed")  # settings of `data` that a pool leaves open


@dataclass(frozen=True)
class Request:
    """What a user asked for: a preset with its overrides, images, labelled cells, weights to begin with.

    images and labelled: as written on the command line.
    """

    preset: str
    recipe: Recipe
    images: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    init: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the request as JSON holds it."""
        return {
            "preset": self.preset,
            "images": list(self.images),
            "knn": list(self.labelled),
            "init": self.init,
            **as_dict(self.recipe),
        }


@dataclass(frozen=True)
class Surroundings:
    """Where things are looked for: cards (read when they are asked for), data folders, home.

    plugins: whether the user named cards of their own; memory: tables of data sets read so far.
    """

    registry: Callable[[], Registry]
    data: tuple[Path, ...]
    home: Path
    reporter: Reporter
    plugins: bool = False
    memory: RawTables | None = None


def open_run(folder: Path, request: Request) -> None:
    """Begin a run in `folder`, or make sure that it goes on with the request it began with.

    A run without a checkpoint has not begun: it takes the new request, and a pool that was packed for another
    one is deleted. Raises UsageError that names the settings that differ; of a run that has begun, `running`
    alone may change, but for its seed.
    """
    path = folder / REQUEST
    wanted = json.loads(json.dumps(request.as_dict()))
    if not path.exists():
        make_folder(folder, option="--out")
        if any(not one.name.endswith(TEMPORARY) for one in folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no run: give --out a new folder.")
        _write(path, wanted)
        return
    held = _read(path)
    held.pop(_MADE, None)
    changed = differences(held, wanted)
    if has_begun(folder):
        _refuse(folder, [key for key in changed if not _is_free(key)])
    elif changed:
        if any(_shapes_pool(key, wanted) for key in changed):
            _delete_pool(folder / POOL)
        _write(path, wanted)


def has_begun(folder: Path) -> bool:
    """Tell whether a run has trained as far as a checkpoint."""
    return (folder / checkpoint.NAME).exists()


def tie_to_pool(folder: Path, pool: Pool) -> None:
    """Note which pool a run trains on; raises UsageError when a run that has begun is given another one."""
    held = recorded(folder).get("pool")
    if held == pool.digest:
        return
    if held is not None and has_begun(folder):
        raise UsageError(
            f"{folder} has trained on other pictures than those of {pool.folder} (pool {str(held)[:16]}, not "
            f"{pool.digest[:16]}): bring that pool back, or give another --out to start anew."
        )
    record(folder, pool=pool.digest)


def record(folder: Path, **made: Any) -> None:
    """Add to what became of a run's request, in `run.json`."""
    held = _read(folder / REQUEST)
    held[_MADE] = {**held.get(_MADE, {}), **made}
    _write(folder / REQUEST, held)


def recorded(folder: Path) -> dict[str, Any]:
    """Return what became of a run's request; nothing on a machine that does not see the run's folder."""
    path = folder / REQUEST
    return dict(_read(path).get(_MADE, {})) if path.exists() else {}


def _refuse(folder: Path, changed: list[str]) -> None:
    if changed:
        raise UsageError(
            f"{folder} holds a run with other settings ({', '.join(changed)} differ): give the same ones "
            "to go on with it, or another --out to start anew."
        )


def _is_free(key: str) -> bool:
    """Tell whether a setting may change from one call to the next: not one that decides what is drawn."""
    return key.startswith("running.") and key != "running.seed"


def _shapes_pool(key: str, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a setting decides what lies in a pool or beside it."""
    if key == "crops.global_size":  # labelled cells are cut at this size
        return bool(wanted["knn"])
    return key in ("images", "knn") or (key.startswith("data.") and key not in _DRAWN_LATER)


def _delete_pool(pool: Path) -> None:
    """Delete the files of a pool, its description first: a killed deletion leaves no pool behind."""
    for pattern in (DESCRIPTION, "*.npy", "*.npz"):
        for path in pool.glob(pattern):
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}): start anew in another --out.") from error


def _write(path: Path, request: Mapping[str, Any]) -> None:
    text = json.dumps(request, indent=1, ensure_ascii=False)
    save_durably(path, lambda file: file.write(text.encode()), option="--out")
