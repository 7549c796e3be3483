"""The keys of result.json, from the model that writes it."""

from __future__ import annotations

import re

from card_keys import type_words
from writing import cell, table

from cytobench.evaluation.results import (
    ClassResult,
    FoldResult,
    IntervalResult,
    ReliabilityBin,
    RunResult,
    SplitResult,
)


def result_keys() -> str:
    """Return a table of the keys of result.json, and one of each record in it."""
    parts = [_keys(RunResult)]
    for model in (IntervalResult, FoldResult, ClassResult, ReliabilityBin, SplitResult):
        says = cell((model.__doc__ or "").strip())
        parts.append(f"### {model.__name__}\n\n{says}\n\n{_keys(model)}")
    return "\n".join(parts)


def _keys(model: type) -> str:
    says = _explained(model.__doc__ or "")
    rows = [
        (f"`{name}`", type_words(field.annotation), says.get(name, ""))
        for name, field in model.model_fields.items()  # type: ignore[attr-defined]
    ]
    return table(("key", "type", "meaning"), rows)


def _explained(text: str) -> dict[str, str]:
    """Return what a docstring says of its keys: `key`: words; `key`: words."""
    found = re.findall(r"((?:`\w+`, )*`\w+`): (.*?)(?=; `\w+`|\. `\w+`|\.\s*$)", " ".join(text.split()))
    return {name: cell(words) for names, words in found for name in re.findall(r"\w+", names)}
