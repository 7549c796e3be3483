"""The data sets CytoBench can read in the layout of their official download, and where they are found.

Nothing here imports a reader: a reader is imported when it is called.
"""

from __future__ import annotations

import os.path
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cytobench.datasets.info import DatasetInfo, Download
from cytobench.datasets.known import DATASETS
from cytobench.errors import CardError

if TYPE_CHECKING:
    import polars as pl

    from cytobench.cards import DataSource, TaskCard

    Reader = Callable[..., pl.DataFrame]


__all__ = [
    "DATASETS",
    "DataWarning",
    "DatasetInfo",
    "Download",
    "available_tasks",
    "find_folder",
    "find_root",
    "import_function",
    "is_inside",
    "labels_path",
    "listen",
    "source_path",
]


_T = TypeVar("_T")


class DataWarning(UserWarning):
    """Something a reader left out or found odd, worth telling but no reason to stop."""


def listen(read: Callable[[], _T]) -> tuple[_T, list[str]]:
    """Return what `read` returns, and what readers remark on meanwhile (DataWarning), a sentence each."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = read()
    return found, [str(one.message) for one in heard if issubclass(one.category, DataWarning)]


def find_root(name: str, data_dirs: Iterable[Path]) -> Path | None:
    """Return the folder of data set `name`: below one of `data_dirs`, or one of these itself; None if absent.

    A data set that is not in DATASETS has a folder of its own name.
    """
    return find_folder(DATASETS[name].folders if name in DATASETS else (name,), data_dirs)


def find_folder(folders: Sequence[str], data_dirs: Iterable[Path]) -> Path | None:
    """Return the first of `folders` below one of `data_dirs`, or one of these itself; None if absent."""
    for data_dir in data_dirs:
        for folder in folders:
            if (data_dir / folder).is_dir():
                return data_dir / folder
        if data_dir.name in folders and data_dir.is_dir():
            return data_dir
    return None


def import_function(reference: str, card: Path | None = None) -> Reader:
    """Import `"package.module:function"`, from the plugin folder of the file `card` if it is nowhere else.

    Raises CardError when there is no such thing to call.
    """
    from cytobench.registry import import_beside  # brings pydantic, which listing files does without

    module_name, _, attribute = reference.partition(":")
    try:
        found: Any = getattr(import_beside(module_name, card), attribute)
    except Exception as error:  # whatever foreign code raises, the user must learn whose it is
        raise CardError(
            f"The reader '{reference}' cannot be imported ({error}): check the card's dataset key."
        ) from error
    if not callable(found):
        raise CardError(f"The reader '{reference}' is not a function: check the card's dataset key.")
    function: Reader = found
    return function


def available_tasks(tasks: Mapping[str, TaskCard], data_dirs: Sequence[Path]) -> tuple[TaskCard, ...]:
    """Return the tasks whose data are at hand (a generated data set always is), in their order."""
    return tuple(card for card in tasks.values() if _at_hand(card, data_dirs))


def source_path(card: TaskCard) -> Path:
    """Return the folder or table a card's own data source names; raises CardError when it leaves its place.

    A relative path stays inside the card's folder, or inside the plugin folder for a card in its `tasks/`; an
    absolute path, or `outside = true`, may name any place.
    """
    if isinstance(card.dataset, str):
        raise CardError(
            f"Task '{card.name}' names the data set '{card.dataset}', not a folder or table of its own."
        )
    return _placed(card, card.dataset, card.dataset.path, "dataset path")


def labels_path(card: TaskCard) -> Path:
    """Return the table of labels that a card of precomputed features names; raises as `source_path` does."""
    if isinstance(card.dataset, str):
        raise CardError(f"Task '{card.name}' names no table of labels.")
    return _placed(card, card.dataset, card.dataset.labels, "labels")


def _placed(card: TaskCard, source: DataSource, written: str, what: str) -> Path:
    wanted = Path(written).expanduser()
    if wanted.is_absolute():
        return wanted
    if card.source is None:
        raise CardError(f"Task '{card.name}' was read from no file: give its dataset an absolute path.")
    here = card.source.parent
    bounds = here.parent if here.name == "tasks" else here
    if not is_inside(here / wanted, bounds) and not source.outside:
        raise CardError(
            f"{card.source}: {what} '{written}' leaves {bounds}: move the data there, "
            "write the path in full, or say outside = true."
        )
    return Path(_normal(here / wanted))


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether `path`, read as written (links are not followed), lies in `folder`."""
    return Path(_normal(path)).is_relative_to(_normal(folder))


def _normal(path: Path) -> str:
    return os.path.normpath(path.absolute())


def _at_hand(card: TaskCard, data_dirs: Sequence[Path]) -> bool:
    if not isinstance(card.dataset, str):
        try:
            return source_path(card).exists()
        except CardError:
            return False
    info = DATASETS.get(card.dataset)
    if info is None:
        return ":" in card.dataset and _plugin_has(card, data_dirs)
    return info.generated or find_root(info.name, data_dirs) is not None


def _plugin_has(card: TaskCard, data_dirs: Sequence[Path]) -> bool:
    from cytobench.datasets.plugin import plugin_data

    try:
        data = plugin_data(card)
    except CardError:
        return False
    return data.generate is not None or data.find(data_dirs) is not None
