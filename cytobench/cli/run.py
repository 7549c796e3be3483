"""`cytobench run` and `cytobench extract`: compare backbones on tasks, or only compute their features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cytobench.cli.options import DataOption, HomeOption, Places, PluginOption, load_registry, places
from cytobench.errors import CytoBenchError, UsageError, name_some

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard, ProbeCard, TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.evaluation.run import RunOutcome, RunRequest
    from cytobench.registry import Registry

_CardT = TypeVar("_CardT", "BackboneCard", "TaskCard")


class Device(StrEnum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


BackboneOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        "-b",
        metavar="NAME",
        help="A name from `list backbones`, a card file, timm:NAME, open_clip:MODEL/PRETRAINED "
        "or ibot:PATH?arch=… (repeatable).",
        show_default=False,
    ),
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME",
        help="A name or family from `list tasks`, or a card file (repeatable); default: all at hand.",
        show_default=False,
    ),
]
ProbeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--probe",
        "-p",
        metavar="NAME",
        help="A name from `list probes`, or package.module:function of your own (repeatable); default: "
        "those of the task.",
        show_default=False,
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where networks run.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Fetch no weights: use those already here.")]
RehashOption = Annotated[
    bool, typer.Option("--rehash", help="Read every file anew to make sure of its digest.")
]


def run(
    backbone: BackboneOption = None,
    task: TaskOption = None,
    probe: ProbeOption = None,
    data: DataOption = None,
    folds: Annotated[
        int | None, typer.Option(help="Number of outer folds; default: the task's.", min=2)
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            help="Tuning budget of searched probes (kNN and linear grids are fixed); 0: untuned only.",
            min=0,
        ),
    ] = 20,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Optuna storage of the searches, which several processes may share: sqlite:///FILE.db, "
            "postgresql://…, mysql://…, redis://…, or a journal file; default: journals under the home.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds and searches.", min=0)] = 0,
    device: DeviceOption = Device.auto,
    home: HomeOption = None,
    plugin: PluginOption = None,
    nulls: Annotated[
        bool, typer.Option("--nulls", help="Also run the null models, which any backbone must beat.")
    ] = False,
    shots: Annotated[
        str | None,
        typer.Option(
            metavar="1,2,4,8,16",
            help="Also few-shot curves: linear, kNN, prototypes and the plugins' probes that were run, "
            "after so many cells of each class.",
            show_default=False,
        ),
    ] = None,
    shot_seeds: Annotated[int, typer.Option(help="Draws behind each point of a few-shot curve.", min=1)] = 10,
    stress: Annotated[
        bool,
        typer.Option("--stress", help="Also scores under defocus, stain, hue, scale, shift; diluted bags."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Compute results anew (features are kept).")] = False,
    rehash: RehashOption = False,
    offline: OfflineOption = False,
) -> None:
    """Compare frozen backbones on tasks: features, folds, probes, and a table of scores.

    Goes on where an interrupted run stopped; what is finished is answered from the caches.

    [dim]Examples:[/dim]

    cytobench run --backbone uni --task cell-type-pbc --data DIR

    cytobench run --backbone uni --nulls --data DIR

    cytobench run -b dinov2-vits14 -b morphology -b timm:vit_small_patch16_224.dino -p knn --data DIR

    cytobench run --backbone my/card.toml --plugin my --task my-cells --folds 3

    cytobench run -b uni -t malaria-patients --probe abmil --trials 32 --stress --data DIR

    cytobench run -b uni -b dinov2-vits14 -t cell-type-pbc --probe retrieval --nulls --data DIR
    """
    from cytobench.cli.extras import run_extras, shots_of
    from cytobench.cli.levels import print_levels
    from cytobench.cli.retrieved import print_retrieval
    from cytobench.evaluation.processes import WORKERS

    WORKERS.allowed = True
    where = places(home, data)
    registry = load_registry(plugin, home=home, download=not offline)
    reporter = _reporter()
    request = request_of(
        registry,
        where,
        backbones=[*(backbone or []), *(_nulls(registry) if nulls else [])],
        tasks=task,
        probes=probe,
        folds=folds,
        trials=trials,
        storage=storage,
        seed=seed,
        device=device.value,
        force=force,
        rehash=rehash,
        download=not offline,
    )
    wanted = shots_of(shots)
    outcomes = compare(request, reporter)
    print_outcomes(outcomes, request)
    print_retrieval(outcomes)
    print_levels(outcomes)
    if stress or wanted:
        run_extras(request, outcomes, reporter, stress=stress, shots=wanted, shot_seeds=shot_seeds)
    if any(outcome.result for outcome in outcomes):
        _hint_at_nulls(request, reporter)
    summarise(outcomes, where.home, reporter)


def extract(
    backbone: BackboneOption = None,
    task: TaskOption = None,
    data: DataOption = None,
    device: DeviceOption = Device.auto,
    home: HomeOption = None,
    plugin: PluginOption = None,
    rehash: RehashOption = False,
    offline: OfflineOption = False,
) -> None:
    """Compute and store the features of tasks, without evaluating anything.

    Under `torchrun` every process takes its share. A later `cytobench run` finds the features in the store.

    [dim]Example:[/dim]  cytobench extract --backbone uni --task cell-type-pbc --data DIR --device cuda
    """
    from cytobench.evaluation.run import extract_features

    where = places(home, data)
    reporter = _reporter()
    request = request_of(
        load_registry(plugin, home=home, download=not offline),
        where,
        backbones=backbone,
        tasks=task,
        device=device.value,
        rehash=rehash,
        download=not offline,
    )
    problems = extract_features(request, reporter=reporter)
    for problem in problems:
        reporter.warn(problem)
    if problems:
        raise typer.Exit(1)
    names = ", ".join(card.name for card in request.backbones)
    reporter.say(f"The features of {names} are stored: {where.home / 'features'}")


def _nulls(registry: Registry) -> list[str]:
    """Return the names of the shipped null models."""
    from cytobench.leaderboard.collect import is_null

    return [name for name, card in registry.backbones.items() if is_null(card) and card.origin == "shipped"]


def _hint_at_nulls(request: RunRequest, reporter: ConsoleReporter) -> None:
    from cytobench.leaderboard.collect import is_null

    if not any(is_null(card) for card in request.backbones):
        reporter.say(
            "No null model was run: add --nulls to see how far these scores are above knowing nothing."
        )


def request_of(
    registry: Registry,
    where: Places,
    *,
    backbones: Sequence[str] | None,
    tasks: Sequence[str] | None,
    probes: Sequence[str] | None = None,
    **options: object,
) -> RunRequest:
    """Turn names into cards and options into a request.

    Raises UsageError when no backbone is named or no task's data is at hand, CardError for unknown names.
    """
    from cytobench.evaluation.run import RunRequest

    if not backbones:
        raise UsageError("Name at least one backbone with --backbone; `cytobench list backbones` shows them.")
    wanted, custom = _probes(registry, probes)
    trials = options.get("trials", 20)
    tuned = (False,) if trials == 0 else (False, True)
    return RunRequest(
        tasks=_tasks(registry, tasks, where),
        probes=wanted,
        custom=custom,
        backbones=_unique([registry.backbone(name) for name in backbones]),
        home=where.home,
        data_dirs=where.data,
        tuned=tuned,
        **options,  # type: ignore[arg-type]
    )


def _tasks(registry: Registry, names: Sequence[str] | None, where: Places) -> list[TaskCard]:
    if names:
        return _unique([card for name in names for card in _named(registry, name)])
    from cytobench.datasets.task import available_tasks

    found = available_tasks(registry.tasks, where.data)
    if not found:
        raise UsageError("No task's data is at hand; say where it lies with --data DIR, or name a --task.")
    return list(found)


def _named(registry: Registry, name: str) -> list[TaskCard]:
    """Return the task of this name, or all tasks of the family of this name."""
    family = [card for card in registry.tasks.values() if card.family == name]
    return family if family and name not in registry.tasks else [registry.task(name)]


def _probes(registry: Registry, names: Sequence[str] | None) -> tuple[list[str] | None, dict[str, ProbeCard]]:
    """Return the names of probes as runs know them, and the cards of those that plugins bring.

    Raises CardError for a name that nobody knows.
    """
    from cytobench.cards import UNIT_OF_PROBE

    known = dict(registry.probes)
    if not names:
        return None, known
    found = {name: registry.probe(name) for name in names if name not in UNIT_OF_PROBE}
    called = [found[name].name if name in found else name for name in names]
    return called, known | {card.name: card for card in found.values()}


def _unique(cards: list[_CardT]) -> list[_CardT]:
    """Return the cards without repetitions; raises UsageError when two different ones share a name."""
    by_name: dict[str, _CardT] = {}
    for card in cards:
        twin = by_name.setdefault(card.name, card)
        if twin != card:
            raise UsageError(
                f"Two different cards are named '{card.name}' ({twin.source}, {card.source}); rename one."
            )
    return list(by_name.values())


def compare(request: RunRequest, reporter: ConsoleReporter) -> list[RunOutcome]:
    """Run a request and return its outcomes."""
    from cytobench.evaluation.run import benchmark

    return benchmark(request, reporter=reporter)


def print_outcomes(outcomes: Sequence[RunOutcome], request: RunRequest, title: str = "Results") -> None:
    """Print the results as one table a task on standard output."""
    from cytobench.cli.console import output
    from cytobench.leaderboard.collect import is_null, rows_of_outcomes
    from cytobench.leaderboard.render import terminal
    from cytobench.leaderboard.table import lay_out
    from cytobench.leaderboard.uncertainty import judge

    backbones: dict[str, BackboneCard] = {card.name: card for card in request.backbones}
    tasks = {card.name: card for card in request.tasks}
    judged = judge(rows_of_outcomes(outcomes, backbones, tasks), request.home)
    nulls = frozenset(name for name, card in backbones.items() if is_null(card))
    output().print(terminal(lay_out(title, judged, list(tasks.values()), nulls)))
    for sentence in _caveats(outcomes):
        output().print(sentence, style="dim", markup=False, highlight=False)


def _caveats(outcomes: Sequence[RunOutcome]) -> list[str]:
    """Return what the runs warn of: of a task as a whole, or with the backbones and probes it is true of."""
    found = [outcome for outcome in outcomes if outcome.result]
    runs = Counter(outcome.task for outcome in found)
    said: dict[tuple[str, str], list[str]] = {}
    for outcome in found:
        for sentence in outcome.result.warnings if outcome.result else ():
            kind = f"{outcome.backbone}, {outcome.probe}{' tuned' if outcome.tuned else ''}"
            said.setdefault((outcome.task, sentence), []).append(kind)
    return [
        f"{task}: {sentence}." if len(who) == runs[task] else f"{task} ({name_some(who)}): {sentence}."
        for (task, sentence), who in said.items()
    ]


def summarise(outcomes: Sequence[RunOutcome], home: Path, reporter: ConsoleReporter) -> None:
    """Say how many runs were made, cached, failed; exit with 1 when nothing at all has a score."""
    counts = {
        status: sum(o.status == status for o in outcomes)
        for status in ("done", "cached", "failed", "not run")
    }
    words = {"done": "computed", "cached": "answered from the caches"}
    parts = [f"{n} {words.get(status, status)}" for status, n in counts.items() if n]
    reporter.say(f"{', '.join(parts)}. Results: {home / 'results'}")
    if counts["failed"]:
        raise typer.Exit(1)
    require_scores(outcomes)


def require_scores(outcomes: Sequence[RunOutcome]) -> None:
    """Raise CytoBenchError with all reasons when no run has a result."""
    if not any(outcome.result for outcome in outcomes):
        reasons = dict.fromkeys(outcome.reason for outcome in outcomes if outcome.reason)
        raise CytoBenchError("Nothing could be run: " + " ".join(reasons))


def _reporter() -> ConsoleReporter:
    from cytobench.cli.console import ConsoleReporter

    return ConsoleReporter()
