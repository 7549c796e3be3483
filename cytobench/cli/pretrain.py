"""`cytobench pretrain` and `cytobench views`: train a backbone on cells, and see what it is shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places
from cytobench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from cytobench.pretraining.distributed import Process
    from cytobench.pretraining.engine import Outcome
    from cytobench.pretraining.recipe import Recipe
    from cytobench.pretraining.session import Surroundings
    from cytobench.progress import Reporter

PresetOption = Annotated[
    str,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="cytofm-vitb16, cytofm-vits16, cytofm-vitti16 (laptop) or ibot-imagenet-vits16.",
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
            metavar="NAME|FILE", help="Begin with a backbone's weights or a checkpoint.", show_default=False
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
    from cytobench.pretraining import session
    from cytobench.pretraining.distributed import Process, together, wait_for_all

    recipe = _recipe(preset, config, settings)
    process = Process.of_environment(os.environ)
    where = _device(device, process)
    reporter = _reporter(process)
    around = _surroundings(home, data, plugin, reporter)
    request = session.Request(preset, recipe, tuple(images), tuple(knn or ()), init)
    out = out.expanduser()
    with together(process, where):
        if process.is_first:
            if not resume and (out / session.REQUEST).exists():
                raise UsageError(f"{out} holds a run already: give another --out, or leave --no-resume away.")
            session.open_run(out, request)
            session.find_or_make_pool(out, request, around)
        wait_for_all()
        pool = session.find_or_make_pool(out, request, around)
        if pack_only:
            reporter.say(f"Packed: {len(pool):,} pictures of {pool.side} px in {pool.folder}")
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
) -> None:
    """Draw a contact sheet of pictures and the augmented crops a network would be shown of them.

    [dim]Example:[/dim]  cytobench views --images my/cells --preset cytofm-vitb16 --out views.png
    """
    import numpy as np

    from cytobench.images import decode
    from cytobench.pretraining.pack import prepare
    from cytobench.pretraining.recipe import AUGMENTATIONS
    from cytobench.pretraining.sheet import views_sheet
    from cytobench.pretraining.sources import list_folder

    recipe = _recipe(preset, config, settings)
    if augmentation and augmentation not in AUGMENTATIONS:
        raise UsageError(f"There is no augmentation '{augmentation}'; there are {', '.join(AUGMENTATIONS)}.")
    change = AUGMENTATIONS[augmentation] if augmentation else recipe.augmentation
    pieces = [piece for one in images for piece in list_folder(Path(one).expanduser(), recipe.data).pieces]
    step = max(1, len(pieces) // count)
    shown = pieces[::step][:count]
    pictures = np.stack([prepare(decode(piece.image), piece, recipe.data.side) for piece in shown])
    path = views_sheet(pictures, recipe.crops, change, out, seed=seed)
    typer.echo(f"Written: {path} ({len(shown)} pictures and their crops)")


def _recipe(preset: str, config: Path | None, settings: list[str] | None) -> Recipe:
    """Return the preset with the file's settings over it, and those of --set over both."""
    from cytobench.pretraining import recipe as recipes

    recipe = recipes.preset(preset)
    if config is not None:
        recipe = recipes.override(recipe, recipes.read_overrides(config), where=str(config))
    for one in settings or []:
        recipe = recipes.override(recipe, _setting(one), where=f"--set {one}")
    return recipes.check(recipe)


def _setting(text: str) -> dict[str, Any]:
    """Return `a.b=value` as nested tables; a value that is no TOML is taken as text."""
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: write KEY=VALUE, such as schedule.epochs=20.")
    try:
        return tomllib.loads(f"{key.strip()} = {value.strip()}")
    except tomllib.TOMLDecodeError:
        quoted = value.strip().replace("\\", "\\\\").replace('"', '\\"')
        try:
            return tomllib.loads(f'{key.strip()} = "{quoted}"')
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"--set {text}: write KEY=VALUE, such as schedule.epochs=20.") from error


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
    torch.set_float32_matmul_precision("high")
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
    return Surroundings(lambda: load_registry(plugin), where.data, where.home, reporter)


def _train(
    request: Any, out: Path, device: torch.device, process: Process, around: Surroundings, pool: Any
) -> Outcome:
    from cytobench.pretraining import session
    from cytobench.pretraining.engine import Run, train

    return train(
        Run(
            recipe=request.recipe,
            pool=pool,
            folder=out,
            device=device,
            process=process,
            labelled=session.labelled_of(pool, request),
            preset=request.preset,
            prepare=session.begin_with(request.init, around),
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
