"""One immutable shard: a safetensors file of item ids and their features."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import platform
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.features.durable import write_durably
from cytobench.features.items import ID_BYTES, Ids

PREFIX, SUFFIX = "shard-", ".safetensors"
_TYPES: dict[str, np.dtype[np.floating]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
_MAX_HEADER = 2**20
_PACKAGES = ("cytobench-harness", "torch", "timm", "open_clip", "numpy")

Features = npt.NDArray[np.float32]
Stored = npt.NDArray[np.floating]


class BrokenShardError(Exception):
    """A file that is not a whole shard; the message says what is wrong with it."""


@dataclass(frozen=True)
class Shard:
    """A shard on disk whose header and length have been checked; its numbers are read when asked for.

    dim: d; rows: n; dtype: float16 or float32; metadata: the header's texts.
    """

    path: Path
    rows: int
    dim: int
    dtype: np.dtype[np.floating]
    size: int
    metadata: Mapping[str, str]
    _ids_at: int = field(repr=False)
    _features_at: int = field(repr=False)

    def ids(self) -> Ids:
        """Read the item ids: uint8 [n, 16]."""
        flat = np.fromfile(self.path, np.uint8, self.rows * ID_BYTES, offset=self._ids_at)
        if flat.size != self.rows * ID_BYTES:
            raise BrokenShardError("it became shorter while it was read")
        return flat.reshape(self.rows, ID_BYTES)

    def features(self) -> Stored:
        """Map the features: [n, d], read from disk only where touched."""
        shape = (self.rows, self.dim)
        mapped: Stored = np.memmap(self.path, self.dtype, "r", offset=self._features_at, shape=shape)
        return mapped

    def problems(self) -> list[str]:
        """Read everything and say what is wrong: digest, non-finite rows."""
        found = []
        ids, features = self.ids(), self.features()
        if _digest(ids, features) != self.metadata.get("sha256"):
            found.append("its bytes differ from the digest written with them")
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            found.append(f"{int((~finite).sum())} of its {self.rows} rows are not finite")
        return found


def open_shard(path: Path) -> Shard:
    """Check the header and the length of a shard; raises BrokenShardError, or FileNotFoundError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise BrokenShardError("it has no header")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        ids, features, metadata = header["ids"], header["features"], header["__metadata__"]
        (rows, width), (feature_rows, dim) = ids["shape"], features["shape"]
        dtype = _TYPES[features["dtype"]]
        ids_at, ids_end = ids["data_offsets"]
        at, end = features["data_offsets"]
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenShardError("its header is damaged") from error
    whole = (
        ids["dtype"] == "U8" and width == ID_BYTES and rows == feature_rows and rows > 0
        and ids_end - ids_at == rows * ID_BYTES and end - at == rows * dim * dtype.itemsize
    )  # fmt: skip
    if not whole:
        raise BrokenShardError("its header contradicts itself")
    if size != 8 + length + max(ids_end, end):
        raise BrokenShardError(f"it is {size} bytes long and should be {8 + length + max(ids_end, end)}")
    return Shard(path, rows, dim, dtype, size, metadata, 8 + length + ids_at, 8 + length + at)


def write_shard(
    folder: Path, space: str, ids: Ids, features: Stored, *, error: float, name: str = ""
) -> Path:
    """Write a shard durably under a name no other process uses and return its path.

    ids: uint8 [n, 16]; features: float16 or float32 [n, d]; error: the largest absolute difference that
    rounding made; name: given only by compaction. Raises StoreError.
    """
    from safetensors.numpy import save

    ids, features = np.ascontiguousarray(ids), np.ascontiguousarray(features)
    metadata = {
        "space": space,
        "dim": str(features.shape[1]),
        "sha256": _digest(ids, features),
        "max_rounding_error": repr(error),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(versions(), sort_keys=True),
    }
    path = folder / (name or new_name())
    write_durably(path, [save({"ids": ids, "features": features}, metadata)])
    return path


def new_name() -> str:
    """Return a shard name that sorts by time and cannot meet another process's."""
    return f"{PREFIX}{time.time_ns():020d}-{secrets.token_hex(6)}{SUFFIX}"


def is_shard_name(name: str) -> bool:
    """Tell shards from temporary files and caches by their name."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def round_features(features: Features) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_], float]:
    """Round float32 [n, d] to half precision: (float16 [n, d], bool [n] rows that fit, largest error).

    Rows with a value beyond the range of half precision do not fit; the error is that of the others.
    """
    with np.errstate(over="ignore"):
        halves = features.astype(np.float16)
    fits: npt.NDArray[np.bool_] = np.asarray(np.isfinite(halves).all(axis=1))
    kept = fits if not fits.all() else slice(None)
    error = np.abs(halves[kept].astype(np.float32) - features[kept])
    return halves, fits, float(error.max()) if error.size else 0.0


def rounding_error(shard: Shard) -> float:
    """Return the largest rounding error recorded in a shard (0 where it is unreadable)."""
    try:
        value = float(shard.metadata.get("max_rounding_error", "0"))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def versions() -> dict[str, str]:
    """Name the versions of what computes features, without importing anything."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        module = sys.modules.get(package)
        if module is not None and hasattr(module, "__version__"):
            found[package] = str(module.__version__)
    try:
        found["cytobench"] = version(_PACKAGES[0])
    except PackageNotFoundError:
        from cytobench import __version__

        found["cytobench"] = __version__
    return found


def _digest(ids: Ids, features: Stored) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(ids).data)
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()
