"""The folder CytoBench writes to, and the memory of the machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from cytobench.findings import Finding

_SCARCE, _LITTLE = 1e9, 10e9  # bytes of disk
_LITTLE_MEMORY = 2e9
_OLD_LOCK = 3600.0
_OLD_DRAFT = 86_400.0
_LOOK_SECONDS = 2.0
_SHARES = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "beegfs",
    "gpfs",
    "ceph",
    "glusterfs",
    "sshfs",
    "afs",
    "9p",
    "webdav",
)


def memory() -> Finding:
    """Compare free memory with what a run needs; a container's limit counts where it is lower."""
    return judge_memory(*_memory())


def judge_memory(total: float, free: float) -> Finding:
    """Judge bytes of memory; a total of 0 means that nobody says."""
    if not total:
        return Finding("memory", "skip", "This system does not say how much memory it has.")
    said = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if free < _LITTLE_MEMORY:
        return Finding(
            "memory",
            "warn",
            f"{said}.",
            "Close other programs: a large network needs some GB.",
        )
    return Finding("memory", "pass", f"{said}.")


def disk(home: Path) -> list[Finding]:
    """Look at the disk under `home`: room, writing, renaming, and whether it is a network share."""
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    there = f"{home}" if home.exists() else f"{home} (not there yet)"
    return [judge_room(shutil.disk_usage(place).free, there), _writable(place, home)]


def judge_room(free: float, there: str) -> Finding:
    """Judge the free bytes of the disk at a place, named `there`."""
    said = f"{free / 1e9:.1f} GB free at {there}"
    cure = "Free some space, or choose another place with --home or CYTOBENCH_HOME."
    if free < _SCARCE:
        return Finding("disk", "fail", f"{said}.", cure)
    if free < _LITTLE:
        return Finding("disk", "warn", f"{said}: features and weights of large models may not fit.", cure)
    return Finding("disk", "pass", f"{said}.")


def _writable(place: Path, home: Path) -> Finding:
    """Write, rename over and remove a file, as every store here does."""
    if not place.is_dir():
        return Finding("home", "fail", f"{place} is a file.", "Name a folder with --home or CYTOBENCH_HOME.")
    draft = place / f".cytobench-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    final = draft.with_suffix(".done")
    try:
        final.write_bytes(b"before")
        draft.write_bytes(b"after")
        draft.replace(final)
        whole = final.read_bytes() == b"after"
    except OSError as error:
        return Finding(
            "home",
            "fail",
            f"{place} cannot be written ({error.strerror or error}).",
            "Give yourself the right to write there, or choose another place with --home or CYTOBENCH_HOME.",
        )
    finally:
        for path in (draft, final):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    if not whole:
        return Finding(
            "home", "fail", f"{place}: a renamed file is not what was written.", "Use another disk."
        )
    share = _share(place)
    where = f"; it lies on a network share ({share})" if share else ""
    note = "Studies that several machines share are safest in a database: --storage." if share else ""
    made = "" if home.exists() else " and can be made"
    return Finding("home", "pass", f"{place} can be written, files are replaced whole{made}{where}.", note)


@dataclass
class _Seen:
    """What a walk through a home met; `complete` is false when it took too long."""

    sizes: dict[str, int] = field(default_factory=dict)
    locks: list[Path] = field(default_factory=list)
    drafts: list[Path] = field(default_factory=list)
    complete: bool = True


def contents(home: Path) -> list[Finding]:
    """Measure what lies under `home`, and look for locks and half-written files of killed runs."""
    if not home.is_dir():
        return [Finding("stored", "pass", "Nothing is stored yet.")]
    seen = _walk(home)
    total = sum(seen.sizes.values())
    parts = ", ".join(f"{name} {_readable(size)}" for name, size in sorted(seen.sizes.items()) if size)
    said = f"{_readable(total)}{f' ({parts})' if parts else ''}."
    found = [Finding("stored", "pass", said if seen.complete else f"At least {said}")]
    return [*found, *_leftovers(seen)]


def _leftovers(seen: _Seen) -> list[Finding]:
    now, found = time.time(), []
    # Those of studies hold by being there; the system itself frees all others when a process ends.
    blocking = [
        str(one) for one in seen.locks if _age(one, now) > _OLD_LOCK and one.name.endswith(".log.lock")
    ]
    if blocking:
        found.append(
            Finding(
                "locks",
                "warn",
                f"Locks of studies whose runs ended: {len(blocking)}; others wait some seconds for each.",
                "Delete these files while no run is going on.",
                tuple(blocking),
            )
        )
    old = [str(path) for path in seen.drafts if _age(path, now) > _OLD_DRAFT]
    if old:
        found.append(
            Finding(
                "leftovers",
                "warn",
                f"Half-written files of killed runs: {len(old)}.",
                "`cytobench cache gc` removes those of features; delete the others.",
                tuple(old),
            )
        )
    return found or [Finding("locks", "pass", "No locks or half-written files of killed runs.")]


def _walk(home: Path) -> _Seen:
    seen, began = _Seen(), time.monotonic()
    for folder, _, files in os.walk(home):
        if time.monotonic() - began > _LOOK_SECONDS:
            seen.complete = False
            break
        below = Path(folder).relative_to(home).parts
        part = below[0] if below else "others"
        for name in files:
            path = Path(folder) / name
            with contextlib.suppress(OSError):
                seen.sizes[part] = seen.sizes.get(part, 0) + path.lstat().st_size
            if name.endswith(".lock"):
                seen.locks.append(path)
            elif name.endswith((".tmp", ".part")):
                seen.drafts.append(path)
    return seen


def _age(path: Path, now: float) -> float:
    try:
        return now - path.lstat().st_mtime
    except OSError:
        return 0.0


def _share(place: Path) -> str:
    """Return the kind of network share a folder lies on, "" for a local disk or where nobody says."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        _, mount, mounted, *_ = line.split()
        point = mount.replace("\\040", " ")
        if place.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, mounted
    return kind if any(name in kind for name in _SHARES) else ""


def _memory() -> tuple[float, float]:
    """Return total and free memory in bytes, zeros where the system does not tell."""
    facts: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            name, _, rest = line.partition(":")
            facts[name] = float(rest.split()[0]) * 1024.0
    if "MemTotal" not in facts:
        with contextlib.suppress(ValueError, OSError, AttributeError):
            total = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
            return total, total
        return 0.0, 0.0
    total, free = facts["MemTotal"], facts.get("MemAvailable", facts.get("MemFree", 0.0))
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
        used = float(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
        if limit < total:
            return limit, min(free, max(limit - used, 0.0))
    return total, free


def _readable(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
