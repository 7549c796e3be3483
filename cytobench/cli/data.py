"""`cytobench data`: which public data sets there are, how to get one, and whether it is all there."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places

if TYPE_CHECKING:
    from cytobench.cli.options import Places
    from cytobench.datasets.acquire import Shopping
    from cytobench.datasets.info import DatasetInfo

app = typer.Typer(
    help="Which public data sets there are, how to get one, and whether it is all there.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A data set of `cytobench data list`.")]
ToOption = Annotated[
    Path | None,
    typer.Option(
        "--to",
        metavar="DIR",
        help="The data folder, which gets a folder for the set; default: the first of CYTOBENCH_DATA.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


@app.command("list")
def list_(
    organ: Annotated[
        str, typer.Option(help="Only sets of this organ, for instance blood.", show_default=False)
    ] = "",
    here: Annotated[bool, typer.Option("--here", help="Only sets that are on this machine.")] = False,
    json_: JsonOption = False,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """List the public data sets CytoBench can read: counts, grouping unit, licence, how to get them.

    [dim]Examples:[/dim]  cytobench data list   ·   cytobench data list --organ blood --here --data DIR
    """
    from cytobench.cli.console import output
    from cytobench.cli.dataset_facts import as_json, datasets_table, place_of, tasks_by_dataset
    from cytobench.datasets import DATASETS

    where = places(home, data)
    infos = [
        info
        for info in DATASETS.values()
        if (not organ or organ.casefold() in info.organ.casefold())
        and (not here or place_of(info, where) is not None)
    ]
    if not infos and organ:
        _refuse_organ(organ)
    tasks = tasks_by_dataset(load_registry(plugin).tasks)
    if json_:
        _print_json([as_json(info, tasks.get(info.name, []), where) for info in infos])
        return
    console = output()
    console.print(datasets_table(infos, tasks, where, width=console.width))


@app.command()
def show(
    name: NameArgument,
    json_: JsonOption = False,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Show everything known about a data set: licence, classes, grouping unit, confounds, layout, files.

    [dim]Example:[/dim]  cytobench data show chula-rbc12
    """
    from cytobench.cli.console import output
    from cytobench.cli.dataset_facts import as_json, print_dataset, tasks_by_dataset

    info = known(name)
    tasks = tasks_by_dataset(load_registry(plugin).tasks).get(name, [])
    where = places(home, data)
    if json_:
        _print_json(as_json(info, tasks, where))
        return
    print_dataset(info, tasks, where, output())


@app.command()
def download(
    name: NameArgument,
    to: ToOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Only this file of the set (repeatable); nothing is unpacked then.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Download a data set from its official host, unpack and check it, where host and licence permit.

    Shows licence, size and citation and asks first. Killed or cut off, the same command goes on. For other
    sets it prints where to get what and where to put it, and ends with exit code 1.

    [dim]Example:[/dim]  cytobench data download bccd --to DIR
    """
    from cytobench.cli.console import ConsoleReporter, output
    from cytobench.cli.dataset_facts import print_how_to_get
    from cytobench.datasets import find_root
    from cytobench.datasets.acquire import fetch, plan
    from cytobench.errors import DataError

    info, where = known(name), places(home, None)
    if not info.files:
        print_how_to_get(info, to or next(iter(where.data), None), output())
        raise DataError(_why_not(info))
    folder = _data_folder(to, where)
    held = find_root(name, (folder,))
    if held is not None and not file:
        typer.echo(f"{name} is here already: {held} (`cytobench data verify {name}` examines it).")
        return
    shopping = plan(info, folder, file or ())
    if shopping.missing:
        _ask(shopping, folder, yes=yes)
    reporter = ConsoleReporter()
    paths = fetch(shopping, reporter)
    if file:
        typer.echo(f"{len(paths)} of the files of {name} lie in {shopping.folder}.")
        typer.echo(f"Next: cytobench data prepare {name} --to {folder}")
        return
    _prepare_and_verify(info, folder, None, where)
    typer.echo(f"The downloaded files are kept in {shopping.folder}; remove them when you need the room.")


@app.command()
def prepare(
    name: NameArgument,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="ARCHIVE|DIR",
            help="What you downloaded: an archive, or a folder with one or several, packed or unpacked; "
            "default: what `data download` fetched.",
            show_default=False,
        ),
    ] = None,
    to: ToOption = None,
    home: HomeOption = None,
) -> None:
    """Turn a download into the folder CytoBench reads: unpack it safely, find its layout, check it.

    [dim]Example:[/dim]  cytobench data prepare mendeley-lbc --from zddtpgzv63-4.zip --to DIR
    """
    from cytobench.errors import DataError

    info, where = known(name), places(home, None)
    if info.generated:
        raise DataError(f"{name} needs no preparation: CytoBench writes it itself when a task needs it.")
    folder = _data_folder(to, where)
    _prepare_and_verify(info, folder, source.expanduser() if source else None, where)


@app.command()
def verify(
    name: NameArgument,
    rehash: Annotated[bool, typer.Option("--rehash", help="Believe no digest of an earlier run.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Name every file concerned.")] = False,
    json_: JsonOption = False,
    data: DataOption = None,
    home: HomeOption = None,
) -> None:
    """Examine a data set on this machine: counts, broken and missing files, duplicates, names, digests.

    Exit code 1 when something is to mend; that it is a subset is told and no failure.

    [dim]Example:[/dim]  cytobench data verify pbc --data DIR
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.cli.dataset_facts import place_of
    from cytobench.cli.findings import findings_json, show_findings
    from cytobench.datasets.verify import verify as examine
    from cytobench.errors import MissingDataError
    from cytobench.findings import failed

    info, where = known(name), places(home, data)
    root = place_of(info, where)
    if root is None:
        looked = ", ".join(map(str, where.data)) or "no data folder was given: use --data or CYTOBENCH_DATA"
        raise MissingDataError(
            f"{name} is not here: no folder named {' or '.join(info.folders)} (looked in: {looked}); "
            f"`cytobench data show {name}` says where to get it."
        )
    findings = examine(info, root, ConsoleReporter(), home=where.home, rehash=rehash)
    if json_:
        findings_json(findings)
    else:
        show_findings(f"{name} in {root}", findings, every_case=every)
    if failed(findings):
        raise typer.Exit(1)


def known(name: str) -> DatasetInfo:
    """Return the facts of a data set; raises CardError with the nearest name."""
    from cytobench.datasets import DATASETS
    from cytobench.errors import CardError

    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "see `cytobench data list`."
    raise CardError(f"No public data set is named '{name}'; {hint}")


def _refuse_organ(organ: str) -> None:
    from cytobench.datasets import DATASETS
    from cytobench.errors import UsageError

    organs = sorted({info.organ for info in DATASETS.values() if info.organ})
    if not any(organ.casefold() in known_organ.casefold() for known_organ in organs):
        raise UsageError(f"No data set is of the organ '{organ}'; there are {', '.join(organs)}.")


def _data_folder(to: Path | None, where: Places) -> Path:
    """Return the folder that gets the data; raises UsageError when none is named."""
    from cytobench.errors import UsageError

    if to is not None:
        folder = to.expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: name a folder with --to.")
        return folder
    if where.data:
        return where.data[0]
    raise UsageError("Name the data folder with --to DIR, or set CYTOBENCH_DATA.")


def _why_not(info: DatasetInfo) -> str:
    why = {
        "open": "its host has no address for all of it that a program may use",
        "registration": "its host asks for registration",
        "by hand": "its host or licence does not permit it",
        "generated": "CytoBench writes it itself when a task needs it",
    }
    return f"{info.name} is not downloaded by CytoBench: {why[info.access]}; see above where to get it."


def _ask(shopping: Shopping, folder: Path, *, yes: bool) -> None:
    """Show what is about to be downloaded, and go on only with consent; raises UsageError without one."""
    from cytobench.errors import UsageError
    from cytobench.transfer.errand import human_size

    info, size = shopping.info, shopping.size
    amount = human_size(size) if size is not None else "size told by its host"
    files = shopping.missing[0].file if len(shopping.missing) == 1 else f"{len(shopping.missing)} files"
    lines = [
        info.title,
        f"  licence   {info.licence}",
        f"  cite      {info.citation}",
        f"  from      {info.url}",
        f"  download  {files} ({amount}) to {folder}",
    ]
    typer.echo("\n".join(lines))
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("Nothing was downloaded: without a terminal to ask in, add --yes.")
    if not typer.confirm("Download it?"):
        typer.echo("Nothing was downloaded.")
        raise typer.Exit(1)


def _prepare_and_verify(info: DatasetInfo, folder: Path, source: Path | None, where: Places) -> None:
    from cytobench.cli.console import ConsoleReporter
    from cytobench.cli.findings import show_findings
    from cytobench.datasets.prepare import prepare as put_in_place
    from cytobench.datasets.verify import verify as examine
    from cytobench.findings import failed

    reporter = ConsoleReporter()
    prepared = put_in_place(info, folder, reporter, source=source)
    for sentence in prepared.said:
        reporter.warn(f"{sentence}.")
    if prepared.already:
        typer.echo(f"{info.name} is here already, nothing was changed: {prepared.root}")
    findings = examine(info, prepared.root, reporter, home=where.home)
    show_findings(f"{info.name} in {prepared.root}", findings)
    if failed(findings):
        raise typer.Exit(1)


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
