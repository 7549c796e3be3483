"""Freed memory stays with the process where the C library can do that; a user's own settings stand."""

import subprocess
import sys

import pytest

PAGES_OF_SECOND_ARRAY = """
import resource, sys
import numpy as np
from cytobench.heap import keep_freed_memory

print(keep_freed_memory() if sys.argv[1] == "keep" else None)
np.ones(10_000_000)  # 80 MB: above what glibc keeps by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(sys.platform != "linux", reason="only glibc takes this advice")


def _run(argument: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PAGES_OF_SECOND_ARRAY, argument],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), **environment},
    )
    return done.stdout.split()


@glibc
def test_an_array_takes_the_memory_of_the_one_before_it() -> None:
    advised, pages = _run("keep")
    if advised == "False":
        pytest.skip("another C library than glibc")
    assert int(pages) < 10
    assert int(_run("leave")[1]) > 20  # 20,000 small pages, or 40 huge ones


@glibc
def test_settings_of_the_user_stand() -> None:
    assert _run("keep", MALLOC_ARENA_MAX="2")[0] == "False"
