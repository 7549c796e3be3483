"""`cytobench attend`: what a backbone attends to in a picture, and a model of bags among its instances."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cytobench.cli.options import DataOption, HomeOption, Places, PluginOption, load_registry, places, writing
from cytobench.cli.run import Device, DeviceOption, OfflineOption
from cytobench.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.cards import BackboneCard, TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.digests import FileDigests
    from cytobench.encoders import Encoder
    from cytobench.evaluation.plan import TaskPlan
    from cytobench.pictures.sheet import Strip
    from cytobench.registry import Registry

_CELLS, _BAGS, _MEASURED = 2, 4, 25
_MOST_IMAGES = 40


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
    seed: Annotated[int, typer.Option(help="Seed of the choice of examples, and of the run.", min=0)] = 0,
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

    where, registry, reporter = places(home, data), load_registry(plugin), ConsoleReporter()
    if png is not None and png.suffix.lower() != ".png":
        raise UsageError(f"The file {png} should end in .png: that is what is written to it.")
    card = _task(target, registry)
    shown_as = registry.task(task) if task else None
    given = {"--task": task, "--box": box, "--mpp": mpp} if card else {"--bag": bag, "--probe": probe}
    _refuse_idle(given, "pictures of your own" if card else "tasks of bags")
    if (png or html) and (card or shown_as):
        refuse_hidden([one for one in (card, shown_as) if one is not None])
    asked = _Asked(
        registry.backbone(backbone), where, reporter, FileDigests(where.home), device.value, not offline
    )
    if card is None:
        shown = _images(asked, target, shown_as, box, mpp)
    elif card.unit == "cell":
        _refuse_idle({"--bag": bag, "--probe": probe}, "tasks of bags")
        shown = _cells(asked, card, most or _CELLS, measured, seed)
    else:
        shown = _bags(asked, card, bag or [], most or _BAGS, probe, tuned=tuned, seed=seed)
    asked.digests.flush()
    if not (png or html or as_json):
        png = _default_picture(shown, card or shown_as, reporter)
    _tell(shown, as_json=as_json)
    _write(shown, png, html, reporter)


@dataclass(frozen=True)
class _Asked:
    """One invocation: who is asked, and where things are."""

    backbone: BackboneCard
    where: Places
    reporter: ConsoleReporter
    digests: FileDigests
    device: str
    download: bool

    def encoder(self) -> Encoder:
        """Load the backbone; raises UsageError where it is known to have no attention."""
        from cytobench.encoders import load
        from cytobench.encoders.attention import why_no_attention

        impossible = why_no_attention(self.backbone)
        if impossible:
            raise UsageError(impossible)
        with self.reporter.task(f"loading {self.backbone.name}", None):
            return load(
                self.backbone,
                home=self.where.home,
                digests=self.digests,
                device=self.device,
                download=self.download,
                reporter=self.reporter,
            )

    def plan(self, card: TaskCard) -> TaskPlan:
        """Read a task's data."""
        from cytobench.evaluation.plan import RunRequest, plan_task

        request = RunRequest(tasks=[card], backbones=[], home=self.where.home, data_dirs=self.where.data)
        with self.reporter.task("reading the task", None):
            return plan_task(card, request, self.digests, self.reporter)


@dataclass(frozen=True)
class _Shown:
    """What an invocation found: for the terminal, for programs, and as pictures (made when asked for)."""

    name: str
    title: str
    table: dict[str, Any]
    said: list[str]
    notes: list[str]
    record: dict[str, Any]
    strips: Any
    columns: int


def _images(
    asked: _Asked, named: list[str], card: TaskCard | None, box: str | None, mpp: float | None
) -> _Shown:
    from cytobench.inspection.attended import as_records, attend
    from cytobench.inspection.attention_pictures import strips_of_images
    from cytobench.inspection.attention_words import notes_of_images, table_of_images
    from cytobench.inspection.subjects import image_files, subject_of_file

    files = image_files([Path(one).expanduser() for one in named])
    if box is not None and len(files) > 1:
        raise UsageError(f"--box is for one image, and {len(files)} are named; name one.")
    if len(files) > _MOST_IMAGES:
        asked.reporter.warn(
            f"The first {_MOST_IMAGES} of {len(files)} images are looked at; name others alone."
        )
    view = card.view if card else None
    subjects = [subject_of_file(file, view, _box(box), mpp) for file in files[:_MOST_IMAGES]]
    found = attend(asked.encoder(), subjects, asked.reporter)
    heads = len(found[0].attention.heads)
    return _Shown(
        Path(files[0]).stem if len(files) == 1 else "images",
        f"What {asked.backbone.name} attends to",
        table_of_images(found),
        [],
        notes_of_images(asked.backbone.name, found, card),
        {"backbone": asked.backbone.name, "images": as_records(found, maps=True)},
        lambda: strips_of_images(found),
        min(heads + 3, 9),
    )


def _cells(asked: _Asked, card: TaskCard, each: int, measured: int, seed: int) -> _Shown:
    from cytobench.inspection.attended import as_records, attend
    from cytobench.inspection.attention_pictures import strips_of_classes
    from cytobench.inspection.attention_words import notes_of_images, table_of_images
    from cytobench.inspection.subjects import subjects_of_task

    encoder = asked.encoder()
    task = asked.plan(card)
    with asked.reporter.task("cutting pictures", None):
        subjects = subjects_of_task(task, each, seed)
        if measured > each and any(one.cell is not None for one in subjects):
            subjects = subjects_of_task(task, measured, seed)
    found = attend(encoder, subjects, asked.reporter)
    return _Shown(
        card.name,
        f"{card.name}: what {asked.backbone.name} attends to",
        table_of_images(found),
        [],
        notes_of_images(asked.backbone.name, found, card),
        {"backbone": asked.backbone.name, "task": card.name, "cells": as_records(found, maps=True)},
        lambda: strips_of_classes(found, each),
        3 * min(each, 3),
    )


def _bags(
    asked: _Asked,
    card: TaskCard,
    named: list[str],
    most: int,
    probe: str | None,
    *,
    tuned: bool,
    seed: int,
) -> _Shown:
    from cytobench.inspection.attention_words import notes_of_bags, table_of_bags, truth_lines
    from cytobench.inspection.bag_attention import as_records, choose, truth_figures, weighed_bags
    from cytobench.inspection.bag_pictures import MOST, strips_of_bags
    from cytobench.inspection.stored import attention_of_run, predictions_of_runs, runs_of

    home = asked.where.home
    (run,) = runs_of([asked.backbone.name], card, home, asked.reporter, probe=probe, tuned=tuned, seed=seed)
    attention = attention_of_run(run, home)
    predictions = predictions_of_runs([run], home)[run.backbone]
    task = asked.plan(card)
    bags = weighed_bags(task, run, predictions, attention)
    chosen = choose(bags, named, most, seed)
    truth = truth_figures(bags)
    if truth is not None:
        _store(asked, run, truth)
    said = truth_lines(truth, known=any(one.telling is not None for one in bags))
    return _Shown(
        card.name,
        f"{card.name}: what {run.probe} attends to ({run.backbone})",
        table_of_bags(chosen),
        said,
        notes_of_bags(run, chosen, card, said),
        {
            "task": card.name,
            "backbone": run.backbone,
            "probe": run.probe,
            "tuned": run.tuned,
            "run_id": run.run_id,
            "truth": vars(truth) if truth else None,
            "bags": as_records(task, chosen),
        },
        lambda: strips_of_bags(task, chosen, asked.reporter),
        MOST,
    )


def _store(asked: _Asked, run: Any, truth: Any) -> None:
    """Keep the figures against truth beside the run; a folder that may not be written is no failure."""
    from cytobench.errors import StoreError
    from cytobench.evaluation.ledger import run_folder
    from cytobench.features.durable import write_durably
    from cytobench.inspection.bag_attention import FILE, truth_record

    path = run_folder(asked.where.home, run.task, run.backbone, run.probe, run.run_id) / FILE
    text = json.dumps(truth_record(run, truth), indent=1) + "\n"
    try:
        write_durably(path, [text.encode()])
    except StoreError as error:
        asked.reporter.warn(f"The figures against truth are not kept: {error}")


def _task(named: list[str], registry: Registry) -> TaskCard | None:
    """Return the task that is named, or None where images are."""
    tasks = [one for one in named if one in registry.tasks or one.endswith(".toml")]
    if len(named) == 1:
        alone = Path(named[0])
        bare = not alone.suffix and len(alone.parts) == 1 and not alone.exists()
        return registry.task(named[0]) if tasks or bare else None
    if tasks:
        raise UsageError(f"{tasks[0]} is a task: name it alone, or images and folders only.")
    return None


def _box(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--box {text} is not X,Y,W,H: four whole numbers of px, such as 120,80,64,64."
        ) from None
    return x, y, w, h


def _refuse_idle(options: dict[str, Any], meant: str) -> None:
    idle = [name for name, value in options.items() if value]
    if idle:
        raise UsageError(f"{' and '.join(idle)} has no effect here: it is for {meant}; leave it out.")


def _default_picture(shown: _Shown, card: TaskCard | None, reporter: ConsoleReporter) -> Path | None:
    """Return the picture written when nothing is asked for; None, said, where the licence forbids it."""
    from cytobench.evaluation.ledger import folder_name
    from cytobench.pictures.licence import refuse_hidden

    try:
        refuse_hidden([card] if card else [])
    except UsageError as refusal:
        reporter.warn(f"No picture is written: {refusal}")
        return None
    return Path(f"attend-{folder_name(shown.name)}.png")


def _tell(shown: _Shown, *, as_json: bool) -> None:
    from rich.markup import escape

    from cytobench.cli.console import output

    if as_json:
        typer.echo(json.dumps(shown.record, indent=1))
        return
    output().print(_table(shown))
    for line in shown.said:
        output().print(escape(line), highlight=False)
    output().print(f"[dim]{escape(shown.table['caption'])}[/dim]", highlight=False)


def _table(shown: _Shown) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=escape(shown.title), title_justify="left")
    for k, head in enumerate(shown.table["head"]):
        table.add_column(escape(head), justify="left" if k == 0 else "right")
    for row in shown.table["rows"]:
        table.add_row(*map(escape, row))
    return table


def _write(shown: _Shown, png: Path | None, html: Path | None, reporter: ConsoleReporter) -> None:
    """Write what was asked for and say where it is."""
    from cytobench.inspection.attention_pictures import page, sheet
    from cytobench.pictures.sheet import save

    if png is None and html is None:
        return
    strips: list[Strip] = shown.strips()
    if png is not None:
        with writing(png):
            save(sheet(shown.title, strips, shown.notes, columns=shown.columns), png)
    if html is not None:
        with writing(html):
            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_text(page(shown.title, strips, shown.notes, shown.table), encoding="utf-8")
    reporter.say("Written: " + ", ".join(str(path) for path in (png, html) if path is not None))
