"""`cytobench search`: the cells of a collection that look most like a query."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places, writing

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.cli.console import ConsoleReporter
    from cytobench.features.items import Box
    from cytobench.retrieval.searcher import Answer, Query, Searcher

_MOST_TABLES = 10

BackboneOption = Annotated[
    str,
    typer.Option("--backbone", "-b", metavar="NAME", help="A name from `list backbones`, or a card."),
]
DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset", "-d", metavar="NAME", help="Where to look: a data set with labelled cells, or a task."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def search(
    query: Annotated[
        list[str],
        typer.Argument(metavar="QUERY…", help="Image files, folders of them, or samples of the collection."),
    ],
    backbone: BackboneOption,
    dataset: DatasetOption,
    k: Annotated[int, typer.Option("-k", help="Neighbours of each query.", min=1)] = 12,
    box: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="The cell's place in the image, px.", show_default=False),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(
            help="Micrometres per pixel of the query, where cells are cut in micrometres.",
            min=0.0,
            show_default=False,
        ),
    ] = None,
    exclude_group: Annotated[
        bool,
        typer.Option("--exclude-group", help="No neighbours of the query's own group (slide, patient)."),
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="No neighbours from this group.", show_default=False),
    ] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a contact sheet.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    device: DeviceOption = "auto",
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Find the cells that look most like a query to a backbone, with similarity, label, group and file.

    Features and an index of the collection are made on the first call and kept. A cell is never its own
    neighbour. For research: neighbours are no diagnosis.

    [dim]Examples:[/dim]  cytobench search cell.png -b cytofm -d pbc --data DIR
              cytobench search field.jpg --box 210,80,40,40 -b cytofm -d bccd --html near.html --data DIR
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.errors import UsageError
    from cytobench.pictures.licence import refuse_hidden
    from cytobench.progress import SilentReporter
    from cytobench.retrieval.collection import card_of
    from cytobench.retrieval.query import parse_box
    from cytobench.retrieval.searcher import Searcher

    where, registry, reporter = places(home, data), load_registry(plugin, home=home), ConsoleReporter()
    wanted = _Wanted(query, parse_box(box) if box else None, mpp, group or exclude_group)
    if png or html:
        refuse_hidden([card_of(dataset, registry, SilentReporter())])
    if wanted.box is not None and (len(query) > 1 or not Path(query[0]).is_file()):
        raise UsageError("--box belongs to one image file; give that file alone.")
    searcher = Searcher.open(
        dataset,
        backbone,
        registry=registry,
        home=where.home,
        data_dirs=where.data,
        device=device,
        reporter=reporter,
    )
    answers = wanted.answers(searcher, k)
    if as_json:
        from cytobench.retrieval.pictures import as_records

        typer.echo(json.dumps(as_records(searcher, answers), indent=1))
    else:
        _print(searcher, answers, k)
    _write(searcher, answers, png, html, reporter)


@dataclass(frozen=True)
class _Wanted:
    """What the command line asks for."""

    queries: list[str]
    box: Box | None
    mpp: float | None
    without_group: str | bool

    def answers(self, searcher: Searcher, k: int) -> list[Answer]:
        found = [one for name in self.queries for one in self._read(name, searcher)]
        groups = [searcher.group_to_exclude(one, self.without_group) for one in found]
        return searcher.search_crops(found, k, exclude_groups=groups)

    def _read(self, name: str, searcher: Searcher) -> list[Query]:
        from cytobench.retrieval.query import images_in

        path = Path(name).expanduser()
        if path.is_dir():
            return [searcher.read(file, mpp=self.mpp) for file in images_in(path)]
        if path.is_file():
            return [searcher.read(path, self.box, mpp=self.mpp)]
        return [searcher.sample(name)]


def _print(searcher: Searcher, answers: list[Answer], k: int) -> None:
    from rich.text import Text

    from cytobench.cli.console import output
    from cytobench.retrieval.words import remarks

    for answer in answers[:_MOST_TABLES]:
        output().print(_table(answer))
        said = "; ".join(
            [
                f"{searcher.size:,} cells of {searcher.collection.name} under {searcher.backbone}",
                *remarks(answer, k),
            ]
        )
        output().print(Text(f"{said}.\n", style="dim"), soft_wrap=True)
    if len(answers) > _MOST_TABLES:
        typer.echo(f"{len(answers) - _MOST_TABLES} more queries; --json, --html and --png have them.")


def _table(answer: Answer) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from cytobench.retrieval.words import heading, where

    table = Table(
        box=box.SIMPLE_HEAD,
        title=escape(heading(answer)),
        title_justify="left",
    )
    for head, right in (("", True), ("similarity", True), ("label", False), ("group", False)):
        table.add_column(head, justify="right" if right else "left")
    table.add_column("sample", overflow="fold")
    table.add_column("file", overflow="fold")
    for rank, hit in enumerate(answer.hits, start=1):
        cells = (hit.label, hit.group, hit.sample, where(hit))
        table.add_row(str(rank), f"{hit.similarity:.4f}", *(escape(cell) for cell in cells))
    return table


def _write(
    searcher: Searcher,
    answers: list[Answer],
    png: Path | None,
    html: Path | None,
    reporter: ConsoleReporter,
) -> None:
    from cytobench.pictures.sheet import save
    from cytobench.retrieval.pictures import crops_of, page, sheet

    made = [path for path in (png, html) if path is not None]
    if not made:
        return
    title = f"Similar cells: {searcher.collection.name}, {searcher.backbone}"
    with reporter.task("drawing", None):
        crops = crops_of(searcher, answers)
        if png is not None:
            with writing(png):
                save(sheet(searcher, answers, crops, title), png)
        if html is not None:
            with writing(html):
                html.parent.mkdir(parents=True, exist_ok=True)
                html.write_text(page(searcher, answers, crops, title), encoding="utf-8")
    reporter.say("Written: " + ", ".join(map(str, made)))
