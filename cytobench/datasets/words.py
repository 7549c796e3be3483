"""How messages about fetching and unpacking a data set speak, and where its downloads lie meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cytobench.datasets.info import DatasetInfo
from cytobench.errors import DataError, TransferError
from cytobench.transfer.errand import Words


def words_of(info: DatasetInfo) -> Words:
    """Return how messages speak of the files of `info`, with its official page as the way out."""
    page = info.url or f"the page that `cytobench data show {info.name}` names"
    return Words(
        things="data",
        address=f"look for it on {page}, and tell us that the address has changed",
        digest=f"look on {page} whether there is a new version",
        unknown_length=f"download it by hand from {page}",
        elsewhere="--to",
    )


def downloads_of(info: DatasetInfo, to: Path) -> Path:
    """Return the folder below the data folder `to` that keeps the downloaded files of `info`."""
    return to / ".downloads" / info.name


@contextmanager
def as_data_error() -> Iterator[None]:
    """Turn what a transfer complains of into a DataError with the same sentence."""
    try:
        yield
    except TransferError as error:
        raise DataError(str(error)) from error
