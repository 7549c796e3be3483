"""Options that several commands share, and where files are looked for and written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cytobench.registry import Registry

DataOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder holding the data sets, each in a folder of its name (repeatable); "
        "default: CYTOBENCH_DATA.",
        show_default=False,
    ),
]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Where features, results and weights are kept; default: CYTOBENCH_HOME, else your data folder.",
        show_default=False,
    ),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="DIR",
        help="Folder with backbones/, tasks/, probes/ or leaderboards/ of your own (repeatable).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Places:
    """The folders of one invocation."""

    home: Path
    data: tuple[Path, ...]


def places(home: Path | None, data: list[Path] | None) -> Places:
    """Return the folders named by options, else by the environment, else the platform's defaults.

    Raises UsageError when what is named with --data is no folder, or not there.
    """
    from cytobench.errors import UsageError

    named = [folder.expanduser() for folder in data or []]
    for folder in named:
        if folder.is_file():
            raise UsageError(
                f"--data {folder} is a file; name the folder that holds the data sets, each in a folder of "
                "its own name."
            )
        if not folder.is_dir():
            raise UsageError(f"The data folder {folder} does not exist; check the path given with --data.")
    if not named:
        parts = os.environ.get("CYTOBENCH_DATA", "").split(os.pathsep)
        named = [Path(part).expanduser() for part in parts if part]
    return Places(home=_home(home), data=tuple(folder.resolve() for folder in named))


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn a failure to write `out`, which the user named with --out, into a StoreError that says so."""
    from cytobench.errors import StoreError

    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written ({error.strerror or error}); free some space, or choose another place "
            "with --out."
        ) from error


def _home(option: Path | None) -> Path:
    if option is not None:
        return option.expanduser().resolve()
    if os.environ.get("CYTOBENCH_HOME"):
        return Path(os.environ["CYTOBENCH_HOME"]).expanduser().resolve()
    try:
        import platformdirs
    except ImportError:  # a machine that only trains may lack it
        return Path.home() / ".cytobench"
    return Path(platformdirs.user_data_dir("cytobench", appauthor=False))


def load_registry(
    plugins: list[Path] | None, *, tell: bool = True, home: Path | None = None, download: bool = True
) -> Registry:
    """Return all cards; broken plugins are left out and (unless `tell` is false) named on standard error.

    `home`: of the invocation, else what the environment says; `download`: whether the configuration of a
    model named as `open_clip:hf-hub:…` may be fetched there.
    """
    from cytobench.registry import Registry

    folders = [folder.expanduser() for folder in plugins or []]
    registry = Registry.load(folders, home=_home(home), download=download)
    for broken in registry.broken if tell else ():
        typer.secho(f"Left out: {broken.origin}: {broken.reason}", err=True, fg=typer.colors.YELLOW)
    return registry
