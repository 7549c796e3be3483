"""The reference of the cards' keys, from the models that read them."""

from __future__ import annotations

import re
import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from writing import cell, table

from cytobench import cards

_KINDS = (
    (
        "Backbone card",
        cards.BackboneCard,
        "`backbones/NAME.toml`. How to write one: [Bring a model](../how-to/bring-a-model.md).",
    ),
    (
        "Task card",
        cards.TaskCard,
        "`tasks/NAME.toml`. How to write one: [Bring a data set](../how-to/bring-a-data-set.md).",
    ),
    (
        "Leaderboard card",
        cards.LeaderboardCard,
        "`leaderboards/NAME.toml`. How to write one: [Share results](../how-to/share-results.md).",
    ),
)


def sections() -> str:
    """Return a table a card, then one for every table that a card may hold."""
    parts = []
    inner: dict[str, type[BaseModel]] = {}
    for title, model, where in _KINDS:
        parts.append(_section(title, model, where))
        inner |= {found.__name__: found for found in _models_in(model)}
    for name, model in inner.items():
        parts.append(_section(name, model, "A table inside a card."))
    return "".join(parts)


def _section(title: str, model: type[BaseModel], where: str) -> str:
    says = " ".join((model.__doc__ or "").split())
    rows = [
        (f"`{name}`", type_words(field.annotation), _default(field), cell(field.description or ""))
        for name, field in model.model_fields.items()
        if not field.exclude
    ]
    return f"## {title}\n\n{says}\n\n{where}\n\n" + table(("key", "type", "default", "meaning"), rows) + "\n"


def _models_in(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the tables a card may hold, also those inside them."""
    found = []
    for field in model.model_fields.values():
        for inner in _parts(field.annotation):
            found += [inner, *_models_in(inner)]
    return found


def _parts(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _parts(part)]


def type_words(annotation: Any) -> str:
    """Return a type as a person who writes TOML says it."""
    origin, given = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " ".join(f"`{_toml(one)}`" for one in given)
    if origin is typing.Annotated:
        return type_words(given[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(one) for one in given if one is not type(None))
    if origin is list:
        return f"list of {type_words(given[0])}"
    if origin is tuple:
        size = "" if given[-1] is Ellipsis else f"{len(given)} "
        return f"list of {size}{type_words(given[0])}"
    if origin is dict:
        return "table" if given[1] is Any else f"table of {type_words(given[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, BaseModel):
        return ", ".join(f"`{key} = {_toml(one)}`" for key, one in value.model_dump().items() if one != "")
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else re.sub(r"\.0$", ".0", str(value))
