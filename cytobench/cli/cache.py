"""`cytobench cache`: look at stored features, check them, tidy them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places, writing

if TYPE_CHECKING:
    from cytobench.features.store import FeatureStore

app = typer.Typer(help="Look at stored features, check them, tidy them, export them.", no_args_is_help=True)
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Style(StrEnum):
    """How features are exported."""

    h5 = "h5"
    parquet = "parquet"
    npz = "npz"
    slides = "slides"


@app.command("ls")
def ls(home: HomeOption = None) -> None:
    """List the feature spaces: which encoder filled them, how many items, how much disk.

    [dim]Example:[/dim]  cytobench cache ls
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from cytobench.cli.console import output

    store = _store(home)
    spaces = store.ls()
    title = Text(f"Feature spaces in {store.folder}")
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("space", "encoder", "dim", "items", "shards", "size", "since"):
        table.add_column(column, justify="right" if column in ("dim", "items", "shards", "size") else "left")
    for space in spaces:
        counts = (str(space.dim), f"{space.rows:,}", str(space.shards), readable(space.bytes))
        table.add_row(space.id[:12], Text(_encoder(space.identity)), *counts, space.created[:10])
    table.caption = f"{len(spaces)} spaces, {readable(sum(space.bytes for space in spaces))}"
    output().print(table)


@app.command()
def verify(home: HomeOption = None) -> None:
    """Read every stored feature and say what is damaged; changes nothing.

    Exit code 1 when something is wrong.  [dim]Example:[/dim]  cytobench cache verify
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.errors import counted

    store = _store(home)
    problems = store.verify(ConsoleReporter())
    for problem in problems:
        typer.secho(str(problem), fg=typer.colors.RED)
    if problems:
        raise typer.Exit(1)
    rows = sum(space.rows for space in store.ls())
    typer.echo(f"Nothing is wrong: {counted(rows, 'feature')} in {counted(len(store.folders()), 'space')}.")


@app.command()
def gc(
    home: HomeOption = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove", metavar="SPACE", help="Delete this space, named as in `cache ls` (repeatable)."
        ),
    ] = None,
    hours: Annotated[
        float, typer.Option(help="Leave half-written files alone that are younger than this.", min=0.0)
    ] = 24.0,
) -> None:
    """Tidy up: leftovers of killed runs go, small shards are joined, named spaces are deleted.

    Safe while other processes read and write.  [dim]Example:[/dim]  cytobench cache gc --remove 3fa9c1
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.errors import counted

    done = _store(home).gc(max_age=hours * 3600.0, remove=remove or (), reporter=ConsoleReporter())
    freed = f"; {readable(done.bytes)} freed" if done.bytes > 0 else ""  # new indexes may outweigh it
    typer.echo(
        f"Removed {counted(done.temporary, 'leftover')}, {counted(done.broken, 'broken shard')} and "
        f"{counted(done.spaces, 'space')}; joined "
        f"{counted(done.joined, 'small shard')} into {done.joined_into}{freed}."
    )


@app.command()
def export(
    backbone: Annotated[
        str, typer.Option("--backbone", "-b", metavar="NAME", help="Whose features, as in `run`.")
    ],
    task: Annotated[str, typer.Option("--task", "-t", metavar="NAME", help="The task whose rows to export.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; for slides a new folder.")],
    style: Annotated[
        Style, typer.Option("--format", "-f", help="slides: an H5 file a bag, as TRIDENT writes them.")
    ] = Style.h5,
    single: Annotated[
        bool, typer.Option("--float32", help="Single precision (stored are halves, wherever they suffice).")
    ] = False,
    own_use: Annotated[
        bool,
        typer.Option(
            "--own-use", help="Export although the backbone's licence may forbid to pass its features on."
        ),
    ] = False,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Write stored features of a task with sample, label, group, bag and fold, for other tools.

    The file also says which weights, cards, rows and folds it comes from, and under which licence. The folder
    of --format slides holds cards as well, and can be run at once.

    [dim]Example:[/dim]  cytobench cache export -b morphology -t cell-type-pbc -o pbc.h5 --data DIR
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.digests import FileDigests
    from cytobench.errors import UsageError
    from cytobench.evaluation.plan import RunRequest, plan_backbone, plan_task
    from cytobench.interchange.feature_export import prepare_export, why_not_shared, write

    where, registry, reporter = places(home, data), load_registry(plugin, home=home), ConsoleReporter()
    cards = registry.backbone(backbone), registry.task(task)
    problem = why_not_shared(cards[0])
    if problem and not own_use:
        raise UsageError(f"{problem} For use on your own machines only, add --own-use.")
    request = RunRequest(
        tasks=[cards[1]], backbones=[cards[0]], home=where.home, data_dirs=where.data, download=False
    )
    digests = FileDigests(where.home)
    planned = plan_task(cards[1], request, digests, reporter)
    made = prepare_export(
        planned,
        plan_backbone(cards[0], request, digests, reporter),
        where.home,
        "float32" if single else "float16",
    )
    digests.flush()
    with writing(out):
        for path in write(made, style.value, out, reporter):
            typer.echo(path)
    if problem:
        reporter.warn(problem)


def readable(size: int) -> str:
    """Return a number of bytes as people say it."""
    value, unit = float(size), 0
    while abs(value) >= 1000.0 and unit < len(_UNITS) - 1:
        value, unit = value / 1000.0, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def _store(home: Path | None) -> FeatureStore:
    from cytobench.features.store import FeatureStore

    return FeatureStore(places(home, None).home / "features")


def _encoder(identity: object) -> str:
    facts = identity if isinstance(identity, dict) else {}
    parts = [facts.get("loader"), facts.get("arch"), facts.get("pooling"), facts.get("precision")]
    return " ".join(str(part) for part in parts if part) or "?"
