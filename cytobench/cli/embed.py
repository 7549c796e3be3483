"""`cytobench embed`: maps of the feature space, by class and by confounder, with figures below them."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places, writing
from cytobench.cli.run import Device, DeviceOption, OfflineOption, RehashOption
from cytobench.errors import CytoBenchError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.cards import TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.evaluation.plan import RunRequest, TaskPlan
    from cytobench.evaluation.recipes import Features
    from cytobench.inspection.embedding import Map
    from cytobench.inspection.points import Points


class Method(StrEnum):
    """How points are laid out."""

    pca = "pca"
    umap = "umap"
    tsne = "tsne"


def embed(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A name from `list tasks`, or a card file.")],
    backbone: Annotated[
        list[str],
        typer.Option("--backbone", "-b", metavar="NAME", help="As in `cytobench run` (repeatable)."),
    ],
    method: Annotated[
        Method, typer.Option(help="pca shows the same picture anywhere; umap needs the extra 'umap'.")
    ] = Method.pca,
    colour: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What must not matter; default: the first of slide, site, stain, scanner, patient, group "
            "that varies.",
            show_default=False,
        ),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Bag tasks: a point an instance rather than a bag's mean.")
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Thin larger sets to N points, class by class; 0: all.", min=0)
    ] = 5000,
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", help="Nearest points whose batches are counted.", min=1)
    ] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the layout and of thinning.", min=0, max=2**32 - 1)] = 0,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the picture.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the picture as SVG.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the coordinates.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    data: DataOption = None,
    device: DeviceOption = Device.auto,
    home: HomeOption = None,
    plugin: PluginOption = None,
    rehash: RehashOption = False,
    offline: OfflineOption = False,
) -> None:
    """Map what backbones see of a task: a row each, by class and by confounder (slide, site, stain).

    Silhouettes and batch mixing below each panel are figures of the whole feature space, not of the picture.
    Looks are not evidence: whether one backbone is better, `cytobench compare` tells.

    Features that are missing are computed and kept. Without an output option a PNG is written and named.

    [dim]Example:[/dim]  cytobench embed rbc-type-chula -b cytofm -b morphology --method umap --data DIR
    """
    from rich.markup import escape

    from cytobench.cli.console import ConsoleReporter, output
    from cytobench.evaluation.plan import RunRequest
    from cytobench.inspection.embedding import WARNING, as_record, said
    from cytobench.inspection.projection import require

    require(method.value)
    _require_suffixes(png, svg)
    where, reporter = places(home, data), ConsoleReporter()
    registry = load_registry(plugin, home=home, download=not offline)
    card = registry.task(task)
    if instances and card.unit != "bag":
        raise UsageError(f"--instances is for tasks of bags; the points of {card.name} are cells already.")
    request = RunRequest(
        tasks=[card],
        backbones=list({one.name: one for one in map(registry.backbone, backbone)}.values()),
        home=where.home,
        data_dirs=where.data,
        seed=0,
        device=device.value,
        rehash=rehash,
        download=not offline,
    )
    wanted = {"method": method.value, "seed": seed, "neighbours": neighbours}
    look = {"colour": colour, "instances": instances, "limit": limit, "seed": seed}
    points, maps = _maps(request, look, wanted, reporter)
    if as_json:
        typer.echo(json.dumps([as_record(one, card.name, points) for one in maps], indent=1))
    else:
        output().print(_table(card, maps, points))
        output().print(f"[dim]{escape(said(maps, points))}\n{WARNING}[/dim]", highlight=False)
    if not (png or svg or html or parquet or as_json):
        png = Path(f"embed-{_plain(card.name)}-{method.value}.png")
    _write(card.name, maps, points, {"png": png, "svg": svg, "html": html, "parquet": parquet}, reporter)


def _maps(
    request: RunRequest, look: dict[str, Any], wanted: dict[str, Any], reporter: ConsoleReporter
) -> tuple[Points, list[Map]]:
    """Return the points and a map for every backbone that has features; the others are warned about."""
    from cytobench.evaluation.plan import Problem, attempt
    from cytobench.inspection.embedding import map_of
    from cytobench.inspection.points import points_of

    task, found = _features(request, reporter)
    points = points_of(task, **look)
    if not points.confounder:
        reporter.say(
            "No column (slide, site, stain, scanner, patient, group) parts these points into batches: they "
            "are drawn by class alone."
        )
    maps, reasons = [], []
    with reporter.task("mapping", len(found)) as step:
        for name, features in found.items():
            step.advance(0, name)
            if isinstance(features, Problem):
                reasons.append(f"{name}: {features.reason}")
            else:
                made = attempt(lambda f=features, n=name: map_of(n, points.features(f), points, **wanted))  # type: ignore[misc]
                if isinstance(made, Problem):
                    reasons.append(f"{name}: {made.reason}")
                else:
                    maps.append(made)
            step.advance(1)
    if not maps:
        raise CytoBenchError("Nothing could be mapped: " + " ".join(reasons))
    for reason in reasons:
        reporter.warn(f"Left out: {reason}")
    return points, maps


def _features(request: RunRequest, reporter: ConsoleReporter) -> tuple[TaskPlan, dict[str, Features | Any]]:
    """Return the planned task and each backbone's features, extracted where missing, or its problem."""
    from functools import partial

    from cytobench.digests import FileDigests
    from cytobench.evaluation.extraction import Extraction
    from cytobench.evaluation.plan import Problem, attempt, plan_backbone, plan_task

    blind = [card.name for card in request.backbones if card.loader == "null"]
    if blind:
        raise UsageError(
            f"The backbone {blind[0]} sees no image, so it has no features to map; name another."
        )
    digests = FileDigests(request.home, rehash=request.rehash)
    with reporter.task("reading the task", None):
        task = plan_task(request.tasks[0], request, digests, reporter)
    plans = {
        card.name: attempt(partial(plan_backbone, card, request, digests, reporter))
        for card in request.backbones
    }
    digests.flush()
    extraction = Extraction(request, digests, reporter)
    extraction.ensure([(task, plan) for plan in plans.values() if not isinstance(plan, Problem)])
    found: dict[str, Any] = {}
    for name, plan in plans.items():
        problem = extraction.problems.get((task.card.name, name))
        if isinstance(plan, Problem) or problem:
            found[name] = problem or plan
        else:
            found[name] = attempt(partial(extraction.load, task, plan))
    return task, found


def _write(
    task: str, maps: list[Map], points: Points, files: dict[str, Path | None], reporter: ConsoleReporter
) -> None:
    """Write what was asked for and say where it is."""
    from cytobench.inspection.embedding import coordinates
    from cytobench.inspection.maps import draw, page, save

    made = [path for path in files.values() if path is not None]
    if any(files[kind] for kind in ("png", "svg", "html")):
        with reporter.task("drawing", None):
            figure = draw(task, maps, points)
            for path in (files["png"], files["svg"]):
                if path is not None:
                    with writing(path):
                        save(figure, path)
            if files["html"] is not None:
                with writing(files["html"]):
                    files["html"].parent.mkdir(parents=True, exist_ok=True)
                    files["html"].write_text(page(task, maps, points, figure), encoding="utf-8")
    if files["parquet"] is not None:
        with writing(files["parquet"]):
            files["parquet"].parent.mkdir(parents=True, exist_ok=True)
            coordinates(maps, points).write_parquet(files["parquet"])
    if made:
        reporter.say("Written: " + ", ".join(str(path) for path in made))


def _table(card: TaskCard, maps: list[Map], points: Points) -> Table:
    """Return the figures as a table for the terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from cytobench.inspection.embedding import heads, values

    table = Table(box=box.SIMPLE_HEAD, title=f"{escape(card.name)}: figures of the whole feature space")
    table.title_justify = "left"
    table.add_column("backbone")
    for head in heads(points):
        table.add_column(escape(head), justify="right")
    for one in maps:
        table.add_row(escape(one.backbone), *values(one, points))
    return table


def _require_suffixes(png: Path | None, svg: Path | None) -> None:
    for path, suffix in ((png, ".png"), (svg, ".svg")):
        if path is not None and path.suffix.lower() != suffix:
            raise UsageError(f"The file {path} should end in {suffix}: that is what is written to it.")


def _plain(name: str) -> str:
    from cytobench.evaluation.ledger import folder_name

    return folder_name(name)
