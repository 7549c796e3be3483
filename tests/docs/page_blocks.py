"""What a page of the documentation asks its reader to do: files to write, commands to type, output to see."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from cytobench.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHELLS = frozenset({"bash", "console", "sh", "shell"})
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^`\n]*)$")
_TITLE = re.compile(r'title="([^"]*)"')
_MARK = re.compile(r"<!-- (?:not run: (?P<reason>.+?)|exits with (?P<code>\d+)) -->")
_INLINE = re.compile(r"`(cytobench [^`]+)`")
_BETWEEN = re.compile(r"\s*(?:&&|\|\||;|\||>)\s*")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, title, text, the line it begins in, and what its mark says.

    `reason`: why its commands are not run, "" where they are; `code`: the exit code of its last command.
    """

    language: str
    title: str
    text: str
    line: int
    reason: str = ""
    code: int = 0

    @property
    def is_file(self) -> bool:
        """Whether it is a file to write, under its title."""
        return bool(self.title) and self.language != "text"

    @property
    def is_typed(self) -> bool:
        """Whether its commands are typed by the reader, and by the test."""
        return self.language in SHELLS and not self.reason and not self.is_file

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, continued lines joined; of `console` those behind a prompt."""
        text = self.text.replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines()]
        if self.language == "console":
            return [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True)
class Page:
    """A page of the documentation: its name below docs/, its settings, its text and its blocks in order."""

    name: str
    given: tuple[str, ...]
    slow: bool
    text: str
    blocks: tuple[Block, ...]

    @property
    def inline(self) -> list[str]:
        """The commands named in running text."""
        prose = re.sub(r"^ *```.*?^ *```", "", self.text, flags=re.MULTILINE | re.DOTALL)
        return _INLINE.findall(prose)


def read(path: Path) -> Page:
    """Read one page; front matter may say `given: cells` (what lies there) and `slow: true`."""
    text = path.read_text(encoding="utf-8")
    settings, body = _front(text)
    given = tuple(part.strip() for part in settings.get("given", "").split(",") if part.strip())
    name = path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else path.name
    return Page(name, given, settings.get("slow") == "true", body, tuple(blocks_of(text)))


def pages() -> list[Page]:
    """Read all pages that someone wrote."""
    return [read(path) for path in sorted(DOCS.rglob("*.md"))]


def _front(text: str) -> tuple[dict[str, str], str]:
    """Split a page into its front matter, `key: value` a line, and the rest."""
    if not text.startswith("---\n"):
        return {}, text
    head, _, body = text[4:].partition("\n---\n")
    pairs = (line.partition(":") for line in head.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}, body


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, each with the mark that stands in the line above it."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == opened["ticks"])
        info = opened["info"].strip()
        mark = _MARK.search(lines[at - 1]) if at else None
        title = _TITLE.search(info)
        yield Block(
            language=info.split()[0] if info else "",
            title=title[1] if title else "",
            text=textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n",
            line=at + 1,
            reason=(mark["reason"] or "") if mark else "",
            code=int(mark["code"] or 0) if mark else 0,
        )
        at = end + 1


def misspelt(command: str) -> str:
    """Say what is wrong with the `cytobench` commands in a line of shell, "" when all could be given."""
    for part in _BETWEEN.split(command):
        words = shlex.split(part, comments=True)
        problem = _parse(_arguments(words)) if _arguments(words) is not None else ""
        if problem:
            return problem
    return ""


def _arguments(words: list[str]) -> list[str] | None:
    """Return what follows `cytobench` or `-m cytobench` in a command; None where it runs something else."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    for before in (["cytobench"], ["python", "cli.py"]):
        if words[: len(before)] == before:
            return words[len(before) :]
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["cytobench"]:
        return words[words.index("-m") + 2 :]
    return None


def _parse(arguments: list[str] | None) -> str:
    command: Any = typer.main.get_command(app)
    rest, name = list(arguments or []), "cytobench"
    while getattr(command, "commands", None):
        known = {option for one in command.params for option in one.opts} | {"--help", "-h"}
        if not rest or rest[0].startswith("-"):
            return "" if set(rest) <= known else f"{name} has no option {rest[0]}"
        inner = command.commands.get(rest[0])
        if inner is None:
            return f"{name} has no command '{rest[0]}'"
        command, name = inner, f"{name} {rest.pop(0)}"
    if "--help" in rest:
        return ""
    try:
        command.make_context(name, rest)
    except Exception as error:  # typer carries its own copy of click, and with it of its errors
        if not hasattr(error, "format_message"):
            raise
        return f"{name}: {error.format_message()}"
    return ""
