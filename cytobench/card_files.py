"""Reading TOML cards: every bad key of a file is told at once, in a sentence."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cytobench.cards import BackboneCard, LeaderboardCard, ProbeCard, TaskCard
from cytobench.errors import CardError

CardT = TypeVar("CardT", BackboneCard, TaskCard, LeaderboardCard, ProbeCard)


def _nested_models(annotation: Any) -> list[type[BaseModel]]:
    """Card models that `annotation` may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _nested_models(part)]


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[type[BaseModel], list[str]]:
    """Follow an error's location: the innermost model, and the path without pydantic's union-member names."""
    path: list[str] = []
    options: list[type[BaseModel]] = [model]
    for part in map(str, location):
        member = next((one for one in options if one.__name__ == part), None)
        if member is not None:
            model = member
            continue
        path.append(part)
        field = model.model_fields.get(part)
        options = _nested_models(field.annotation) if field else []
        model = options[0] if len(options) == 1 else model
    return model, path


def _wrong_member(raw: dict[str, Any], error: Any) -> bool:
    """Whether pydantic complains that a table is no string, where a table was meant."""
    location = error["loc"]
    return len(location) == 2 and location[1] == "str" and isinstance(raw.get(location[0]), dict)


def _sentence(model: type[BaseModel], error: dict[str, Any]) -> str:
    location = tuple(error["loc"])
    _, path = _walk(model, location)
    where = ".".join(path)
    if error["type"] == "extra_forbidden":
        innermost, _ = _walk(model, location[:-1])
        valid = [key for key in innermost.model_fields if key not in ("source", "origin")]
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        return f"unknown key '{where}'" + (f" (did you mean '{near[0]}'?)" if near else "")
    if error["type"] == "missing":
        listed = location and isinstance(location[-1], int)
        return f"{'.'.join(path[:-1])}: too few values" if listed else f"the key '{where}' is missing"
    if error["type"] == "string_pattern_mismatch":
        return f"{where}: '{error['input']}' does not match {error['ctx']['pattern']}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def parse_card(model: type[CardT], raw: dict[str, Any], *, source: Path | None, origin: str = "") -> CardT:
    """Return `raw` as a card of type `model`.

    Raises CardError that names the file, every bad key and, for an unknown key, the nearest valid one.
    """
    for reserved in ("source", "origin"):
        if reserved in raw:
            raise CardError(f"{source or 'card'}: unknown key '{reserved}'; remove it.")
    try:
        return model(**raw, source=source, origin=origin)
    except ValidationError as error:
        problems = [_sentence(model, dict(one)) for one in error.errors() if not _wrong_member(raw, one)]
        unique = list(dict.fromkeys(problems))
        raise CardError(f"{source or 'card'}: {'; '.join(unique)}.") from error


def read_card(model: type[CardT], path: Path, *, origin: str = "") -> CardT:
    """Read one TOML card; raises CardError with the file's name and the line of a syntax error."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(f"There is no card at {path}; check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not valid TOML ({error}); correct the file.") from error
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}).") from error
    return parse_card(model, raw, source=path.resolve(), origin=origin)
