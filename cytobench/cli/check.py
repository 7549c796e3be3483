"""`cytobench check`: whether a backbone, task, probe, leaderboard or plugin is fit to be used."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, Places, PluginOption, places

if TYPE_CHECKING:
    from cytobench.checks.subjects import Subject
    from cytobench.findings import Finding
    from cytobench.progress import Reporter
    from cytobench.registry import Registry


def check(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|PATH...",
            help="A backbone, task, probe or leaderboard by name, a card file, a plugin folder or package, "
            "an installed plugin, timm:NAME, open_clip:MODEL/PRETRAINED, open_clip:hf-hub:OWNER/REPO "
            "or ibot:PATH?arch=….",
        ),
    ],
    all_cases: Annotated[
        bool, typer.Option("--all-cases", help="Name every row, file or pair concerned, not the first few.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of ticks and crosses.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Fetch no weights.")] = False,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Examine backbones, tasks, probes, leaderboards or plugins, and say what is wrong with them.

    A backbone: weights, output dimension, input range and preprocessing, determinism, batch invariance,
    extreme inputs, speed, memory. A task: files, labels, groups, folds, copies, confounds. A probe: its
    function on drawn examples. Exit code 1 when something must be mended. Weights are fetched only for
    backbones named one by one.

    [dim]Examples:[/dim]  cytobench check uni  ·  cytobench check my/tasks/cells.toml  ·  cytobench check my
    """
    from cytobench.checks.subjects import inquiry
    from cytobench.cli.console import ConsoleReporter
    from cytobench.cli.findings import show_findings
    from cytobench.findings import failed

    where, reporter = places(home, data), ConsoleReporter()
    plugins = [folder.expanduser() for folder in plugin or []]
    told: list[tuple[Subject, list[Finding]]] = []
    look_up = partial(inquiry, plugins=plugins, home=where.home, download=not offline)
    for asked in [look_up(name) for name in dict.fromkeys(names)]:
        for subject in asked.subjects:
            download = subject.named and not offline
            found = _findings(subject, asked.registry, where, device, download, reporter)
            told.append((subject, found))
            if not as_json:
                show_findings(f"{subject.kind} {subject.name}", found, every_case=all_cases)
    if as_json:
        typer.echo(json.dumps([_record(*one) for one in told], indent=1, ensure_ascii=False))
    if any(failed(found) for _, found in told):
        raise typer.Exit(1)


def _findings(
    subject: Subject,
    registry: Registry,
    where: Places,
    device: str,
    download: bool,
    reporter: Reporter,
) -> list[Finding]:
    from cytobench.cards import BackboneCard, LeaderboardCard, ProbeCard, TaskCard

    card = subject.card
    if isinstance(card, BackboneCard):
        from cytobench.checks.backbone import check_backbone

        return check_backbone(card, home=where.home, device=device, download=download, reporter=reporter)
    if isinstance(card, TaskCard):
        from cytobench.checks.task import check_task

        return check_task(card, data_dirs=where.data, home=where.home, reporter=reporter)
    if isinstance(card, ProbeCard):
        from cytobench.checks.probe import check_probe

        return check_probe(card)
    if isinstance(card, LeaderboardCard):
        from cytobench.checks.leaderboard import check_leaderboard

        return check_leaderboard(card, registry)
    return list(subject.findings)


def _record(subject: Subject, found: list[Finding]) -> dict[str, object]:
    source: Path | None = subject.card.source if subject.card is not None else None
    return {
        "kind": subject.kind,
        "name": subject.name,
        "card": str(source) if source else None,
        "findings": [asdict(finding) for finding in found],
    }
