"""What a backbone is pretrained on, laid beside a task: a data set, a folder of images, a packed pool."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench import manifest
from cytobench.audit.fields import names_of
from cytobench.audit.issue import Member
from cytobench.checks.copies import Sight
from cytobench.checks.imprints import WHOLE, Imprints, describe_items, describe_pool
from cytobench.checks.subject import Subject
from cytobench.datasets import DATASETS, find_root, import_function, listen
from cytobench.datasets.listing import images_in
from cytobench.digests import FileDigests
from cytobench.encoders import Encoder
from cytobench.errors import DataError, MissingDataError, UsageError
from cytobench.features.items import Items, items_of
from cytobench.images import RGB
from cytobench.pretraining.pool import Pool, is_pool
from cytobench.progress import Reporter

_BATCH = 64
POOL_ROWS = 10**9
"""Rows of a member that lie in one pool: which pool it is in is the rest."""


@dataclass(frozen=True)
class PoolSubject:
    """Pictures of a pool: `names`, `imprints`, how to get one (`picture`), `items` unless it is packed."""

    name: str
    dataset: str
    names: Sequence[str]
    imprints: Imprints
    picture: Callable[[int], RGB]
    items: Items | None
    packed: Pool | None = None

    @property
    def sight(self) -> Sight:
        """How the pictures are looked at once more; no two come from one file of the task."""
        if self.items is not None:
            return Sight(self.items.crops, self.items.images)
        names = [f"{self.name}: {name}" for name in self.names]
        return Sight(lambda rows: [self.picture(row) for row in rows], names)


def require_pool(named: str) -> None:
    """Raise UsageError where `named` is nothing that `open_pool` knows; reads nothing."""
    if named not in DATASETS and not Path(named).expanduser().is_dir():
        near = difflib.get_close_matches(named, DATASETS, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise UsageError(
            f"There is no pool '{named}'{hint}: name a data set (`cytobench list datasets`), a folder of "
            "images, or a folder that `cytobench pretrain` wrote."
        )


def open_pool(
    named: str,
    subject: Subject,
    *,
    data_dirs: Sequence[Path],
    home: Path,
    digests: FileDigests,
    reporter: Reporter,
) -> PoolSubject:
    """Return a pool: the name of a data set, a run of `cytobench pretrain`, its pool, or a folder of images.

    The data set of the task itself stands for its sealed share, which is all that pretraining may read.
    Raises UsageError where there is no such thing, DataError where it cannot be read.
    """
    if named in DATASETS:
        table = _table(named, subject, data_dirs)
        return _of_table(named, named, table, subject, home=home, digests=digests, reporter=reporter)
    folder = Path(named).expanduser()
    for candidate in (folder, folder / "pool"):
        if is_pool(candidate):
            return _packed(folder.name, Pool(candidate), reporter)
    require_pool(named)
    found = images_in(folder, deep=True)
    if not found:
        raise DataError(f"The pool {named} holds no image: check the path given with --pool.")
    table = pl.DataFrame({"image": [str(path.absolute()) for path in found]})
    return _of_table(folder.name, "", table, subject, home=home, digests=digests, reporter=reporter)


def pool_features(pool: PoolSubject, encoder: Encoder, reporter: Reporter) -> npt.NDArray[np.float32]:
    """Return what a backbone sees of a packed pool's pictures, float32 [n, d]; nothing is stored."""
    assert pool.packed is not None
    found = np.empty((len(pool.packed), encoder.dim), np.float32)
    with reporter.task(f"features of the pool: {encoder.name}", len(found)) as step:
        for start in range(0, len(found), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(found)))
            crops = pool.packed.read(rows)
            found[rows] = encoder.encode(np.stack([encoder.prepare(crop) for crop in crops]))
            step.advance(len(rows))
    return found


def pool_member(pool: PoolSubject, number: int, row: int) -> Member:
    """Return a picture of the pool `number` of an audit as a member of an issue."""
    return Member("pool", number * POOL_ROWS + row, f"{pool.name}: {pool.names[row]}", f"pool {pool.name}")


def _table(named: str, subject: Subject, data_dirs: Sequence[Path]) -> pl.DataFrame:
    if named == subject.card.dataset_name:
        if not len(subject.data.sealed):
            raise DataError(
                f"The task {subject.card.name} seals nothing for pretraining: no pool may be made of {named}."
            )
        return subject.data.sealed
    root = find_root(named, data_dirs)
    if root is None:
        raise MissingDataError(
            f"The pool '{named}' is not here: name the folder above it with --data or CYTOBENCH_DATA."
        )
    return listen(lambda: manifest.conform(import_function(DATASETS[named].reader)(root)))[0]


def _of_table(
    name: str,
    dataset: str,
    table: pl.DataFrame,
    subject: Subject,
    *,
    home: Path,
    digests: FileDigests,
    reporter: Reporter,
) -> PoolSubject:
    boxed = "box" in table.columns and not table["box"].is_null().all()
    items = items_of(table, subject.items.view if boxed else WHOLE, digests, reporter)
    (imprints,) = describe_items([items], home=home, digests=digests, reporter=reporter)
    names = table["sample"].to_list() if "sample" in table.columns else list(names_of(items.images))
    return PoolSubject(name, dataset, names, imprints, lambda row: items.crops([row])[0], items)


def _packed(name: str, pool: Pool, reporter: Reporter) -> PoolSubject:
    names = [f"picture {row}" for row in range(len(pool))]
    imprints = describe_pool(pool, reporter)
    datasets = ", ".join(source.dataset for source in pool.sources if source.dataset)
    return PoolSubject(name, datasets, names, imprints, _reader(pool), None, pool)


def _reader(pool: Pool) -> Callable[[int], RGB]:
    return lambda row: pool.read(np.array([row], np.int64))[0]


def kinship(pool: PoolSubject, task_dataset: str) -> str:
    """Return what is known of a pool's origin and the task's, as a sentence; "" for nothing."""
    info = DATASETS.get(task_dataset)
    if info is not None and pool.dataset in info.same_smears_as:
        return (
            f"{pool.name} shows cells of the same smears as {task_dataset}: a backbone trained on it is "
            "favoured here, copies or not. Say so beside the score."
        )
    return ""
