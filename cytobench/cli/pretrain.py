"""`cytobench pretrain` and `cytobench views`: train a backbone on cells, and see what it is shown."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places, writing
from cytobench.errors import UsageError, counted

if TYPE_CHECKING:
    import torch

    from cytobench.pretraining.distributed import Process
    from cytobench.pretraining.engine import Outcome
    from cytobench.pretraining.pool import Pool
    from cytobench.pretraining.recipe import Recipe
    from cytobench.pretraining.session import Request, Surroundings
    from cytobench.progress import Reporter

PresetOption = Annotated[
    str,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="cytofm-vitti16 (small crops, for a laptop), cytofm-vits16, cytofm-vitb16 (CytoFM's "
        "architecture), or ibot-imagenet-vits16 (iBOT's published recipe).",
    ),
]
ImagesOption = Annotated[
    list[str],
    typer.Option(
        "--images",
        metavar="WHAT",
        help="A folder of images, a CSV or Parquet table, a data set's name, or a packed pool (repeatable).",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings over the preset's.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting, as schedule.epochs=20 (repeatable).",
        show_default=False,
    ),
]


def pretrain(
    images: ImagesOption,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The run's folder.")],
    preset: PresetOption = "cytofm-vitti16",
    config: ConfigOption = None,
    settings: SetOption = None,
    init: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Begin with a backbone's weights or a checkpoint; the card then names them.",
            show_default=False,
        ),
    ] = "",
    knn: Annotated[
        list[str] | None,
        typer.Option(
            "--knn",
            metavar="TASK|TABLE",
            help="Watch the run by nearest neighbours on a task's sealed share, or on a table of labelled "
            "images (repeatable).",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with the run that RUN holds.")
    ] = True,
    pack_only: Annotated[
        bool, typer.Option("--pack-only", help="Pack the pool of pictures and stop, to train elsewhere.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Train a backbone by iBOT on unlabelled cells; go on where an interrupted run stopped.

    Cells that any task at hand evaluates are kept out, by content and by group. At every checkpoint RUN holds
    model.safetensors and card.toml, ready for `cytobench run --backbone RUN/card.toml`.

    [dim]Examples:[/dim]

    cytobench pretrain --images my/cells --out run1

    cytobench pretrain --preset cytofm-vitb16 --images pbc-unlabelled --images my/fields --set data.tile=256
    --knn cell-type-pbc --data DIR --out run2

    torchrun --nproc-per-node 8 -m cytobench pretrain --preset cytofm-vits16 --images run2/pool --out run3
    """
    from cytobench.pretraining import supply
    from cytobench.pretraining.distributed import Process, together, wait_for_all
    from cytobench.pretraining.session import Request

    recipe = recipe_of(preset, config, settings)
    process = Process.of_environment(os.environ)
    where = _device(device, process)
    reporter = _reporter(process)
    around = _surroundings(home, data, plugin, reporter)
    request = Request(preset, recipe, tuple(images), tuple(knn or ()), init)
    out = out.expanduser()
    with together(process, where):
        pool = _ready(out, request, around, resume=resume) if process.is_first else None
        wait_for_all()
        pool = pool or supply.find_or_make_pool(out, request, around)
        if pack_only:
            reporter.say(f"Packed: {counted(len(pool), 'picture')} of {pool.side} px in {pool.folder}")
            return
        outcome = _train(request, out, where, process, around, pool)
    _say_end(outcome, out, reporter)


def views(
    images: ImagesOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.png", help="Where the sheet goes.")
    ] = Path("views.png"),
    preset: PresetOption = "cytofm-vitti16",
    config: ConfigOption = None,
    settings: SetOption = None,
    count: Annotated[int, typer.Option("--count", "-n", help="Pictures to show.", min=1, max=100)] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the crops.", min=0)] = 0,
    augmentation: Annotated[
        str, typer.Option(metavar="NAME", help="cyto or ibot-imagenet, instead of the preset's.")
    ] = "",
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Draw a contact sheet of pictures and the augmented crops a network would be shown of them.

    Of a data set only what pretraining may read is drawn, and nothing whose licence forbids showing it.

    [dim]Example:[/dim]  cytobench views --images my/cells --preset cytofm-vitb16 --out views.png
    """
    from cytobench.cli.console import ConsoleReporter
    from cytobench.pretraining.recipe import AUGMENTATIONS
    from cytobench.pretraining.sheet import views_sheet
    from cytobench.pretraining.shown import pictures_of

    recipe = recipe_of(preset, config, settings)
    if augmentation and augmentation not in AUGMENTATIONS:
        raise UsageError(f"There is no augmentation '{augmentation}'; there are {', '.join(AUGMENTATIONS)}.")
    change = AUGMENTATIONS[augmentation] if augmentation else recipe.augmentation
    around = _surroundings(home, data, plugin, ConsoleReporter())
    pictures = pictures_of(images, recipe.data, around, count=count)
    out = out.expanduser()
    with writing(out):
        views_sheet(pictures, recipe.crops, change, out, seed=seed)
    typer.echo(f"Written: {out} ({counted(len(pictures), 'picture')} and their crops)")


def recipe_of(preset: str, config: Path | None, settings: list[str] | None) -> Recipe:
    """Return the preset with the file's settings over it, and those of --set over both."""
    from cytobench.pretraining import recipe as recipes

    recipe, named = recipes.preset(preset), set[str]()
    asked = (
        [] if config is None else [(recipes.read_overrides(config.expanduser()), str(config.expanduser()))]
    )
    if settings:
        asked.append((_merged(settings), "--set"))
    for changes, where in asked:
        recipe = recipes.override(recipe, changes, where=where)
        named |= set(changes.get("schedule", ()))
    if "warmup_epochs" not in named:
        recipe = recipes.with_short_warmup(recipe)
    return recipes.check(recipe)


def _merged(settings: list[str]) -> dict[str, Any]:
    """Return all of --set as nested tables, so that settings that hold only together can be given."""
    merged: dict[str, Any] = {}
    for one in settings:
        path, value = _setting(one)
        table = merged
        for key in path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise UsageError(
                    f"--set {one}: another --set gives '{key}' a value of its own; leave one out."
                )
        table[path[-1]] = value
    return merged


def _setting(text: str) -> tuple[list[str], Any]:
    """Return the keys and the value of `a.b=value`; a value that is no TOML is taken as text."""
    import tomllib

    key, equals, value = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise UsageError(f"--set {text}: write KEY=VALUE, such as schedule.epochs=20.")
    try:
        return path, tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value.strip()


def _device(wanted: str, process: Process) -> torch.device:
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {wanted}: choose auto, cpu or cuda.")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device here; use --device cpu.")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", process.local_rank)
    torch.cuda.set_device(device)
    return device


def _reporter(process: Process) -> Reporter:
    from cytobench.cli.console import ConsoleReporter
    from cytobench.progress import SilentReporter

    return ConsoleReporter() if process.is_first else SilentReporter()


def _surroundings(
    home: Path | None, data: list[Path] | None, plugin: list[Path] | None, reporter: Reporter
) -> Surroundings:
    from cytobench.pretraining.session import Surroundings

    where = places(home, data)
    registry = functools.cache(lambda: load_registry(plugin, home=home))
    return Surroundings(registry, where.data, where.home, reporter, plugins=bool(plugin), memory={})


def _ready(out: Path, request: Request, around: Surroundings, *, resume: bool) -> Pool:
    """Open the run's folder, find the weights it begins with, and pack its pool: once, before all others."""
    from cytobench.pretraining import begin, session, supply

    if not resume and session.has_begun(out):
        raise UsageError(f"{out} holds a run already: give another --out, or leave --no-resume away.")
    session.open_run(out, request)
    if request.init and not session.has_begun(out):
        origin = begin.find_weights(request.init, around).origin
        session.record(out, began_with=begin.origin_as_dict(origin))
    pool = supply.find_or_make_pool(out, request, around)
    session.tie_to_pool(out, pool)
    return pool


def _train(
    request: Request, out: Path, device: torch.device, process: Process, around: Surroundings, pool: Pool
) -> Outcome:
    from cytobench.pretraining import begin, labelled, session
    from cytobench.pretraining.engine import Run, train
    from cytobench.pretraining.export import Facts, card_name

    origin = begin.origin_from_dict(session.recorded(out).get("began_with"))
    return train(
        Run(
            recipe=request.recipe,
            pool=pool,
            folder=out,
            device=device,
            process=process,
            labelled=labelled.labelled_of(pool, request, around),
            preset=request.preset,
            prepare=begin.begin_with(request.init, around),
            facts=Facts(card_name(out), began_with=origin),
        ),
        around.reporter,
    )


def _say_end(outcome: Outcome, out: Path, reporter: Reporter) -> None:
    best = (
        f"; nearest neighbours best at step {outcome.best_step:,} ({100 * outcome.best_score:.1f}), whose "
        "weights are kept"
        if outcome.best_step >= 0
        else ""
    )
    reporter.say(f"Done: {outcome.step:,} of {outcome.steps:,} steps{best}. Curves: {out / 'curves.png'}")
    reporter.say(f"Next: cytobench run --backbone {outcome.card} --data DIR")
