"""`cytobench bundle`: results as one file for other labs, and theirs beside one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, Places, PluginOption, load_registry, places, writing
from cytobench.errors import CardError, DataError, UsageError, counted

if TYPE_CHECKING:
    from cytobench.cards import TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.evaluation.plan import TaskPlan
    from cytobench.evaluation.results import RunResult
    from cytobench.interchange.bundle_check import Bundle
    from cytobench.interchange.bundle_export import Chosen
    from cytobench.interchange.imported import Replan
    from cytobench.registry import Registry

app = typer.Typer(
    help="Exchange results with other labs: everything is computed again on arrival.", no_args_is_help=True
)

_FEW = 5
SaltOption = Annotated[
    str | None,
    typer.Option(
        metavar="SECRET",
        help="Write digests instead of the names of samples and groups; the other lab needs the same secret "
        "and the same data.",
        show_default=False,
    ),
]
FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Bundles.", show_default=False)]


@app.command()
def export(
    names: Annotated[
        list[str], typer.Argument(metavar="BOARD|TASK…", help="Leaderboards or tasks whose runs to pack.")
    ],
    lab: Annotated[
        str, typer.Option(metavar="NAME", help="Who computed them; rows of others' tables say so.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path(
        "results.cytobench.zip"
    ),
    backbone: Annotated[
        list[str] | None,
        typer.Option("--backbone", "-b", help="Only runs of this one (repeatable).", show_default=False),
    ] = None,
    note: Annotated[str, typer.Option(help="A remark for who receives it.")] = "",
    salt: SaltOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Pack stored runs into one file: predictions, results, folds and cards; no images, no paths.

    [dim]Example:[/dim]  cytobench bundle export cytology --lab north --out north.cytobench.zip
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.interchange.bundle_export import pack

    where, reporter = places(home, None), ConsoleReporter()
    chosen = _chosen(names, set(backbone or ()), load_registry(plugin, home=home), where, reporter)
    packed = pack(chosen, where.home, lab=_lab(lab), note=note, salt=salt, reporter=reporter)
    for sentence in packed.left_out:
        reporter.warn(f"Left out: {sentence}.")
    with writing(out):
        out.write_bytes(packed.content)
    typer.echo(f"{out}: {counted(packed.runs, 'run')}, {len(packed.content) / 1e6:.1f} MB")
    typer.echo(f"cytobench-bundle sha256:{packed.digest} lab:{lab}")
    reporter.say("Publish the last line where readers know it is you: it proves which results are yours.")


@app.command()
def show(
    files: FilesArgument,
    salt: SaltOption = None,
    home: HomeOption = None,
) -> None:
    """Check bundles and show what they hold; nothing is stored.

    Exit code 1 when something is wrong.  [dim]Example:[/dim]  cytobench bundle show north.cytobench.zip
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from cytobench.cli.console import ConsoleReporter, output
    from cytobench.interchange.bundle_check import check_bundle
    from cytobench.interchange.imported import decoder

    where, reporter = places(home, None), ConsoleReporter()
    wrong = False
    for path in files:
        bundle = check_bundle(path, reporter, decode=decoder(where.home, salt))
        table = Table(
            title=Text(f"{path.name}: lab {bundle.manifest.lab} {bundle.manifest.note}".rstrip()),
            box=box.SIMPLE_HEAD,
            title_justify="left",
        )
        for column in ("task", "backbone", "probe", "metric", "value", "n", "run"):
            table.add_column(column, justify="right" if column in ("value", "n") else "left")
        for run in bundle.runs:
            one = run.result
            probe = f"{one.probe}{' tuned' if one.tuned else ''}"
            value = "-" if one.value != one.value else f"{100 * one.value:.1f}"
            cells = (one.task, one.backbone, probe, one.metric, value, str(one.n), one.run_id[:12])
            table.add_row(*map(Text, cells))
        output().print(table)
        typer.echo(f"cytobench-bundle sha256:{bundle.digest} lab:{bundle.manifest.lab}")
        wrong = wrong or bool(bundle.problems)
        for problem in bundle.problems:
            typer.secho(f"✗ {problem}", fg=typer.colors.RED)
    if wrong:
        raise typer.Exit(1)
    typer.echo("Every id, digest, metric and interval was computed again and is as stated.")


@app.command("import")
def import_(
    files: FilesArgument,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256", help="The digest that the lab has published for its bundle.", show_default=False
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take these runs in place of earlier ones of the same lab.")
    ] = False,
    salt: SaltOption = None,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Check bundles of other labs and keep their runs beside one's own, as BACKBONE@LAB.

    Every id, digest, metric and interval is computed again, and where the data (--data) or own runs are at
    hand, rows, labels and folds are compared with them. One thing wrong, and nothing of that bundle is kept.

    [dim]Example:[/dim]  cytobench bundle import north.cytobench.zip --data DIR
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.interchange.bundle_check import check_bundle
    from cytobench.interchange.foreign_cards import with_imported
    from cytobench.interchange.imported import against_own, decoder, keep

    where, reporter = places(home, data), ConsoleReporter()
    if expect is not None and len(files) > 1:
        raise UsageError("--expect is the digest of one bundle: import them one by one.")
    for path in files:
        registry = with_imported(load_registry(plugin, home=home), where.home)
        bundle = check_bundle(path, reporter, decode=decoder(where.home, salt))
        if expect is not None and bundle.digest != expect.removeprefix("sha256:").lower():
            raise DataError(f"{path} is not the bundle that was published: its digest is {bundle.digest}.")
        _refuse(path, list(bundle.problems))
        problems, unchecked = against_own(bundle, registry, where.home, _replan(where, reporter))
        _refuse(path, problems)
        kept = keep(bundle, registry, where.home, replace_old=replace, unchecked=unchecked)
        typer.echo(_said(path, bundle, kept.new, kept.known))
        if kept.foreign:
            reporter.say(f"Tasks only {bundle.manifest.lab} has, kept as theirs: {', '.join(kept.foreign)}.")
        if unchecked:
            reporter.warn(
                f"Not compared with data of ours, which are not here: {', '.join(unchecked)} (name them with "
                "--data)."
            )


def _said(path: Path, bundle: Bundle, new: int, known: int) -> str:
    again = f", {known} were here" if known else ""
    return f"{path.name}: {counted(new, 'run')} of {bundle.manifest.lab} imported{again}."


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        some = "; ".join(problems[:_FEW])
        more = f"; and {len(problems) - _FEW} more (`cytobench bundle show` lists all)"
        more = more if len(problems) > _FEW else ""
        raise DataError(f"{path} is refused, nothing of it was kept: {some}{more}.")


def _lab(name: str) -> str:
    import re

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", name):
        raise UsageError(f"'{name}' is no name for a lab: use up to 40 letters, digits, dots and dashes.")
    return name


def _chosen(
    names: list[str], only: set[str], registry: Registry, where: Places, reporter: ConsoleReporter
) -> Chosen:
    """Return the runs of boards and tasks; those of other labs are theirs to send."""
    from cytobench.interchange.bundle_export import Chosen, newest
    from cytobench.interchange.foreign_cards import labs
    from cytobench.leaderboard.collect import StoredRuns

    stored, foreign = StoredRuns(where.home, reporter), set(labs(where.home))
    boards = [registry.leaderboards[name] for name in names if name in registry.leaderboards]
    tasks = {name: registry.task(name) for name in names if name not in registry.leaderboards}
    tasks = {card.name: card for card in tasks.values()}
    runs = [run for run in stored.runs if run.task in tasks and stored.current(run)]
    for board in boards:
        for column in board.columns:
            tasks.setdefault(column.task, registry.task(column.task))
            found = stored.fitting(board, column, tasks[column.task])
            runs += [run for name, run in found.items() if not board.backbones or name in board.backbones]
    own = [run for run in newest(runs) if run.backbone not in foreign and (not only or run.backbone in only)]
    backbones = {}
    for name in dict.fromkeys(run.backbone for run in own):
        if name.startswith("ibot:") or "/" in name.partition(":")[0]:
            reporter.warn(f"Left out: {name}, whose name is a place on this machine; give it a card.")
            continue
        try:
            backbones[name] = registry.backbone(name)
        except CardError as error:
            reporter.warn(f"Left out: {name} ({error})")
    own = [run for run in own if run.backbone in backbones]
    if not own:
        raise UsageError(
            f"There are no own runs of {', '.join(names)} here to pack; `cytobench run` makes them."
        )
    return Chosen(runs=own, tasks=tasks, backbones=backbones, boards=boards, probes=registry.probes)


def _replan(where: Places, reporter: ConsoleReporter) -> Replan:
    """Return what reads our own data of a task with the folds and seed of a run, each only once."""
    from cytobench.datasets import available_tasks
    from cytobench.digests import FileDigests
    from cytobench.evaluation.plan import RunRequest, TaskPlan, plan_task

    digests, made = FileDigests(where.home), dict[tuple[str, int, int], TaskPlan | None]()

    def replan(card: TaskCard, run: RunResult) -> TaskPlan | None:
        key = card.name, run.seed, run.split.folds
        if key not in made:
            folds = run.split.folds if card.split.kind == "grouped-kfold" else None
            request = RunRequest(
                tasks=[card], backbones=[], home=where.home, data_dirs=where.data, folds=folds, seed=run.seed
            )
            here = bool(available_tasks({card.name: card}, where.data))
            made[key] = plan_task(card, request, digests, reporter) if here else None
        return made[key]

    return replan
