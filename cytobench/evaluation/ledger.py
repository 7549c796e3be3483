"""Where runs lie on disk: written whole or not at all, verified when read, failures beside them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from cytobench.errors import StoreError
from cytobench.evaluation.results import RunRecord, RunResult, rescored
from cytobench.features.durable import make_folder, unwritable, write_durably

PREDICTIONS, RESULT = "predictions.parquet", "result.json"
TRIALS, ATTENTION = "trials.parquet", "attention.parquet"
_PARTIAL, _STALE_SECONDS = ".partial", 3600.0


@dataclass(frozen=True)
class StoredRun:
    """A run read back: its folder, its result with scores recomputed, and its predictions."""

    folder: Path
    result: RunResult
    predictions: pl.DataFrame


class Failure(BaseModel):
    """Why a run has no result: written when it fails, removed when it succeeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    backbone: str
    probe: str
    tuned: bool
    reason: str
    attempts: int = 1
    run_id: str | None = None


def folder_name(name: str) -> str:
    """Return `name` as a folder's name; characters other than A-Z a-z 0-9 . _ - cost it a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def task_folder(home: Path, task: str) -> Path:
    """Return the folder with all runs of a task and the folds they used."""
    return home / "results" / folder_name(task)


def probe_folder(home: Path, task: str, backbone: str, probe: str) -> Path:
    """Return the folder with the runs of a backbone on a task under a probe."""
    return task_folder(home, task) / folder_name(backbone) / folder_name(probe)


def run_folder(home: Path, task: str, backbone: str, probe: str, run_id: str) -> Path:
    """Return the folder of one run."""
    return probe_folder(home, task, backbone, probe) / run_id


def journal_path(home: Path, run_id: str) -> Path:
    """Return where the studies of a run's search lie unless a storage is named."""
    return home / "studies" / f"{run_id}.log"


def save_run(home: Path, record: RunRecord) -> RunResult:
    """Write a run and return its result with the digests of its files; a run of the same id is replaced.

    The files are written to a temporary folder that is renamed when all are on disk: a killed process leaves
    nothing that could be taken for a run. Raises StoreError when the disk is full or not writable.
    """
    result = record.result
    final = run_folder(home, result.task, result.backbone, result.probe, result.run_id)
    partial = home / "results" / _PARTIAL / f"{result.run_id}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        partial.mkdir(parents=True)
        digests = {}
        for name, field, table in (
            (PREDICTIONS, "predictions_sha256", record.predictions),
            (TRIALS, "trials_sha256", record.trials),
            (ATTENTION, "attention_sha256", record.attention),
        ):
            if table is not None:
                (partial / name).write_bytes(_parquet(table))
                digests[field] = _sha256(partial / name)
        whole = result.model_copy(update=digests)
        (partial / RESULT).write_text(whole.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _flush(partial)
        _put_in_place(partial, final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise unwritable(final.parent, error) from error
    clear_failure(home, result.task, result.backbone, result.probe, tuned=result.tuned)
    return whole


def load_run(folder: Path) -> StoredRun:
    """Read a run, verify its files against their digests and compute its scores anew.

    Raises StoreError when something is missing, damaged or of another schema.
    """
    try:
        result = RunResult.model_validate_json((folder / RESULT).read_bytes())
        if _sha256(folder / PREDICTIONS) != result.predictions_sha256:
            raise StoreError(
                f"{folder / PREDICTIONS} is not the file that was written; run again with --force."
            )
        for name, digest in ((TRIALS, result.trials_sha256), (ATTENTION, result.attention_sha256)):
            if digest and _sha256(folder / name) != digest:
                raise StoreError(f"{folder / name} is not the file that was written; run again with --force.")
        table = pl.read_parquet(folder / PREDICTIONS)
        return StoredRun(folder, rescored(result, table), table)
    except (OSError, ValidationError, pl.exceptions.PolarsError) as error:
        raise StoreError(
            f"The run in {folder} cannot be read ({type(error).__name__}); run it again."
        ) from error


def load_predictions(home: Path, task: str, backbone: str, probe: str, run_id: str) -> pl.DataFrame:
    """Return the predictions of a stored run, believing what `load_run` has verified; raises StoreError."""
    path = run_folder(home, task, backbone, probe, run_id) / PREDICTIONS
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path} cannot be read ({type(error).__name__}); run it again.") from error


def find_run(home: Path, task: str, backbone: str, probe: str, run_id: str) -> StoredRun | None:
    """Return a stored run, or None where there is none; raises StoreError when it is damaged."""
    folder = run_folder(home, task, backbone, probe, run_id)
    return load_run(folder) if folder.is_dir() else None


def stored_runs(home: Path, task: str | None = None) -> Iterator[Path]:
    """Yield the folders of all runs under `home`, or of one task's, sorted."""
    of_task = "*" if task is None else folder_name(task)
    yield from sorted(path.parent for path in (home / "results").glob(f"{of_task}/*/*/*/{RESULT}"))


def stored_failures(home: Path) -> list[Failure]:
    """Return all recorded failures under `home`; unreadable records are left out."""
    found = []
    for path in sorted((home / "results").glob("*/*/*/failed-*.json")):
        failure = _read_failure(path)
        if failure is not None:
            found.append(failure)
    return found


def record_failure(home: Path, failure: Failure) -> Failure:
    """Write why a run failed and return the record with its number of attempts, earlier ones included."""
    path = _failure_path(home, failure.task, failure.backbone, failure.probe, tuned=failure.tuned)
    earlier = _read_failure(path)
    counted = failure.model_copy(update={"attempts": failure.attempts + (earlier.attempts if earlier else 0)})
    # A full disk may be the very failure to be told; then the outcome alone tells it.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
        temporary.write_text(counted.model_dump_json(indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    return counted


def clear_failure(home: Path, task: str, backbone: str, probe: str, *, tuned: bool) -> None:
    """Forget an earlier failure, if any."""
    _failure_path(home, task, backbone, probe, tuned=tuned).unlink(missing_ok=True)


def write_table_once(path: Path, table: pl.DataFrame) -> None:
    """Write a Parquet table under a name that carries its digest, unless it is there; raises StoreError."""
    if path.exists():
        return
    make_folder(path.parent)
    write_durably(path, [_parquet(table)])


def _failure_path(home: Path, task: str, backbone: str, probe: str, *, tuned: bool) -> Path:
    return probe_folder(home, task, backbone, probe) / f"failed-{'tuned' if tuned else 'untuned'}.json"


def _read_failure(path: Path) -> Failure | None:
    try:
        return Failure.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _parquet(table: pl.DataFrame) -> bytes:
    """Return the bytes of a Parquet file: polars' own writing hides a full disk behind other errors."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Make sure that a rename cannot reach the disk before the files do."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _put_in_place(partial: Path, final: Path) -> None:
    """Rename `partial` to `final`; an older run there steps aside first, since a folder cannot be replaced.

    Killed in between, the run is missing and will be computed again; nothing half-written is in its place.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = partial.with_name(partial.name + "-old")
    with contextlib.suppress(FileNotFoundError):
        final.rename(aside)
    try:
        partial.rename(final)
    except OSError:
        if not (final / RESULT).is_file():
            raise
        shutil.rmtree(partial)  # another process has just finished the same run
    shutil.rmtree(aside, ignore_errors=True)


def sweep(home: Path) -> None:
    """Remove what killed processes left half-written more than an hour ago."""
    for folder in (home / "results" / _PARTIAL).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder)
