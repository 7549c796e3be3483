"""What a person downloaded becomes the folder a reader reads: unpacked, found, cut where needed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cytobench.datasets import find_root, import_function, listen
from cytobench.datasets.info import DatasetInfo
from cytobench.datasets.listing import folders_in
from cytobench.datasets.unpack import archives_in, link_tree, unpack
from cytobench.datasets.words import as_data_error, downloads_of, words_of
from cytobench.errors import CytoBenchError, DataError, MissingDataError
from cytobench.progress import Reporter
from cytobench.transfer.errand import writing

if TYPE_CHECKING:
    import polars as pl

_MARK = ".source.json"
_DEPTH = 2
_MOST_FOLDERS = 300


@dataclass(frozen=True)
class Prepared:
    """Where a data set lies now; `already`: it was there before; `said`: what was left out or added."""

    root: Path
    already: bool
    said: tuple[str, ...] = ()


def prepare(info: DatasetInfo, to: Path, reporter: Reporter, *, source: Path | None = None) -> Prepared:
    """Turn a download of `info` into its folder below the data folder `to`, and return where that is.

    `source`: an archive, or a folder with archives or with what they hold; None: what `cytobench data
    download` has fetched. A data set that is there and can be read is left alone; where a set has a function
    of its own, that may add to it (other sizes of the same images). An interrupted call goes on where it
    stopped. Raises DataError when there is nothing to prepare, something is damaged or unsafe, or
    the layout cannot be made out: then nothing is put in place.
    """
    held = find_root(info.name, (to,))
    if held is not None:
        made = _made_in_place(info, held, source, reporter)
        _require_readable(info, held)
        return Prepared(held, already=not made)
    source = _source(info, to, source)
    with as_data_error():
        return _prepare(info, to, source, reporter)


def _made_in_place(info: DatasetInfo, held: Path, source: Path | None, reporter: Reporter) -> bool:
    """Run the set's own function on what lies in its folder, or on `source`; tell whether it ran."""
    if not info.prepare:
        return False
    if source is None:
        if _reads(info, held):
            return False
    elif not source.exists() or archives_in(source):
        return False
    _function(info)(source or held, held, reporter)
    return True


def _reads(info: DatasetInfo, root: Path) -> bool:
    try:
        read_root(info, root)
    except CytoBenchError:
        return False
    return True


def read_root(info: DatasetInfo, root: Path) -> pl.DataFrame:
    """Return the manifest of the data set at `root`, nothing left out by an option; raises DataError."""
    options = dict(info.count_options) | form_at(info, root)
    table, _ = listen(lambda: import_function(info.reader)(root, **options))
    if table.is_empty():
        raise DataError(f"{root} holds no image of {info.name}.")
    return table


def form_at(info: DatasetInfo, root: Path) -> dict[str, object]:
    """Return the options under which the reader reads what lies at `root`: none unless another form does."""
    reader = import_function(info.reader)
    for form in ({}, *info.forms) if info.forms else ():
        try:
            listen(lambda form=form: reader(root, **form))  # type: ignore[misc]
        except CytoBenchError:
            continue
        return dict(form)
    return {}


def _source(info: DatasetInfo, to: Path, source: Path | None) -> Path:
    if source is not None:
        if not source.exists():
            raise MissingDataError(f"There is nothing at {source}: correct the path given with --from.")
        return source
    downloads = downloads_of(info, to)
    if not downloads.is_dir():
        raise MissingDataError(
            f"No download of {info.name} lies below {to}: name the archive or folder with --from "
            f"(`cytobench data show {info.name}` says where to get it)."
        )
    unfinished = [path.name.removesuffix(".partial") for path in downloads.rglob("*.partial")]
    if unfinished:
        raise DataError(
            f"The download of {', '.join(sorted(unfinished))} is not finished: run `cytobench data download "
            f"{info.name}` again, it goes on where it stopped."
        )
    return downloads


def _prepare(info: DatasetInfo, to: Path, source: Path, reporter: Reporter) -> Prepared:
    words, staging = words_of(info), to / f".preparing-{info.name}"
    archives = archives_in(source)
    with writing(to, words):
        _fresh_unless_same(staging, source, archives)
    base, said = source, []
    if archives or source.is_file():
        base = staging / "unpacked"
        said = unpack(archives, source, base, words, reporter).told()
    found = _find_layout(info, base)
    if isinstance(found, DataError) and info.prepare:
        made = staging / "made"
        with writing(made, words):
            made.mkdir(parents=True, exist_ok=True)
        _function(info)(base, made, reporter)
        found = _find_layout(info, made)
    if isinstance(found, DataError):
        raise found
    if not found.is_relative_to(staging):
        link_tree(found, staging / "linked", words, reporter)
        found = staging / "linked"
    root = to / info.folders[0]
    with writing(root, words):
        found.replace(root)
        shutil.rmtree(staging, ignore_errors=True)
    return Prepared(root, already=False, said=tuple(said))


def _fresh_unless_same(staging: Path, source: Path, archives: Sequence[Path]) -> None:
    """Empty `staging` unless an interrupted call began it with the very same download; raises OSError."""
    about = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in archives]
    mark = hashlib.sha256(json.dumps([str(source.absolute()), about]).encode()).hexdigest()
    noted = staging / _MARK
    if noted.is_file() and noted.read_text(encoding="utf-8") == mark:
        return
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True, exist_ok=True)
    noted.write_text(mark, encoding="utf-8")


def _find_layout(info: DatasetInfo, base: Path) -> Path | DataError:
    """Return the shallowest folder at or below `base` that the reader reads, or what it says of the best."""
    complaints: list[tuple[bool, DataError]] = []
    for folder in _candidates(base):
        try:
            read_root(info, folder)
        except DataError as error:
            complaints.append(("is not laid out like" in str(error), error))
        else:
            return folder
    # A reader that knew the layout and found something wrong in it says more than one that saw no layout.
    told = min(complaints, key=lambda complaint: complaint[0])[1]
    return DataError(f"{str(told).rstrip('.')} (`cytobench data show {info.name}` shows the layout).")


def _candidates(base: Path) -> Iterator[Path]:
    level, shown = [base], 0
    for _ in range(_DEPTH + 1):
        for folder in level:
            shown += 1
            if shown > _MOST_FOLDERS:
                return
            yield folder
        level = [inner for folder in level for inner in folders_in(folder)]


def _require_readable(info: DatasetInfo, root: Path) -> None:
    try:
        read_root(info, root)
    except CytoBenchError as error:
        aside = root.with_name(f"{root.name}-download")
        raise DataError(
            f"{root} is there but cannot be read ({str(error).rstrip('.')}): move it away, for instance to "
            f"{aside}, and prepare it with --from {aside}."
        ) from error


def _function(info: DatasetInfo) -> Callable[[Path, Path, Reporter], None]:
    found: Any = import_function(info.prepare)
    return cast("Callable[[Path, Path, Reporter], None]", found)
