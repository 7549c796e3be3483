"""From stored runs to a bundle of results: nothing of this machine goes along but what was measured."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from cytobench.cards import BackboneCard, LeaderboardCard, ProbeCard, TaskCard
from cytobench.errors import CardError, ProbeError, StoreError, UsageError
from cytobench.evaluation.ledger import folder_name, load_predictions, task_folder
from cytobench.evaluation.plan import recipe_for
from cytobench.evaluation.record import versions
from cytobench.evaluation.results import RunKey, RunResult
from cytobench.interchange.bundle import Key, Manifest, card_digest, coded, sealed, sha256
from cytobench.interchange.bundle_check import restated
from cytobench.progress import Reporter

ELSEWHERE = "elsewhere"
"""What stands in a card of a bundle where the lab's own had a path."""
_PUBLIC = ("hf-hub:", "https://", "http://", "gdrive:", "shipped:")
_PATH = re.compile(r"(?:[A-Za-z]:\\|~?/)[^\s'\",;()]*[/\\][^\s'\",;()]*")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What goes into a bundle: runs of this home, and the cards they are made from.

    `probes`: those of plugins, by name.
    """

    runs: Sequence[RunResult]
    tasks: Mapping[str, TaskCard]
    backbones: Mapping[str, BackboneCard]
    boards: Sequence[LeaderboardCard] = ()
    probes: Mapping[str, ProbeCard] = field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """A bundle's bytes; `runs`: how many went in; `digest`: of its manifest; `left_out`: which, and why."""

    content: bytes
    runs: int
    digest: str
    left_out: tuple[str, ...]


def pack(chosen: Chosen, home: Path, *, lab: str, note: str, salt: str | None, reporter: Reporter) -> Packed:
    """Return the bundle of some runs; with `salt`, names of samples and groups are coded.

    A run is left out, and said, whose card or search space is no longer the one it was made with. Raises
    UsageError when none is left, StoreError for damaged files.
    """
    members: dict[str, bytes] = {}
    cards: dict[str, str] = {}
    left_out, packed = [], 0
    with reporter.task("packing runs", len(chosen.runs)) as step:
        for run in chosen.runs:
            step.advance(1, f"{run.backbone} on {run.task}")
            task, backbone = chosen.tasks[run.task], chosen.backbones[run.backbone]
            named = f"{run.backbone} on {run.task} ({run.probe}{' tuned' if run.tuned else ''})"
            try:
                key = key_of(run, task, backbone, chosen.probes)
            except (CardError, ProbeError) as error:
                left_out.append(f"{named}: {str(error).rstrip('.')}")
                continue
            if key.run_id != run.run_id:
                left_out.append(
                    f"{named}: its card, probe or version is no longer the one it was made with; run it again"
                )
                continue
            members |= _run_members(run, key, home, salt)
            members[f"tasks/{folder_name(task.name)}.json"] = _text(task_dump(task))
            members[f"backbones/{folder_name(backbone.name)}.json"] = _text(backbone_dump(backbone))
            cards[f"tasks/{task.name}"] = card_digest(task.semantics())
            cards[f"backbones/{backbone.name}"] = card_digest(backbone.semantics())
            packed += 1
    if not packed:
        raise UsageError(f"There is no run to pack. {' '.join(left_out)}".strip())
    for board in chosen.boards:
        members[f"leaderboards/{folder_name(board.name)}.json"] = _text(board.model_dump(mode="json"))
    manifest = Manifest(
        lab=lab, note=note, coded=salt is not None, versions=versions(), cards=cards, members={}
    )
    content = sealed(manifest, members)
    return Packed(content, packed, _digest_of(content), tuple(left_out))


def key_of(run: RunResult, task: TaskCard, backbone: BackboneCard, probes: Mapping[str, ProbeCard]) -> RunKey:
    """Return the key that a stored run has under today's cards and probes; raises as `recipe_for` does."""
    recipe = recipe_for(run.probe, task, backbone, probes)
    return RunKey(
        task=task.semantics(),
        manifest_digest=run.manifest_digest,
        split_digest=run.split.digest,
        space_id=run.space_id,
        probe=run.probe,
        tuned=run.tuned,
        search_space=recipe.space() if run.tuned else recipe.default_rule(),
        trials=run.trials,
        seed=run.seed,
    )


def task_dump(card: TaskCard) -> dict[str, Any]:
    """Return a task's card without the places of this machine."""
    dump = card.model_dump(mode="json")
    if not isinstance(card.dataset, str):
        form = card.dataset.format
        labels = ELSEWHERE if form == "features" else ""
        dump["dataset"] = {"format": form, "path": ELSEWHERE, "labels": labels}
    if dump["split"]["path"]:
        dump["split"]["path"] = ELSEWHERE
    return dump


def backbone_dump(card: BackboneCard) -> dict[str, Any]:
    """Return a backbone's card without the places of this machine."""
    dump = card.model_dump(mode="json")
    if not card.weights.startswith(_PUBLIC) and card.weights not in ("random", "none"):
        dump["weights"] = ELSEWHERE
    return dump


def without_paths(value: Any) -> Any:
    """Return JSON primitives with everything that looks like a path of a machine replaced by dots."""
    if isinstance(value, str):
        return _PATH.sub("…", value)
    if isinstance(value, Mapping):
        return {key: without_paths(entry) for key, entry in value.items()}
    return [without_paths(entry) for entry in value] if isinstance(value, list) else value


def _run_members(run: RunResult, key: RunKey, home: Path, salt: str | None) -> dict[str, bytes]:
    folds = task_folder(home, run.task) / f"folds-{run.split.digest[:16]}.parquet"
    try:
        fold_table = pl.read_parquet(folds)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{folds} cannot be read; run {run.task} again with --force.") from error
    table = load_predictions(home, run.task, run.backbone, run.probe, run.run_id)
    body = _parquet(_coded(table, salt))
    # What an older version wrote may lack what today's computes: all is stated as it is computed on arrival.
    bare = restated(run, table).model_dump(mode="json") | {
        "predictions_sha256": sha256(body),
        "trials_sha256": None,
        "attention_sha256": None,
        "warnings": without_paths(run.warnings),
    }
    place = f"runs/{run.run_id}"
    return {
        f"folds/{run.split.digest}.parquet": _parquet(_coded(fold_table, salt)),
        f"{place}/key.json": _text(Key(**vars(key)).model_dump(mode="json")),
        f"{place}/result.json": _text(RunResult.model_validate(bare).model_dump(mode="json")),
        f"{place}/predictions.parquet": body,
    }


def _coded(table: pl.DataFrame, salt: str | None) -> pl.DataFrame:
    if salt is None:
        return table
    return table.with_columns(
        pl.Series(name, [coded(salt, one) for one in table[name]]) for name in ("sample", "group")
    )


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd", compression_level=3)
    return buffer.getvalue()


def _text(value: Mapping[str, Any] | BaseModel) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _digest_of(content: bytes) -> str:
    import zipfile

    from cytobench.interchange.bundle import MANIFEST

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return sha256(archive.read(MANIFEST))


def newest(runs: Iterable[RunResult]) -> list[RunResult]:
    """Return the first of every kind of run: by task, backbone, probe, tuning, rows, folds and seed."""
    found: dict[tuple[object, ...], RunResult] = {}
    for run in runs:
        kind = (run.task, run.backbone, run.probe, run.tuned)
        found.setdefault((*kind, run.manifest_digest, run.split.digest, run.trials, run.seed), run)
    return list(found.values())
