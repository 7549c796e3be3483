"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from writing import cell, table

from cytobench.cli import app


def sections() -> str:
    """Return a section a command."""
    root = typer.main.get_command(app)
    parts = ["## cytobench\n\n", _options(root, "cytobench"), "\n"]
    for name, command in commands(root):
        parts.append(_section(name, command))
    return "".join(parts)


def commands(root: Any, before: str = "cytobench") -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, by its whole name, in the order of the help."""
    for name, command in getattr(root, "commands", {}).items():
        whole = f"{before} {name}"
        if getattr(command, "commands", None):
            yield from commands(command, whole)
        else:
            yield whole, command


def _section(name: str, command: Any) -> str:
    text, examples = _help(command.help or "")
    arguments = "".join(f" {_usage(one)}" for one in command.params if _is_argument(one))
    said = f"## {name}\n\n```text\n{name} [OPTIONS]{arguments}\n```\n\n{text}\n\n"
    if examples:
        lines = "\n".join(examples)
        said += f"```bash\n{lines}\n```\n\n"
    return said + _options(command, name) + "\n"


def _usage(argument: Any) -> str:
    name = (argument.metavar or (argument.name or "").upper()).strip("{}. ")
    name = re.sub(r"[\[\]{}]", "", name)
    return name if argument.required else f"[{name}]"


def _help(text: str) -> tuple[str, list[str]]:
    """Split a command's help into its sentences and its example lines."""
    plain = re.sub(r"\[/?(?:dim|bold)\]", "", text)
    sentences, _, after = plain.partition("Example")
    found = re.split(r"\s·\s|\n\s*\n", after.partition(":")[2]) if after else []
    examples = [" ".join(one.split()) for one in found]
    return sentences.strip(), [one for one in examples if one.startswith(("cytobench", "torchrun"))]


def _options(command: Any, where: str) -> str:
    del where
    rows = [_row(one) for one in command.params if not getattr(one, "hidden", False)]
    rows.append(("`--help` `-h`", "", "", "Show this message and exit."))
    return table(("option", "takes", "default", "meaning"), rows)


def _is_argument(one: Any) -> bool:
    return bool(one.param_type_name == "argument")


def _row(one: Any) -> tuple[str, str, str, str]:
    if _is_argument(one):
        names = f"**{cell(_usage(one))}**"
    else:
        names = " ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    meaning = getattr(one, "help", None) or ""
    many = " (repeatable)" if getattr(one, "multiple", False) and "repeatable" not in meaning else ""
    return names, _takes(one), _default(one), cell(meaning + many)


def _takes(one: Any) -> str:
    if getattr(one, "is_flag", False):
        return ""
    kind = _kind(one)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " ".join(f"`{choice.value}`" for choice in kind)
    if _is_argument(one):
        return "several" if one.nargs < 0 else ""
    words = {int: "whole number", float: "number", str: "text", Path: "path"}
    least = f", at least {one.min:g}" if getattr(one, "min", None) is not None else ""
    return cell(f"`{one.metavar}`" if one.metavar else words.get(kind, "text") + least)


def _kind(one: Any) -> Any:
    """Return the Python type of an option's value: that of a list's items, never None."""
    kind: Any = one.type_descriptor.annotation
    given = [part for part in typing.get_args(kind) if part is not type(None)]
    return given[0] if given else kind


def _default(one: Any) -> str:
    if one.required:
        return "*required*"
    value = one.default() if callable(one.default) else one.default
    if value is None or value is False or value in ((), [], "") or repr(value).startswith("Sentinel"):
        return ""
    return f"`{getattr(value, 'value', value)}`" if value is not True else "on"
