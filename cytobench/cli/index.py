"""`cytobench index`: the indexes that `search` looks things up in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places
from cytobench.cli.search import BackboneOption, DatasetOption, DeviceOption
from cytobench.errors import counted

if TYPE_CHECKING:
    from cytobench.retrieval.collection import Collection
    from cytobench.retrieval.opening import Source

app = typer.Typer(no_args_is_help=True, help="Indexes of similar cells: make, extend and list them.")


@app.command()
def build(
    backbone: BackboneOption,
    dataset: DatasetOption,
    device: DeviceOption = "auto",
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Build the index of a collection, anew where there is one.

    Up to a million cells it is exact; beyond, an inverted file whose recall is measured on the collection.
    """
    from cytobench.retrieval.opening import build_index

    _with_collection(
        lambda cells, source: build_index(cells, source), backbone, dataset, device, (data, home, plugin)
    )


@app.command()
def add(
    backbone: BackboneOption,
    dataset: DatasetOption,
    device: DeviceOption = "auto",
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Add to an index the cells that its collection has got since; nothing is rebuilt or centred anew."""
    from cytobench.retrieval.opening import add_to_index

    def extend(cells: Collection, source: Source) -> None:
        _, new = add_to_index(cells, source)
        typer.echo(
            f"{counted(new, 'cell was', 'cells were')} added."
            if new
            else "Nothing to add: every cell is in the index."
        )

    _with_collection(extend, backbone, dataset, device, (data, home, plugin))


@app.command()
def info(home: HomeOption = None) -> None:
    """List the indexes: what they hold, of which kind they are, where they lie."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from cytobench.cli.console import output
    from cytobench.retrieval.shelf import all_indexes

    where = places(home, None).home
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("collection", "backbone", "space"):
        table.add_column(head)
    for head in ("cells", "centred on", "dim", "MB"):
        table.add_column(head, justify="right")
    table.add_column("kind")
    table.add_column("folder", overflow="fold")
    for folder, about, size in all_indexes(where):
        table.add_row(
            escape(about.collection),
            escape(about.backbone),
            about.space[:12],
            f"{about.rows:,}",
            "all" if about.centred_on == about.rows else f"the first {about.centred_on:,}",
            str(about.dim),
            f"{size / 1e6:,.1f}",
            about.kind,
            escape(str(folder)),
        )
    if table.row_count:
        output().print(table)
    else:
        typer.echo(f"There is no index under {where}: `cytobench index build` makes one.")


def _with_collection(
    work: Callable[[Collection, Source], object],
    backbone: str,
    dataset: str,
    device: str,
    options: tuple[DataOption, HomeOption, PluginOption],
) -> None:
    """Read the collection, find out the backbone's space, and do the work."""
    from cytobench.cli.console import ConsoleReporter
    from cytobench.retrieval.searcher import open_collection

    data, home, plugin = options
    where, registry, reporter = places(home, data), load_registry(plugin, home=home), ConsoleReporter()
    cells, source = open_collection(
        dataset,
        backbone,
        registry=registry,
        home=where.home,
        data_dirs=where.data,
        device=device,
        reporter=reporter,
    )
    work(cells, source)
