"""From what a user names to a run: sources to a pool, once; a folder to go on in; weights to begin with.

A run's folder holds `run.json` (the request), `pool/`, `checkpoint.pth`, `log.csv`, `curves.png`,
`model.safetensors` and `card.toml`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytobench import images
from cytobench.errors import DataError, UsageError
from cytobench.features.durable import make_folder, save_durably
from cytobench.pretraining.neighbours import Labelled
from cytobench.pretraining.pack import pack, prepare
from cytobench.pretraining.pool import DESCRIPTION, Pool, is_pool
from cytobench.pretraining.recipe import Data, Recipe, as_dict, differences
from cytobench.pretraining.sources import (
    Listed,
    Piece,
    is_manifest,
    list_folder,
    list_manifest,
    list_rows,
    read_manifest,
)
from cytobench.progress import Reporter

if TYPE_CHECKING:
    import polars as pl

    from cytobench.pretraining.guard import Guard
    from cytobench.registry import Registry

REQUEST = "run.json"
_LABELLED = "labelled-{}.npz"
_FREE = ("running",)  # settings that may change from one call to the next


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
    """Where things are looked for: cards (read when they are asked for), data folders, home."""

    registry: Callable[[], Registry]
    data: tuple[Path, ...]
    home: Path
    reporter: Reporter


def open_run(folder: Path, request: Request) -> None:
    """Begin a run in `folder`, or make sure that it goes on with the request it began with.

    Raises UsageError that names the settings that differ; `running` alone may change.
    """
    path = folder / REQUEST
    wanted = request.as_dict()
    if path.exists():
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}): start anew in another --out.") from error
        changed = [
            key for key in differences(held, json.loads(json.dumps(wanted))) if not key.startswith(_FREE)
        ]
        if changed:
            raise UsageError(
                f"{folder} holds a run with other settings ({', '.join(changed)} differ): give the same ones "
                "to go on with it, or another --out to start anew."
            )
        return
    make_folder(folder)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no run: give --out a new folder.")
    text = json.dumps(wanted, indent=1, ensure_ascii=False)
    save_durably(path, lambda file: file.write(text.encode()), option="--out")


def find_or_make_pool(folder: Path, request: Request, around: Surroundings) -> Pool:
    """Return the run's pool: the packed one that the request names, or `folder`/pool, packed if need be.

    Raises UsageError for what cannot be read or must not be, DataError for broken or empty sources.
    """
    named = [Path(one) for one in request.images if is_pool(_pool_folder(Path(one)))]
    if named and len(request.images) > 1:
        raise UsageError(f"{named[0]} is a packed pool and stands alone: give no other --images beside it.")
    if named:
        pool = Pool(_pool_folder(named[0]))
        _require_side(pool, request.recipe)
        return pool
    inside = folder / "pool"
    if is_pool(inside):
        return Pool(inside)
    data = request.recipe.data
    guard = _guard(request.images, around)
    listings, closed = _list_all(request.images, data, guard, around)
    _save_labelled(inside, request, around)
    facts = {
        "guard": list(guard.examined) if guard else [],
        "closed_digests": len(guard.digests) if guard else 0,
        "settings": as_dict(data),
    }
    return pack(listings, data, inside, closed=closed, facts=facts, reporter=around.reporter)


def labelled_of(pool: Pool, request: Request) -> list[Labelled]:
    """Return the labelled cells that lie beside a pool, at the size of its global crops."""
    found = [Labelled.load(path) for path in sorted(pool.folder.glob(_LABELLED.format("*")))]
    size = request.recipe.crops.global_size
    wrong = [one.name for one in found if one.pixels.shape[1] != size]
    if wrong:
        raise UsageError(
            f"The labelled cells {', '.join(wrong)} beside the pool {pool.folder} are not of {size} px, as "
            "global crops are: pack the pool anew."
        )
    return found


def _pool_folder(path: Path) -> Path:
    """A packed pool may be named by itself or by the run that made it."""
    return path if (path / DESCRIPTION).exists() else path / "pool"


def _require_side(pool: Pool, recipe: Recipe) -> None:
    if pool.side < recipe.crops.global_size:
        raise UsageError(
            f"The pool {pool.folder} holds pictures of {pool.side} px, smaller than global crops of "
            f"{recipe.crops.global_size} px: pack it anew with a larger data.side."
        )


def _guard(named: Sequence[str], around: Surroundings) -> Guard | None:
    """Return what is closed; None where no evaluation data are at hand to compare with."""
    if not around.data and not any(_is_dataset(one) for one in named):
        return None
    try:
        from cytobench.pretraining.guard import examine

        return examine(around.registry(), data_dirs=around.data, home=around.home, reporter=around.reporter)
    except ImportError as error:
        raise UsageError(
            f"Keeping evaluation cells out needs {error.name}, which is not installed here: install it, or "
            "pack the pool elsewhere with --pack-only and name that with --images."
        ) from error


def _is_dataset(named: str) -> bool:
    from cytobench.datasets import DATASETS

    return named in DATASETS


def _list_all(
    named: Sequence[str], data: Data, guard: Guard | None, around: Surroundings
) -> tuple[list[Listed], dict[str, Mapping[str, int]]]:
    listings: list[Listed] = []
    closed: dict[str, Mapping[str, int]] = {}
    for one in named:
        listed, table = _list(one, data, around)
        listed = _with_own_name(listed, [other.name for other in listings])
        if guard is not None:
            from cytobench.digests import FileDigests

            if not listed.dataset and table is None:
                guard.refuse_folder(Path(one))
            listed, lost = guard.filter(listed, FileDigests(around.home), around.reporter, table)
            closed[listed.name] = lost
        listings.append(listed)
    return listings, closed


def _list(named: str, data: Data, around: Surroundings) -> tuple[Listed, pl.DataFrame | None]:
    if _is_dataset(named):
        from cytobench.pretraining.guard import open_rows

        opened = open_rows(
            named, around.registry(), data_dirs=around.data, home=around.home, reporter=around.reporter
        )
        return list_rows(named, opened.rows, data, window=opened.window), None
    path = Path(named).expanduser()
    if is_manifest(path):
        return list_manifest(path, data)
    return list_folder(path, data), None


def _with_own_name(listed: Listed, taken: Sequence[str]) -> Listed:
    name, n = listed.name, 2
    while name in taken:
        name, n = f"{listed.name}-{n}", n + 1
    return Listed(name, listed.dataset, listed.pieces)


def _save_labelled(folder: Path, request: Request, around: Surroundings) -> None:
    """Cut the labelled cells a run is watched by, once, and keep them beside the pool."""
    make_folder(folder)
    for named in request.labelled:
        labelled = _labelled(named, request.recipe, around)
        labelled.save(folder / _LABELLED.format(labelled.name))


def _labelled(named: str, recipe: Recipe, around: Surroundings) -> Labelled:
    data = recipe.data
    if is_manifest(Path(named)):
        rows, name, window = read_manifest(Path(named)), Path(named).stem, data.window
        if rows["label"].null_count():
            raise DataError(f"{named}: {rows['label'].null_count()} rows have no label to watch a run by.")
        classes = tuple(rows["label"].unique().sort())
    else:
        from cytobench.pretraining.guard import labelled_rows

        card = around.registry().task(named)
        rows, classes = labelled_rows(card, data_dirs=around.data, home=around.home)
        name = card.name
        window = int(card.view.size or 0) if card.view.kind == "window" and card.view.unit == "px" else 0
    pieces = _whole_or_window(rows, name, data, window)
    groups = rows["group"] if "group" in rows.columns else rows["sample"]
    _, group = np.unique(groups.cast(str).to_numpy(), return_inverse=True)
    label = np.array([classes.index(one) for one in rows["label"]], dtype=np.int64)
    if len(classes) < 2:
        raise DataError(f"{named} holds one class only: a run cannot be watched by it.")
    pixels = _pictures(pieces, recipe.crops.global_size, around)
    return Labelled(name, pixels, label, group.astype(np.int64), classes)


def _whole_or_window(rows: pl.DataFrame, name: str, data: Data, window: int) -> tuple[Piece, ...]:
    pieces = list_rows(name, rows, data, window=window).pieces
    if len(pieces) != len(rows):
        raise DataError(f"{name}: boxes without area or tiles cannot be labelled cells; give each a window.")
    return pieces


def _pictures(
    pieces: Sequence[Piece], side: int, around: Surroundings
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    found = []
    last: tuple[Path, images.RGB] | None = None
    with around.reporter.task("labelled cells", len(pieces)) as step:
        for piece in pieces:
            if last is None or last[0] != piece.image:
                last = (piece.image, images.decode(piece.image))
            found.append(prepare(last[1], piece, side))
            step.advance()
    return np.stack(found)


def begin_with(init: str, around: Surroundings) -> Callable[[Any], None] | None:
    """Return what brings a checkpoint's or a backbone's weights into a fresh model; None without `init`.

    `init`: the path of a checkpoint (published iBOT layout, backbone only, or safetensors), or a backbone's
    name. Student and teacher both start from it; heads stay fresh. Raises WeightsError or UsageError.
    """
    if not init:
        return None

    def bring(model: Any) -> None:
        from cytobench.encoders import checkpoint as files

        path = Path(init).expanduser()
        if not path.is_file():
            path = _weights_of(init, around)
        held, branch = files.branch_of(files.read(path), "teacher", path)
        state = files.strip_prefixes(files.tensors(held, path))
        heads = ("head.", "dino_head.", "ibot_head.")
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
        model.load_backbone(state)
        around.reporter.say(f"beginning with {path.name}{f', its {branch}' if branch else ''}")

    return bring


def _weights_of(name: str, around: Surroundings) -> Path:
    try:
        from cytobench.encoders.weights import resolve

        card = around.registry().backbone(name)
    except ImportError as error:
        raise UsageError(
            f"There is no checkpoint at {name}, and finding the backbone of that name needs {error.name}, "
            "which is not installed here: give the path of a checkpoint."
        ) from error
    if card.loader not in ("ibot", "timm"):
        raise UsageError(
            f"The backbone '{name}' is no vision transformer to begin with: it is {card.loader}."
        )
    return resolve(
        card.weights,
        sha256=card.sha256,
        card_dir=card.source.parent if card.source else None,
        home=around.home,
        gated=card.gated,
        licence_url=card.licence_url,
        reporter=around.reporter,
    ).path
