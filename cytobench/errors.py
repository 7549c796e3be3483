"""The errors a user can meet: each message is one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

_NAMED_AT_MOST = 5


class CytoBenchError(Exception):
    """A failure with a message meant for the user; the command line prints it and exits with `exit_code`."""

    exit_code = 1


class PretrainingError(CytoBenchError):
    """A training run cannot go on: its numbers broke, or its memory does not suffice."""


class UsageError(CytoBenchError):
    """The command or a card was written wrongly; nothing was computed."""

    exit_code = 2


class CardError(UsageError):
    """A card is missing, malformed, or clashes with another one."""


class DataError(CytoBenchError):
    """Images, labels or a manifest are missing, unreadable or contradictory."""


class WeightsError(CytoBenchError):
    """Weights could not be found, fetched or trusted."""


class WrongWeightsError(WeightsError):
    """Weights are here, or were fetched, but are not the file that was meant, or could not be kept."""


class TransferError(CytoBenchError):
    """A file could not be fetched; told as WeightsError or DataError by whoever asked for it."""


class WrongFileError(TransferError):
    """A file was fetched but is not the one that was meant, or could not be kept."""


class MissingDataError(DataError):
    """A data set is in none of the folders that were looked at."""


class EncoderError(CytoBenchError):
    """Weights and architecture do not fit, or an encoder returned something unusable."""


class ProbeError(CytoBenchError):
    """A probe that a plugin brings failed, or returned something that is no probabilities."""


class StoreError(CytoBenchError):
    """The feature store cannot be written or holds something it should not."""


class ProtocolError(CytoBenchError):
    """The evaluation protocol cannot be carried out on these data (folds, classes, groups)."""


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number with what it counts: `one` where it is one, else `many`, or `one` with an s.

    Where a verb follows, it belongs to both: `counted(n, "row has", "rows have")`.
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def name_some(values: Iterable[object]) -> str:
    """Return up to five values as text, and how many more there are."""
    items = [str(v) for v in values]
    shown = ", ".join(items[:_NAMED_AT_MOST])
    more = len(items) - _NAMED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown
