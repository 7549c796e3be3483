"""`cytobench errors`: the most confident mistakes, and the cells on which backbones disagree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, Places, PluginOption, load_registry, places, writing

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.cards import TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.evaluation.plan import TaskPlan
    from cytobench.evaluation.results import RunResult
    from cytobench.inspection.galleries import Gallery
    from cytobench.inspection.mistakes import Judged

_PAIRS = 10
_CELLS, _BAGS = 8, 4


def errors(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A name from `list tasks`, or a card file.")],
    backbone: Annotated[
        list[str],
        typer.Option(
            "--backbone",
            "-b",
            metavar="NAME",
            help="A backbone that has run on the task; of several the first is set against each other one.",
        ),
    ],
    probe: Annotated[
        str | None,
        typer.Option("--probe", "-p", help="Default: linear, for bags abmil.", show_default=False),
    ] = None,
    tuned: Annotated[bool, typer.Option("--tuned/--untuned", help="Which run of the probe.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the runs.", min=0)] = 0,
    most: Annotated[
        int | None,
        typer.Option(
            "-n", help="Examples in each gallery; default: 8 cells or 4 bags.", min=1, show_default=False
        ),
    ] = None,
    overall: Annotated[
        bool, typer.Option("--overall", help="The surest mistakes over all classes, not of each class.")
    ] = False,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a contact sheet.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every example that a backbone gets wrong.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Show the most confident mistakes as a montage, and the cells on which backbones disagree.

    From stored runs: predictions of test folds, so no model has seen what it is judged by. With several
    backbones also what one gets right and another wrong, what is most disputed, and what all get wrong:
    these are worth a second look by a person, for labels may be wrong too.

    Without an output option a PNG is written and named.

    [dim]Example:[/dim]  cytobench errors rbc-type-chula -b cytofm -b morphology --data DIR
    """
    from cytobench.cli.console import ConsoleReporter, output
    from cytobench.inspection.galleries import galleries
    from cytobench.inspection.mistakes import judged_of
    from cytobench.inspection.stored import predictions_of_runs, runs_of
    from cytobench.pictures.licence import refuse_hidden

    where, registry, reporter = places(home, data), load_registry(plugin, home=home), ConsoleReporter()
    card = registry.task(task)
    names = [registry.backbone(name).name for name in dict.fromkeys(backbone)]
    if png or html:
        refuse_hidden([card])
    runs = runs_of(names, card, where.home, reporter, probe=probe, tuned=tuned, seed=seed)
    judged = judged_of(predictions_of_runs(runs, where.home))
    of_unit = _CELLS if card.unit == "cell" else _BAGS
    found = galleries(judged, most=most or of_unit, unit=card.unit, overall=overall)
    if not (png or html or csv or as_json):
        png = _default_picture(card, reporter)
    inquiry = _Inquiry(card, runs, judged, found, where, reporter)
    plan = inquiry.data(needed=bool(png or html))
    if as_json:
        typer.echo(json.dumps(inquiry.record(plan), indent=1))
    else:
        output().print(_summary(inquiry), highlight=False)
        output().print(_confusions(judged))
    inquiry.write(plan, png=png, html=html, csv=csv)


@dataclass(frozen=True)
class _Inquiry:
    """One invocation: whose runs are looked into, what they said, and what of it is shown."""

    card: TaskCard
    runs: list[RunResult]
    judged: Judged
    found: list[Gallery]
    where: Places
    reporter: ConsoleReporter

    @property
    def probe(self) -> str:
        return f"{self.runs[0].probe} ({'tuned' if self.runs[0].tuned else 'untuned'})"

    @property
    def title(self) -> str:
        return f"{self.card.name}: mistakes of {', '.join(self.judged.backbones)}, {self.probe}"

    def data(self, *, needed: bool) -> TaskPlan | None:
        """Return the task's data; where they are absent or others and not `needed`, say so and go on."""
        from cytobench.digests import FileDigests
        from cytobench.errors import DataError
        from cytobench.evaluation.plan import RunRequest, plan_task
        from cytobench.inspection.stored import require_same_data

        request = RunRequest(tasks=[self.card], backbones=[], home=self.where.home, data_dirs=self.where.data)
        digests = FileDigests(self.where.home)
        try:
            with self.reporter.task("reading the task", None):
                plan = plan_task(self.card, request, digests, self.reporter)
            digests.flush()
            require_same_data(plan, self.runs[0])
        except DataError as error:
            if needed:
                raise
            self.reporter.warn(f"Without file names: {error}")
            return None
        return plan

    def record(self, plan: TaskPlan | None) -> dict[str, object]:
        """Return everything as JSON primitives."""
        from cytobench.inspection.galleries import as_records
        from cytobench.inspection.mistakes import confusions
        from cytobench.inspection.montage import files_of

        files = files_of(plan, self.judged) if plan else None
        return {
            "task": self.card.name,
            "unit": self.card.unit,
            "probe": self.runs[0].probe,
            "tuned": self.runs[0].tuned,
            "runs": {run.backbone: run.run_id for run in self.runs},
            "n": len(self.judged),
            "wrong": {
                name: int((~self.judged.right[m]).sum()) for m, name in enumerate(self.judged.backbones)
            },
            "confusions": confusions(self.judged).to_dicts(),
            "galleries": as_records(self.judged, self.found, files),
        }

    def write(self, plan: TaskPlan | None, *, png: Path | None, html: Path | None, csv: Path | None) -> None:
        """Write what was asked for and say where it is."""
        from cytobench.inspection.mistakes import as_table
        from cytobench.inspection.montage import files_of

        if plan is not None and (png or html):
            self._write_pictures(plan, png, html)
        if csv is not None:
            files = files_of(plan, self.judged) if plan else None
            with writing(csv):
                csv.parent.mkdir(parents=True, exist_ok=True)
                as_table(self.judged, files).write_csv(csv)
        made = [str(path) for path in (png, html, csv) if path is not None]
        if made:
            self.reporter.say("Written: " + ", ".join(made))

    def _write_pictures(self, plan: TaskPlan, png: Path | None, html: Path | None) -> None:
        from cytobench.inspection.montage import notes_of, page, pictured, sheet
        from cytobench.inspection.stored import attention_of_run
        from cytobench.pictures.sheet import save

        attention = {m: attention_of_run(run, self.where.home) for m, run in enumerate(self.runs)}
        weighed = any(one is not None for one in attention.values())
        shows = pictured(self.judged, self.found, plan, attention, self.reporter)
        notes = notes_of(self.judged, self.probe, plan, weighed=weighed)
        if png is not None:
            with writing(png):
                save(sheet(self.title, shows, notes), png)
        if html is not None:
            with writing(html):
                html.parent.mkdir(parents=True, exist_ok=True)
                html.write_text(page(self.title, self.judged, shows, notes, self.card.unit), encoding="utf-8")


def _default_picture(card: TaskCard, reporter: ConsoleReporter) -> Path | None:
    """Return the picture written when nothing is asked for; None, said, where the licence forbids it."""
    from cytobench.errors import UsageError
    from cytobench.evaluation.ledger import folder_name
    from cytobench.pictures.licence import refuse_hidden

    try:
        refuse_hidden([card])
    except UsageError as refusal:
        reporter.warn(f"No picture is written: {refusal}")
        return None
    return Path(f"errors-{folder_name(card.name)}.png")


def _summary(inquiry: _Inquiry) -> str:
    from rich.markup import escape

    from cytobench.inspection.galleries import SECOND_LOOK, summary

    lines = summary(inquiry.judged, inquiry.card.unit)
    head = f"{inquiry.card.name}, probe {inquiry.probe}, predictions of test folds"
    remark = f"\n[dim]{SECOND_LOOK}[/dim]" if len(inquiry.judged.backbones) > 1 else ""
    return escape("\n".join([head, *(f"  {line}" for line in lines)])) + remark


def _confusions(judged: Judged) -> Table:
    """Return the most frequent confusions as a table for the terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from cytobench.inspection.mistakes import confusions

    pairs = confusions(judged)
    of_class = {name: int((judged.labels == k).sum()) for k, name in enumerate(judged.classes)}
    more = f" ({len(pairs) - _PAIRS} rarer ones left out)" if len(pairs) > _PAIRS else ""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"What is taken for what, most frequent first{more}", title_justify="left"
    )
    for head in ("is", "called"):
        table.add_column(head)
    for name in judged.backbones:
        table.add_column(escape(name), justify="right")
    for label, predicted, *counts in pairs.head(_PAIRS).rows():
        shares = [f"{count:,} ({100 * count / of_class[label]:.0f} %)" for count in counts]
        table.add_row(escape(label), escape(predicted), *shares)
    return table
