"""How the C library treats memory that arrays give back: kept for the next ones, or returned to the system.

Networks on a CPU make and drop the same large arrays thousands of times. glibc takes those above 32 MB from
the system each time and returns them when they are dropped, and the system hands every page out anew, filled
with zeros: in a virtual machine up to a fifth of a training step's time.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # names of settings in glibc's malloc.h
_ASKED = ("MALLOC_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep memory for its next arrays; return whether the C library takes the advice.

    Only glibc does. Settings that a user has made by environment variables stand. Memory use stays at its
    peak until the process ends.
    """
    if sys.platform != "linux" or any(name.startswith(_ASKED) for name in os.environ):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # One arena, because those of other threads cannot hold arrays above 64 MB and would ask the system again.
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    return all(library.mallopt(name, value) == 1 for name, value in settings)
