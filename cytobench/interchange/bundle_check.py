"""Whether a bundle says the truth: every run's id, digests, metrics and intervals are computed again.

A forger who changes predictions, metrics and digests together can only be found out by who has the task:
labels, groups and folds are therefore compared with one's own, wherever those are at hand.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from pydantic import ValidationError

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard, LeaderboardCard, TaskCard
from cytobench.errors import CytoBenchError, DataError
from cytobench.evaluation.folds import Folds
from cytobench.evaluation.ledger import folder_name
from cytobench.evaluation.recipes import primary_metric
from cytobench.evaluation.results import PREFIX, PROTOCOL, SCORE, RunKey, RunResult, rescored
from cytobench.evaluation.uncertainty import interval_results, scored_of
from cytobench.interchange.bundle import Key, Manifest, card_digest, opened, sha256
from cytobench.progress import Reporter

TOLERANCE = 1e-6
"""Largest difference, relative above 1, between what is said and what is computed: other processors round."""
_FEW = 3
_MOST_ROWS = 5_000_000
_COLUMNS = ("sample", "group", "fold", "label", "predicted")

CardT = TypeVar("CardT", BackboneCard, TaskCard, LeaderboardCard)
Decode = Callable[[str, pl.DataFrame], pl.DataFrame]
"""Turns coded names in a table of the folds with this digest into plain ones."""


@dataclass(frozen=True)
class ForeignRun:
    """A run of another lab whose numbers follow from its predictions."""

    result: RunResult
    predictions: pl.DataFrame
    folds: pl.DataFrame


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds, checked; cards by name; `problems`: what is wrong, empty for a sound one."""

    manifest: Manifest
    digest: str
    runs: tuple[ForeignRun, ...]
    tasks: Mapping[str, TaskCard]
    backbones: Mapping[str, BackboneCard]
    boards: Mapping[str, LeaderboardCard]
    problems: tuple[str, ...]


@dataclass
class _Look:
    manifest: Manifest
    bodies: Mapping[str, bytes]
    decode: Decode | None
    problems: list[str] = field(default_factory=list)
    tasks: dict[str, TaskCard] = field(default_factory=dict)
    backbones: dict[str, BackboneCard] = field(default_factory=dict)
    boards: dict[str, LeaderboardCard] = field(default_factory=dict)
    truth: dict[tuple[str, str], pl.DataFrame] = field(default_factory=dict)
    folds: dict[str, pl.DataFrame] = field(default_factory=dict)


def check_bundle(path: Path, reporter: Reporter, *, decode: Decode | None = None) -> Bundle:
    """Read a bundle and compute everything anew; `decode` is needed where names are coded.

    Raises DataError where the file itself is not what its manifest says; everything else is in `problems`.
    """
    manifest, bodies, digest = opened(path)
    look = _Look(manifest, bodies, decode)
    _read_cards(look, TaskCard, "tasks", look.tasks)
    _read_cards(look, BackboneCard, "backbones", look.backbones)
    _read_cards(look, LeaderboardCard, "leaderboards", look.boards)
    ids = sorted({name.split("/")[1] for name in bodies if name.startswith("runs/")})
    runs = []
    with reporter.task(f"computing {path.name} again", len(ids)) as step:
        for run_id in ids:
            step.advance(1, run_id[:12])
            try:
                runs.append(_run(look, run_id))
            except DataError as error:
                look.problems.append(f"run {run_id[:12]}: {error}")
    if not ids:
        look.problems.append("it holds no run")
    used = {run.result.split.digest for run in runs}
    for name in bodies:
        if name.startswith("folds/") and name[6:70] not in used and not look.problems:
            look.problems.append(f"{name} belongs to no run")
    return Bundle(
        manifest, digest, tuple(runs), look.tasks, look.backbones, look.boards, tuple(look.problems)
    )


def _read_cards(look: _Look, model: type[CardT], kind: str, into: dict[str, CardT]) -> None:
    for member, body in look.bodies.items():
        if not member.startswith(f"{kind}/"):
            continue
        try:
            card = parse_card(model, json.loads(body), source=None, origin=f"lab {look.manifest.lab}")
        except (CytoBenchError, ValueError, TypeError, RecursionError) as error:
            look.problems.append(f"{member} is no card: {str(error).rstrip('.')}")
            continue
        into[card.name] = card
        if member != f"{kind}/{folder_name(card.name)}.json":
            look.problems.append(f"{member} calls itself {card.name}")
        if kind != "leaderboards":
            stated = look.manifest.cards.get(f"{kind}/{card.name}")
            if isinstance(card, LeaderboardCard) or stated != card_digest(card.semantics()):
                look.problems.append(f"{member} is not the card whose digest stands in the manifest")
    absent = [name for name in look.manifest.cards if name.startswith(f"{kind}/")]
    look.problems.extend(
        f"the card {name} is absent" for name in absent if name.partition("/")[2] not in into
    )


def _run(look: _Look, run_id: str) -> ForeignRun:
    result, key = _stated(look, run_id)
    task = look.tasks.get(result.task)
    if task is None or result.backbone not in look.backbones:
        raise DataError(f"the card of {result.task} or of {result.backbone} is not in the bundle")
    if task.semantics() != key.task:
        raise DataError(f"the card of {result.task} is not the one the run was made with")
    if (task.unit, task.group) != (result.unit, result.group):
        raise DataError("unit or group are not those of the task's card")
    if result.metric != primary_metric(result.probe, task.metric):
        raise DataError("its primary metric is not that of the task's card")
    body = look.bodies.get(f"runs/{run_id}/predictions.parquet", b"")
    if sha256(body) != result.predictions_sha256:
        raise DataError("its predictions are not those whose digest stands in the result")
    table = _decoded(look, result.split.digest, _table(body, "predictions"))
    folds = _folds(look, result.split.digest, len(result.folds))
    _require_sound(table, result)
    _require_covered(table, folds, result)
    _require_agreement(look, table, result)
    _require_same_numbers(result, table)
    return ForeignRun(result, table, folds)


def _stated(look: _Look, run_id: str) -> tuple[RunResult, RunKey]:
    """Return what a run says of itself, once its name follows from its key."""
    try:
        result = RunResult.model_validate_json(look.bodies.get(f"runs/{run_id}/result.json", b""))
        key = RunKey(**Key.model_validate_json(look.bodies.get(f"runs/{run_id}/key.json", b"")).model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"its result or key is not of our kind ({where}: {first['msg']})") from error
    if result.protocol != PROTOCOL:
        raise DataError(f"it was made under protocol {result.protocol}, this version has {PROTOCOL}")
    if not key.run_id == result.run_id == run_id:
        raise DataError("its id does not follow from what it says it is: it was renamed, or its key changed")
    same = {
        "manifest digest": (key.manifest_digest, result.manifest_digest),
        "split digest": (key.split_digest, result.split.digest),
        "space": (key.space_id, result.space_id),
        "probe": (key.probe, result.probe),
        "tuning": (key.tuned, result.tuned),
        "trials": (key.trials, result.trials),
        "seed": (key.seed, result.seed),
    }
    other = [name for name, (a, b) in same.items() if a != b]
    if other:
        raise DataError(f"result and key differ in {', '.join(other)}")
    return result, key


def _table(body: bytes, what: str) -> pl.DataFrame:
    try:
        if pl.scan_parquet(io.BytesIO(body)).select(pl.len()).collect().item() > _MOST_ROWS:
            raise DataError(f"its {what} have more than {_MOST_ROWS:,} rows")
        return pl.read_parquet(io.BytesIO(body))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"its {what} cannot be read as Parquet") from error


def _decoded(look: _Look, split_digest: str, table: pl.DataFrame) -> pl.DataFrame:
    if not look.manifest.coded:
        return table
    if look.decode is None:
        raise DataError("names of samples are coded: give the --salt that both labs share")
    return look.decode(split_digest, table)


def _folds(look: _Look, digest: str, count: int) -> pl.DataFrame:
    """Return the table of the folds with this digest: sample, group, fold, trainable."""
    if digest in look.folds:
        return look.folds[digest]
    body = look.bodies.get(f"folds/{digest}.parquet")
    if body is None:
        raise DataError("its folds are not in the bundle")
    table = _decoded(look, digest, _table(body, "folds"))
    if table.schema != {"sample": pl.String, "group": pl.String, "fold": pl.Int16, "trainable": pl.Boolean}:
        raise DataError("its folds are not a table of sample, group, fold and trainable")
    made = Folds(
        "",
        tuple(table["sample"].to_list()),
        table["fold"].to_numpy(),
        table["trainable"].to_numpy(),
        tuple(map(str, range(count))),
    )
    if made.digest != digest:
        raise DataError("its folds are not those of its split digest")
    look.folds[digest] = table
    return table


def _require_sound(table: pl.DataFrame, result: RunResult) -> None:
    names = [one.name for one in result.classes]
    wanted = [*_COLUMNS, *(PREFIX + name for name in names)]
    scores = [name for name in table.columns if name.startswith(SCORE)]
    if table.columns != [*wanted, *scores] or len(set(names)) != len(names):
        raise DataError("its predictions do not have the columns of its classes")
    numbers = table.select(wanted[len(_COLUMNS) :])
    text = all(table.schema[name] == pl.String for name in ("sample", "group", "label", "predicted"))
    kinds = {*numbers.schema.values(), *(table.schema[name] for name in scores)}
    if not text or not table.schema["fold"].is_integer() or not kinds <= {pl.Float64, pl.Float32}:
        raise DataError("its predictions have columns of other types")
    if table.select(_COLUMNS).null_count().sum_horizontal().item() or not len(table):
        raise DataError("its predictions have gaps")
    values = numbers.to_numpy().astype(np.float64)
    if not np.isfinite(values).all() or (values < -TOLERANCE).any():
        raise DataError("it has probabilities that are not finite or below 0")
    if np.abs(values.sum(axis=1) - 1).max() > 1e-4:
        raise DataError("it has probabilities that do not sum to 1")
    if not set(table["label"]) <= set(names):
        raise DataError("it has labels outside its classes")
    if np.asarray(names)[values.argmax(axis=1)].tolist() != table["predicted"].to_list():
        raise DataError("its predicted classes are not those of the highest probability")


def _require_covered(table: pl.DataFrame, folds: pl.DataFrame, result: RunResult) -> None:
    if table["sample"].is_duplicated().any():
        raise DataError("it predicts some samples twice")
    tested = folds.filter(pl.col("fold") >= 0).select("sample", "group", "fold")
    extra = len(table.join(tested, on="sample", how="anti"))
    lost = len(tested.join(table, on="sample", how="anti"))
    if extra or lost:
        raise DataError(f"{lost} samples of its folds have no prediction, and {extra} predictions no sample")
    both = table.join(tested, on="sample", suffix="_said")
    if (both["fold"] != both["fold_said"]).any() or (both["group"] != both["group_said"]).any():
        raise DataError("it puts samples into other groups or folds than its split")
    sizes = table["fold"].value_counts().sort("fold")["count"].to_list()
    if len(result.folds) != result.split.folds or [fold.n_test for fold in result.folds] != sizes:
        raise DataError("its folds have other sizes than it says")


def _require_agreement(look: _Look, table: pl.DataFrame, result: RunResult) -> None:
    """Compare labels with the other runs on the same rows: one set of rows has one truth."""
    where = (result.manifest_digest, result.split.digest)
    mine = table.select("sample", "group", "label", "fold").sort("sample")
    if not mine.equals(look.truth.setdefault(where, mine)):
        raise DataError("its labels are not those of the other runs on the same rows")


def _require_same_numbers(result: RunResult, table: pl.DataFrame) -> None:
    try:
        again = restated(result, table)
    except Exception as error:  # numbers of strangers can break any formula
        raise DataError(f"its scores cannot be computed ({type(error).__name__})") from error
    if (result.split.kind == "leave-one-group-out") != (result.ranking == "pooled over folds"):
        raise DataError("it pools rankings over folds, and its split does not ask for that, or the reverse")
    other = differences(result.model_dump(mode="json"), again.model_dump(mode="json"))
    if other:
        more = f" and {len(other) - _FEW} more" if len(other) > _FEW else ""
        raise DataError(f"its numbers do not follow from its predictions: {'; '.join(other[:_FEW])}{more}")


def restated(result: RunResult, table: pl.DataFrame) -> RunResult:
    """Return a result with every metric and interval computed anew from its predictions."""
    fresh = rescored(result, table)
    scored = scored_of(table, pooled_ranking=result.ranking == "pooled over folds")
    found = interval_results(scored, fresh.metrics)
    return fresh.model_copy(update={"intervals": found, "n_groups": table["group"].n_unique()})


def differences(said: Any, found: Any, where: str = "") -> list[str]:
    """Return where two JSON values differ, numbers by more than the tolerance."""
    if isinstance(said, dict) and isinstance(found, dict):
        keys = sorted({*said, *found})
        return [d for k in keys for d in differences(said.get(k), found.get(k), f"{where}.{k}".strip("."))]
    if isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        return [
            d
            for k, pair in enumerate(zip(said, found, strict=True))
            for d in differences(*pair, f"{where}.{k}")
        ]
    if isinstance(said, float | int) and isinstance(found, float | int):
        if type(said) is bool or type(found) is bool:
            return [] if said is found else [f"{where} is said to be {said}"]
        near = math.isclose(said, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return [] if near else [f"{where} is said to be {said:.6g} and is {found:.6g}"]
    return [] if said == found else [f"{where} is said to be {_short(said)} and is {_short(found)}"]


def _short(value: Any) -> str:
    return f"a table of {', '.join(map(str, value))}" if isinstance(value, dict) else str(value)
