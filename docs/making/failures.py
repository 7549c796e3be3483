"""The reference of errors and exit codes, from the error classes themselves."""

from __future__ import annotations

from collections.abc import Iterator

from writing import cell, table

from cytobench import errors


def errors_table() -> str:
    """Return a row an error."""
    rows = [
        (f"`{kind.__name__}`", f"`{kind.__bases__[0].__name__}`", str(kind.exit_code), cell(_says(kind)))
        for kind in _kinds(errors.CytoBenchError)
    ]
    return table(("error", "is a", "exit code", "when"), rows)


def _kinds(kind: type[errors.CytoBenchError]) -> Iterator[type[errors.CytoBenchError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _kinds(child)


def _says(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())
