"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import typer
from writing import cell, table

from cytobench.cli import app

_HEAD = """# Command line

Every command, option and default of this version, read from the program itself; `cytobench COMMAND --help` shows the same.

Names of commands, options and choices are exact. Options marked *repeatable* may be given several times. Everything CytoBench writes goes under `--home`; data sets are looked for under `--data`. Exit codes: [Errors and exit codes](errors.md).

"""


def page() -> str:
    """Return the page: a section a command."""
    root = typer.main.get_command(app)
    parts = [_HEAD, "## cytobench\n\n", _options(root, "cytobench"), "\n"]
    for name, command in commands(root):
        parts.append(_section(name, command))
    return "".join(parts)


def commands(root: click.Command, before: str = "cytobench") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its whole name, in the order of the help."""
    for name, command in getattr(root, "commands", {}).items():
        whole = f"{before} {name}"
        if getattr(command, "commands", None):
            yield from commands(command, whole)
        else:
            yield whole, command


def _section(name: str, command: click.Command) -> str:
    text, examples = _help(command.help or "")
    arguments = "".join(f" {_usage(one)}" for one in command.params if isinstance(one, click.Argument))
    said = f"## {name}\n\n```text\n{name} [OPTIONS]{arguments}\n```\n\n{text}\n\n"
    if examples:
        lines = "\n".join(examples)
        said += f"<!-- not run: the examples of --help, each run or parsed where it stands in a guide -->\n```bash\n{lines}\n```\n\n"
    return said + _options(command, name) + "\n"


def _usage(argument: click.Parameter) -> str:
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


def _options(command: click.Command, where: str) -> str:
    with click.Context(command, info_name=where) as context:
        rows = [_row(one, context) for one in command.get_params(context) if not getattr(one, "hidden", False)]
    return table(("option", "takes", "default", "meaning"), rows)


def _row(one: click.Parameter, context: click.Context) -> tuple[str, str, str, str]:
    if isinstance(one, click.Argument):
        names = f"**{_usage(one)}**"
    else:
        names = " ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    meaning = getattr(one, "help", None) or ""
    many = " (repeatable)" if one.multiple and "repeatable" not in meaning else ""
    return names, _takes(one, context), _default(one), cell(meaning + many)


def _takes(one: click.Parameter, context: click.Context) -> str:
    if getattr(one, "is_flag", False):
        return ""
    if isinstance(one.type, click.Choice):
        return " ".join(f"`{getattr(choice, 'value', choice)}`" for choice in one.type.choices)
    if isinstance(one, click.Argument):
        return "several" if one.nargs < 0 else ""
    del context
    return cell(f"`{one.metavar}`" if one.metavar else f"`{one.type.name.upper().replace(' RANGE', '')}`")


def _default(one: click.Parameter) -> str:
    if one.required:
        return "*required*"
    value = one.default() if callable(one.default) else one.default
    if value is None or value is False or value in ((), [], "") or repr(value).startswith("Sentinel"):
        return ""
    return f"`{getattr(value, 'value', value)}`" if value is not True else "on"
