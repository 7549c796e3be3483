"""Optuna storages: opened from an address, mended after a kill, their errors told in one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from cytobench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileOpenLock

_LOCK_SECONDS = 10
"""After so long the lock of a journal belongs to nobody: writing a line takes milliseconds."""
_ATTEMPTS = 4
_BROKEN = "The storage of the studies, {where}, cannot be used ({why}); what was tried is kept, run again."


def open_storage(url: str | None, journal: Path) -> BaseStorage:
    """Return Optuna's storage at `url` (sqlite:///…, postgresql://…, mysql://…, redis://…, or a file's path).

    None: a journal file at `journal`. Raises UsageError when the address means nothing to Optuna, StoreError
    when nothing answers there.
    """
    where = url or str(journal)
    with told(where):
        if url is None or "://" not in url:
            return _journal_file(Path(url) if url else journal)
        if url.startswith("redis"):
            from optuna.storages.journal import JournalRedisBackend, JournalStorage

            return JournalStorage(JournalRedisBackend(url))
        return _database(url)


def _database(url: str) -> BaseStorage:
    """Open a database and make its tables where there are none, though others may be making them too."""
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        file = Path(place.database or "")
        here = place.database is not None and file.parent.is_dir()
        with FileLock(f"{file}.lock") if here else contextlib.nullcontext():
            return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 120}})
    for _ in range(_ATTEMPTS):  # servers offer no lock: whoever loses the race finds the tables next time
        with contextlib.suppress(IntegrityError, ProgrammingError):
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        time.sleep(0.5)
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


def _journal_file(path: Path) -> BaseStorage:
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    class Mending(JournalFileBackend):
        """A journal file from which torn lines are removed before more is written: nobody reads past one."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            """Write lines after the last whole one."""
            _cut_torn_line(path, lock)
            super().append_logs(logs)

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path), grace_period=_LOCK_SECONDS)
    _cut_torn_line(path, lock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return JournalStorage(Mending(str(path), lock_obj=lock))


def _cut_torn_line(path: Path, lock: JournalFileOpenLock) -> None:
    """Remove what a killed process or a full disk left of a line."""
    if not path.exists() or _ends_whole(path):
        return
    lock.acquire()
    try:
        if not _ends_whole(path):
            whole = path.read_bytes()
            with path.open("rb+") as file:
                file.truncate(whole.rfind(b"\n") + 1)
    finally:
        lock.release()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Turn whatever a storage raises into one sentence: databases have errors of their own."""
    try:
        yield
    except (StoreError, UsageError):
        raise
    except ImportError as error:
        raise UsageError(f"The storage {where} needs a package that is not here ({error}).") from error
    except Exception as error:
        kind = type(error).__name__
        if kind in ("ArgumentError", "NoSuchModuleError"):
            raise UsageError(
                f"'{where}' is no address of an Optuna storage; write sqlite:///FILE.db, another database's "
                "address, or the path of a journal file."
            ) from error
        why = str(error).strip().splitlines()
        raise StoreError(_BROKEN.format(where=where, why=f"{kind}: {why[0][:120] if why else ''}")) from error


def record_grid(storage: BaseStorage, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the trials of a fixed grid as Optuna studies, one an outer fold; those already there stay.

    rows: as `cytobench.evaluation.tuning.trial_rows` makes them. Raises StoreError.
    """
    import optuna
    from optuna.distributions import CategoricalDistribution

    with told(f"of run {run_id[:8]}"):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        for name in dict.fromkeys(row["outer_fold"] for row in rows):
            study = optuna.create_study(
                storage=storage, study_name=f"{run_id}/{name}", direction="maximize", load_if_exists=True
            )
            if study.get_trials(deepcopy=False):
                continue
            mine = [row for row in rows if row["outer_fold"] == name]
            params = [json.loads(row["params"]) for row in mine]
            values = {key: sorted({one[key] for one in params}) for key in params[0]}
            study.add_trials(
                [
                    optuna.trial.create_trial(
                        value=row["value"],
                        params=one,
                        distributions={key: CategoricalDistribution(values[key]) for key in one},
                        user_attrs={"chosen": bool(row["chosen"])},
                    )
                    for row, one in zip(mine, params, strict=True)
                ]
            )
