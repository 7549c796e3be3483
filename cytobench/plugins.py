"""Plugins: whose packages are installed, what is wrong with them, and how their Python is imported.

Nothing that a plugin's code does at import, be it an error, `sys.exit` or printing, may harm anybody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from types import ModuleType
from typing import Any

from cytobench import __version__
from cytobench.cards import ProbeCard
from cytobench.errors import CardError, CytoBenchError

ENTRY_POINT_GROUP = "cytobench.plugins"
KINDS = ("backbones", "tasks", "probes", "leaderboards")
"""The folders of cards that a plugin may hold."""
_OURS = ("cytobench-harness", "cytobench")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin whose cards could not be read, and why; the other plugins are not affected."""

    origin: str
    reason: str


@dataclass(frozen=True)
class InstalledPlugin:
    """An installed package that names a folder of cards; `origin` names it as lists do."""

    origin: str
    point: metadata.EntryPoint

    def folder(self) -> Path:
        """Return the folder of its cards.

        Raises CardError when it is for another version of CytoBench or holds no cards, and whatever the
        package raises when it is imported.
        """
        _refuse_other_versions(self.point)
        with harmless():
            target = self.point.load()
            made = target() if callable(target) else target
            folder = Path(made) if isinstance(made, str | Path) else Path(str(resources.files(made)))
        require_cards(folder, "correct the package's entry point")
        return folder


def installed_plugins() -> list[InstalledPlugin]:
    """Return the packages installed under the entry-point group, by name; none is imported."""
    points = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda p: (p.name, p.value))
    return [InstalledPlugin(f"plugin {point.name} ({_package(point)})", point) for point in points]


def why_broken(error: BaseException) -> str:
    """Return what a plugin raised, as a sentence: ours as they are, others with their kind."""
    if isinstance(error, CytoBenchError):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


def require_cards(folder: Path, cure: str) -> None:
    """Raise CardError when there is no plugin folder at this place; `cure` says what to do then."""
    if not folder.is_dir():
        raise CardError(f"The plugin folder {folder} does not exist; {cure}.")
    if not any((folder / kind).is_dir() for kind in KINDS):
        raise CardError(f"The plugin folder {folder} holds none of {', '.join(f'{k}/' for k in KINDS)}.")


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Run a plugin's code: what it prints goes to standard error, and `sys.exit` is an ImportError."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        except SystemExit as stop:
            raise ImportError(f"it calls sys.exit({stop.code!r})") from stop


def import_beside(name: str, card: Path | None) -> ModuleType:
    """Import the module `name` that the card file refers to; one in the card's plugin folder is found too.

    So is a module of that folder where it is a package which is not installed: `my_lab.reader` in `my_lab/`.
    Such a module is known by its folder, so that two plugins may each have one of the same name. Raises
    ImportError, and whatever the module itself raises.
    """
    with harmless():
        try:
            return importlib.import_module(name)  # first, so that a plugin can never replace a package
        except ModuleNotFoundError as error:
            if card is None or error.name != name.split(".")[0]:
                raise
        folder = card.parent.parent.resolve()
        itself = folder.name == name.split(".")[0] and (folder / "__init__.py").is_file()
        return _import_from(folder.parent if itself else folder, name)


def probe_of_function(reference: str, beside: Iterable[Path]) -> ProbeCard:
    """Return a card for `"package.module:function"`, installed or in a plugin folder of a file of `beside`.

    What it scores is what its module declares as UNIT. Raises CardError.
    """
    name, _, attribute = reference.partition(":")
    module, source = _first_found(name, reference, list(beside))
    if not callable(getattr(module, attribute, None)):
        raise CardError(f"The probe '{reference}' cannot be used: {name} has no function '{attribute}'.")
    raw: dict[str, Any] = {"name": reference, "title": _title(module, reference), "function": reference}
    try:
        return ProbeCard(**raw, unit=getattr(module, "UNIT", "cell"), source=source, origin=name)
    except ValueError as error:
        raise CardError(
            f'The probe \'{reference}\' cannot be used: UNIT in {name} must be "cell" or "bag".'
        ) from error


def _first_found(name: str, reference: str, beside: list[Path]) -> tuple[ModuleType, Path | None]:
    missing: ModuleNotFoundError | None = None
    for card in (*beside, None):
        try:
            return import_beside(name, card), card
        except ModuleNotFoundError as error:
            missing = error
            if error.name != name.split(".")[0]:
                break
        except Exception as error:  # whatever foreign code raises, the user must learn whose it is
            raise CardError(f"The probe '{reference}' cannot be imported ({why_broken(error)}).") from error
    raise CardError(
        f"The probe '{reference}' cannot be imported ({missing}): install its package, or name the folder "
        "that holds its module with --plugin."
    )


def _title(module: ModuleType, reference: str) -> str:
    said = (getattr(module, "__doc__", None) or "").strip().partition("\n")[0].rstrip(".")
    return said or reference


def _import_from(folder: Path, name: str) -> ModuleType:
    """Import a module of a plugin folder under a name that no other folder's module has."""
    own = f"_cytobench_plugin_{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    if own not in sys.modules:
        package = ModuleType(own)
        package.__path__ = [str(folder)]
        sys.modules[own] = package
    before = set(sys.modules)
    sys.path.append(str(folder))  # for what the module imports from beside itself
    try:
        return importlib.import_module(f"{own}.{name}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").removeprefix(f"{own}.")
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing) from error
    finally:
        sys.path.remove(str(folder))
        for beside in set(sys.modules) - before:
            file = getattr(sys.modules[beside], "__file__", None)
            if not beside.startswith(own) and file and Path(file).is_relative_to(folder):
                del sys.modules[beside]


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _refuse_other_versions(point: metadata.EntryPoint) -> None:
    """Raise CardError when the package's own requirements exclude this CytoBench."""
    for line in (point.dist.requires or []) if point.dist else []:
        if not re.match(rf"({'|'.join(_OURS)})\b(?![-_.]?\w)", line, flags=re.IGNORECASE):
            continue
        from packaging.requirements import Requirement

        need = Requirement(line)
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if applies and not need.specifier.contains(__version__, prereleases=True):
            raise CardError(
                f"It is made for CytoBench {need.specifier}, and this is {__version__}: install a version of "
                "the plugin for this one."
            )
