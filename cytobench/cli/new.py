"""`cytobench new`: a card to begin with, which passes `cytobench check` at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import HomeOption, places
from cytobench.errors import counted

if TYPE_CHECKING:
    from cytobench.scaffold.writing import Draft

app = typer.Typer(
    help="Write a card to begin with, for cells or a backbone of your own.", no_args_is_help=True
)

OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="The plugin folder to write to (then --plugin DIR).")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


@app.command()
def task(
    name: Annotated[str, typer.Argument(help="The task's name.")],
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Class folders: DIR/<class>/<image>.", show_default=False),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV, TSV or Parquet that names images.", show_default=False),
    ] = None,
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The column of labels; else guessed.")] = "",
    group: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="The column of patients or slides; with --folder a pattern of file names; else guessed.",
        ),
    ] = "",
    bag: Annotated[str, typer.Option(metavar="COLUMN", help="The column of bags: a label a bag.")] = "",
    out: OutOption = Path(),
    force: ForceOption = False,
) -> None:
    """Look at your cells and write a task card that fits them; says what it guessed.

    [dim]Example:[/dim]  cytobench new task my-cells --table cells.csv --group patient
    """
    from cytobench.scaffold.task import draft_task

    draft = draft_task(name, out, folder=folder, table=table, label=label, group=group, bag=bag)
    _write(draft, force)


@app.command()
def backbone(
    name: Annotated[str, typer.Argument(help="The backbone's name.")],
    timm: Annotated[str, typer.Option(metavar="NAME", help="A model of timm.")] = "",
    open_clip: Annotated[
        str,
        typer.Option(
            metavar="MODEL/PRETRAINED",
            help="A model of open_clip, or hf-hub:OWNER/REPO with its own settings.",
        ),
    ] = "",
    ibot: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="An iBOT checkpoint.", show_default=False)
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of a timm network.", show_default=False)
    ] = None,
    arch: Annotated[str, typer.Option(help="Architecture of the file; else read off it.")] = "",
    function: Annotated[bool, typer.Option("--function", help="A network built by your own Python.")] = False,
    out: OutOption = Path(),
    force: ForceOption = False,
    home: HomeOption = None,
) -> None:
    """Write a backbone card, with what timm, open_clip or a checkpoint say of the network.

    [dim]Example:[/dim]  cytobench new backbone my-net --weights net.pth --arch vit_small_patch16_224
    """
    from cytobench.scaffold.backbone import draft_backbone

    draft = draft_backbone(
        name,
        out,
        timm=timm,
        open_clip=open_clip,
        ibot=ibot,
        weights=weights,
        arch=arch,
        function=function,
        home=places(home, None).home,
    )
    _write(draft, force)


@app.command()
def plugin(
    name: Annotated[str, typer.Argument(help="The package's name.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where its folder is made.")] = Path(),
    force: ForceOption = False,
) -> None:
    """Write an installable package: a reader, a network, cards, a test that passes, cells to try it on.

    [dim]Example:[/dim]  cytobench new plugin my-lab
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.scaffold.plugin import draft_plugin
    from cytobench.scaffold.writing import write

    draft, root = draft_plugin(name, out), out / name
    made, reporter = write(draft, force=force), ConsoleReporter()
    for line in draft.said:
        reporter.say(line)
    typer.echo(f"Written: {counted(len(made), 'file')} in {root}")
    typer.echo(f"Next: cytobench check {root} --data {root / 'data'}")


def _write(draft: Draft, force: bool) -> None:
    from cytobench.cli.console import ConsoleReporter
    from cytobench.scaffold.writing import write

    reporter, made = ConsoleReporter(), write(draft, force=force)
    for line in draft.said:
        reporter.say(line)
    for line in draft.warned:
        reporter.warn(line)
    typer.echo("Written: " + ", ".join(map(str, made)))
    typer.echo(f"Next: cytobench check {made[0]}")
