"""The reference of errors and exit codes, from the error classes themselves."""

from __future__ import annotations

from collections.abc import Iterator

from writing import cell, table

from cytobench import errors

_HEAD = """# Errors and exit codes

Bad input gets one sentence on standard error that says what is wrong, where, and what to do. Nothing that is already computed is lost; the same command goes on from there. A traceback is shown only with `--debug` (or `CYTOBENCH_DEBUG` in the environment).

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | it failed: data, weights or the machine; or at least one run of a benchmark failed; or something that was examined must be mended |
| 2 | the command or a card was written wrongly; nothing was computed |
| 130 | interrupted (Ctrl-C); the same command goes on from there |

## Kinds of error

For those who call CytoBench from Python: all are subclasses of `CytoBenchError` in `cytobench.errors`.

"""


def page() -> str:
    """Return the page: exit codes, then a row an error."""
    rows = [
        (f"`{kind.__name__}`", f"`{kind.__bases__[0].__name__}`", str(kind.exit_code), cell(_says(kind)))
        for kind in _kinds(errors.CytoBenchError)
    ]
    return _HEAD + table(("error", "is a", "exit code", "when"), rows)


def _kinds(kind: type[errors.CytoBenchError]) -> Iterator[type[errors.CytoBenchError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _kinds(child)


def _says(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())
