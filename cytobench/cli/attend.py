"""`cytobench attend`: what a backbone attends to in a picture, and a model of bags among its instances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cytobench.cli.attending import Asked, Shown, of_bags, of_cells, of_images
from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places, writing
from cytobench.cli.run import Device, DeviceOption, OfflineOption
from cytobench.errors import CardError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.cards import TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.registry import Registry

_CELLS, _BAGS, _MEASURED = 2, 4, 25


def attend(
    target: Annotated[
        list[str], typer.Argument(metavar="IMAGE|TASK", help="Images, a folder of them, or one task.")
    ],
    backbone: Annotated[str, typer.Option("--backbone", "-b", metavar="NAME", help="As in `cytobench run`.")],
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help="Images: cut them as this task does.", show_default=False),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="One image: look at this part of it, px.", show_default=False),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(
            help="Images: micrometres per pixel, where --task cuts in um.", min=0, show_default=False
        ),
    ] = None,
    bag: Annotated[
        list[str] | None,
        typer.Option(
            "--bag", metavar="NAME", help="Bag tasks: show this bag (repeatable).", show_default=False
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("-n", help="Cells of each class, or bags; default: 2 or 4.", min=1, show_default=False),
    ] = None,
    measured: Annotated[
        int,
        typer.Option(
            metavar="N", help="Cells of each class behind the figures, where boxes are known.", min=0
        ),
    ] = _MEASURED,
    probe: Annotated[
        str | None,
        typer.Option("--probe", "-p", help="Bag tasks: abmil (default) or dsmil.", show_default=False),
    ] = None,
    tuned: Annotated[bool, typer.Option("--tuned/--untuned", help="Bag tasks: which run.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the choice of examples.", min=0)] = 0,
    run_seed: Annotated[int, typer.Option(help="Bag tasks: seed of the stored run.", min=0)] = 0,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a contact sheet.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, maps and weights included.")] = False,
    data: DataOption = None,
    device: DeviceOption = Device.auto,
    home: HomeOption = None,
    plugin: PluginOption = None,
    offline: OfflineOption = False,
) -> None:
    """Show what a backbone attends to: head by head and over all layers, or a model of bags over instances.

    An image, or cells of a cell task: attention of the class token, and rollout. A bag task: the attention of
    its stored ABMIL run over fields and instances, of test folds only; against the truth of instances where
    that is known.

    Without an output option a PNG is written and named.

    [dim]Examples:[/dim]

    cytobench attend cell.png --backbone cytofm

    cytobench attend bccd-cell-type -b cytofm --data DIR

    cytobench attend malaria-patients -b cytofm --data DIR
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.digests import FileDigests
    from cytobench.pictures.licence import refuse_hidden

    where, reporter = places(home, data), ConsoleReporter()
    registry = load_registry(plugin, home=home, download=not offline)
    if png is not None and png.suffix.lower() != ".png":
        raise UsageError(f"The file {png} should end in .png: that is what is written to it.")
    card = _task(target, registry)
    shown_as = registry.task(task) if task else None
    given = {"--task": task, "--box": box, "--mpp": mpp} if card else {"--bag": bag, "--probe": probe}
    _refuse_idle(given, "pictures of your own" if card else "tasks of bags")
    if (png or html) and (card or shown_as):
        refuse_hidden([one for one in (card, shown_as) if one is not None])
    asked = Asked(
        registry.backbone(backbone), where, reporter, FileDigests(where.home), device.value, not offline
    )
    if card is None:
        shown = of_images(asked, target, shown_as, box, mpp)
    elif card.unit == "cell":
        _refuse_idle({"--bag": bag, "--probe": probe}, "tasks of bags")
        shown = of_cells(asked, card, most or _CELLS, measured, seed)
    else:
        shown = of_bags(
            asked, card, bag or [], most or _BAGS, probe, tuned=tuned, seed=seed, run_seed=run_seed
        )
    asked.digests.flush()
    if not (png or html or as_json):
        png = _default_picture(shown, card or shown_as, reporter)
    _tell(shown, as_json=as_json)
    _write(shown, png, html, reporter)


def _task(named: list[str], registry: Registry) -> TaskCard | None:
    """Return the task that is named, or None where images are."""
    tasks = [one for one in named if one in registry.tasks or one.endswith(".toml")]
    if len(named) == 1:
        alone = Path(named[0])
        bare = not alone.suffix and len(alone.parts) == 1 and not alone.exists()
        try:
            return registry.task(named[0]) if tasks or bare else None
        except CardError as error:
            raise UsageError(f"{error} Nor is there an image or a folder of that name.") from None
    if tasks:
        raise UsageError(f"{tasks[0]} is a task: name it alone, or images and folders only.")
    return None


def _refuse_idle(options: dict[str, Any], meant: str) -> None:
    idle = [name for name, value in options.items() if value]
    if idle:
        raise UsageError(f"{' and '.join(idle)} has no effect here: it is for {meant}; leave it out.")


def _default_picture(shown: Shown, card: TaskCard | None, reporter: ConsoleReporter) -> Path | None:
    """Return the picture written when nothing is asked for; None, said, where the licence forbids it."""
    from cytobench.evaluation.ledger import folder_name
    from cytobench.pictures.licence import refuse_hidden

    try:
        refuse_hidden([card] if card else [])
    except UsageError as refusal:
        reporter.warn(f"No picture is written: {refusal}")
        return None
    return Path(f"attend-{folder_name(shown.name)}.png")


def _tell(shown: Shown, *, as_json: bool) -> None:
    from rich.markup import escape

    from cytobench.cli.console import output

    if as_json:
        typer.echo(json.dumps(shown.record, indent=1))
        return
    output().print(_table(shown))
    for line in shown.said:
        output().print(escape(line), highlight=False)
    output().print(f"[dim]{escape(shown.table['caption'])}[/dim]", highlight=False)


def _table(shown: Shown) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=escape(shown.title), title_justify="left")
    for k, head in enumerate(shown.table["head"]):
        table.add_column(escape(head), justify="left" if k == 0 else "right")
    for row in shown.table["rows"]:
        table.add_row(*map(escape, row))
    return table


def _write(shown: Shown, png: Path | None, html: Path | None, reporter: ConsoleReporter) -> None:
    """Write what was asked for and say where it is."""
    from cytobench.inspection.attention_pictures import page, sheet
    from cytobench.pictures.sheet import save

    if png is None and html is None:
        return
    strips = shown.strips()
    with reporter.task("drawing", None):
        if png is not None:
            with writing(png):
                save(sheet(shown.title, strips, shown.notes, columns=shown.columns), png)
        if html is not None:
            with writing(html):
                html.parent.mkdir(parents=True, exist_ok=True)
                text = page(shown.title, strips, shown.notes, shown.table, shown.said)
                html.write_text(text, encoding="utf-8")
    reporter.say("Written: " + ", ".join(str(path) for path in (png, html) if path is not None))
