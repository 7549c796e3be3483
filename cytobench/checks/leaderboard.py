"""The examination of a leaderboard's card: everything it names exists, and its columns can be filled."""

from __future__ import annotations

from cytobench.cards import Column, LeaderboardCard
from cytobench.checks.asking import failure
from cytobench.errors import CardError, CytoBenchError
from cytobench.findings import Finding
from cytobench.registry import Registry, import_beside


def check_leaderboard(card: LeaderboardCard, registry: Registry) -> list[Finding]:
    """Return findings on the tasks, probes, backbones and split that `card` names; computes nothing."""
    return [
        _tasks(card, registry),
        _probes(card, registry),
        _backbones(card, registry),
        _split(card, registry),
    ]


def _tasks(card: LeaderboardCard, registry: Registry) -> Finding:
    names = list(dict.fromkeys(column.task for column in card.columns))
    lost = [problem for name in names if (problem := _problem(registry.task, name))]
    if lost:
        return Finding(
            "tasks",
            "fail",
            f"{len(lost)} of {len(names)} tasks cannot be read.",
            "Correct `task` in the columns, or add the task's card.",
            tuple(lost),
        )
    return Finding("tasks", "pass", f"{len(names)}: {', '.join(names)}.")


def _probes(card: LeaderboardCard, registry: Registry) -> Finding:
    bad = [
        f"{column.task} x {column.probe}: {why}"
        for column in card.columns
        if (why := _unfit(card, column, registry))
    ]
    keys = [(column.task, column.probe, column.tuned) for column in card.columns]
    bad += [
        f"{task} x {probe}: the column is there twice"
        for task, probe, tuned in sorted(set(keys))
        if keys.count((task, probe, tuned)) > 1
    ]
    if bad:
        return Finding(
            "columns",
            "fail",
            f"{len(bad)} of {len(card.columns)} columns can never be filled, or are there twice.",
            "See `cytobench list probes` for what works on which unit.",
            tuple(bad),
        )
    shown = [
        column.task
        for column in card.columns
        if column.ranked and column.task in registry.tasks and not registry.tasks[column.task].ranked
    ]
    if shown:
        return Finding(
            "columns",
            "warn",
            f"Ranked here, but only shown by the cards of their tasks: {', '.join(dict.fromkeys(shown))}.",
            "Say ranked = false in these columns: the task's card decides.",
        )
    return Finding("columns", "pass", f"{len(card.columns)}, each of a probe that fits its task.")


def _unfit(card: LeaderboardCard, column: Column, registry: Registry) -> str:
    from cytobench.cards import UNIT_OF_PROBE
    from cytobench.evaluation.recipes import UNTUNED_PROBES

    if ":" in column.probe:
        return _import_problem(column.probe, card)
    if column.probe not in UNIT_OF_PROBE:
        return f"there is no probe '{column.probe}' (there are {', '.join(UNIT_OF_PROBE)})"
    if column.tuned and column.probe in UNTUNED_PROBES:
        return "it has nothing to tune: write tuned = false"
    task = registry.tasks.get(column.task)
    unit = UNIT_OF_PROBE[column.probe]
    if task is not None and task.unit != unit:
        return f"the probe is for {unit}s, the task's unit is the {task.unit}"
    return ""


def _import_problem(reference: str, card: LeaderboardCard) -> str:
    module, _, attribute = reference.partition(":")
    try:
        getattr(import_beside(module, card.source), attribute)
    except Exception as error:  # whatever foreign code raises when it is imported
        return failure(error)
    return ""


def _backbones(card: LeaderboardCard, registry: Registry) -> Finding:
    if not card.backbones:
        return Finding("backbones", "pass", f"All that are known ({len(registry.backbones)} now).")
    lost = [problem for name in card.backbones if (problem := _problem(registry.backbone, name))]
    if lost:
        return Finding(
            "backbones",
            "fail",
            f"{len(lost)} of {len(card.backbones)} backbones cannot be read.",
            "Correct `backbones`, or add the backbone's card.",
            tuple(lost),
        )
    if all(registry.backbone(name).domain != "none" for name in card.backbones):
        return Finding(
            "backbones",
            "warn",
            f"{len(card.backbones)}, and no null model among them: skill cannot be told.",
            "Add majority, colour-statistics, morphology and random-vit-tiny.",
        )
    return Finding("backbones", "pass", f"{len(card.backbones)}: {', '.join(card.backbones)}.")


def _split(card: LeaderboardCard, registry: Registry) -> Finding:
    tasks = {
        name: registry.tasks[name]
        for name in dict.fromkeys(c.task for c in card.columns)
        if name in registry.tasks
    }
    fixed = [name for name, task in tasks.items() if task.split.kind != "grouped-kfold"]
    said = f"Seed {card.seed}, {card.trials} trials, " + (
        f"{card.folds} folds" if card.folds else "folds as the tasks say"
    )
    if card.folds is not None and fixed:
        return Finding(
            "declared split",
            "warn",
            f"{said}; {', '.join(fixed)} have splits of their own, which folds = {card.folds} leaves alone.",
        )
    return Finding("declared split", "pass", f"{said}.")


def _problem(look_up: object, name: str) -> str:
    """Return why a card cannot be had, "" where it can."""
    assert callable(look_up)
    try:
        look_up(name)
    except (CardError, CytoBenchError) as error:
        return str(error)
    return ""
