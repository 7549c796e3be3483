"""Stored features as files that other tools read without us: H5, Parquet, npz, or an H5 file a bag."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.cards import BackboneCard
from cytobench.errors import UsageError
from cytobench.evaluation.plan import BackbonePlan, TaskPlan
from cytobench.features.items import Ids
from cytobench.features.store import FeatureStore, Space
from cytobench.interchange.bundle import card_digest
from cytobench.progress import Reporter
from cytobench.toml_text import toml_lines

Format = Literal["h5", "parquet", "npz", "slides"]
Number = Literal["float16", "float32"]
_CHUNK = 8192  # rows read at once
_TEXTS = ("sample", "label", "group", "bag")


@dataclass(frozen=True)
class Export:
    """The features of a task's rows, ready to be written.

    `rows`: columns sample, label, group, fold (the fold a row is tested in, -1 for none), and of bag tasks
    bag; `ids`: uint8 [n, 16], the rows' items; `about`: what the numbers are.
    """

    task: TaskPlan
    backbone: BackboneCard
    space: Space
    rows: pl.DataFrame
    about: Mapping[str, str]
    number: Number

    def parts(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield the features in the rows' order, [b, d] at a time."""
        for start in range(0, len(self.rows), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(self.rows)))
            yield part, self.read(self.task.items.ids[part])

    def read(self, ids: Ids) -> npt.NDArray[Any]:
        """Return the features of some items, [b, d]; raises UsageError where half precision is too narrow."""
        block = self.space.load(ids)
        if self.number == "float16" and np.abs(block).max(initial=0.0) > np.finfo(np.float16).max:
            raise UsageError(
                f"Features of {self.backbone.name} exceed the range of half precision: add --float32."
            )
        return block.astype(self.number)


def why_not_shared(card: BackboneCard) -> str:
    """Return the sentence against passing a backbone's features on, "" where its card gives no reason.

    Features of a network under a no-derivatives licence, or behind an agreement, are a derivative to many of
    their owners (UNI's terms name data sets made from the model).
    """
    no_derivatives = "nd" in card.licence.lower().replace(".", "-").split("-")
    if not card.gated and not no_derivatives:
        return ""
    terms = card.licence_url or card.url or "see its card"
    why = "is given out under an agreement" if card.gated else "allows no derivatives"
    return (
        f"The licence of {card.name} ({card.licence}) {why}, and its features may count as one: they may not "
        f"be passed on without its owner's consent ({terms})."
    )


def prepare_export(task: TaskPlan, backbone: BackbonePlan, home: Path, number: Number) -> Export:
    """Return the stored features of a task's rows; raises StoreError where they are not stored."""
    card = backbone.card
    if backbone.space_id is None:
        raise UsageError(f"{card.name} sees no image, so it has no features to export.")
    space = FeatureStore(home / "features").space(backbone.space_id, dim=card.dim)
    missing = int(space.missing(task.items.ids).sum())
    if missing:
        raise UsageError(
            f"{missing:,} of {len(task.items):,} features of {card.name} on {task.card.name} are not stored; "
            f"compute them first: cytobench extract -b {card.name} -t {task.card.name}"
        )
    table = task.data.table
    kept = [name for name in _TEXTS if name in table.columns]
    fold = pl.Series("fold", task.folds.fold[task.examples.member].astype(np.int16))
    about = {
        "made_by": "cytobench",
        "task": task.card.name,
        "task_card_digest": card_digest(task.card.semantics()),
        "manifest_digest": task.manifest_digest,
        "split_digest": task.folds.digest,
        "backbone": card.name,
        "backbone_card_digest": card_digest(card.semantics()),
        "space_id": backbone.space_id,
        "licence": card.licence,
        "licence_note": why_not_shared(card),
        "citation": card.citation,
        "data_licence": task.card.licence,
    }
    return Export(task, card, space, table.select(kept).with_columns(fold), about, number)


def write(export: Export, form: Format, out: Path, reporter: Reporter) -> list[Path]:
    """Write an export and return its files; raises OSError for a full disk, UsageError without h5py."""
    writers: dict[Format, Callable[[Export, Path, Reporter], list[Path]]] = {
        "h5": _h5,
        "parquet": _parquet,
        "npz": _npz,
        "slides": _slides,
    }
    return writers[form](export, out, reporter)


def _h5(export: Export, out: Path, reporter: Reporter) -> list[Path]:
    h5py = _h5py()
    with _beside(out) as temporary, h5py.File(temporary, "w") as file:
        features = file.create_dataset(
            "features", (len(export.rows), export.space.dim), dtype=export.number, chunks=True
        )
        with reporter.task(f"writing {out.name}", len(export.rows)) as step:
            for part, block in export.parts():
                features[part] = block
                step.advance(len(block))
        for name in export.rows.columns:
            column = export.rows[name]
            kind = h5py.string_dtype() if column.dtype == pl.String else None
            file.create_dataset(name, data=column.to_list() if kind else column.to_numpy(), dtype=kind)
        file.attrs.update(export.about)
    return [out]


def _parquet(export: Export, out: Path, reporter: Reporter) -> list[Path]:
    # Half precision is not yet read by every Parquet library; the numbers are the same.
    block = _whole(export, reporter, out).astype(np.float32)
    features = pl.Series("features", block, dtype=pl.Array(pl.Float32, export.space.dim))
    with _beside(out) as temporary:
        export.rows.with_columns(features).write_parquet(temporary, metadata=dict(export.about))
    return [out]


def _npz(export: Export, out: Path, reporter: Reporter) -> list[Path]:
    columns: dict[str, Any] = {
        name: np.asarray(export.rows[name].to_list(), dtype=str)
        if export.rows[name].dtype == pl.String
        else export.rows[name].to_numpy()
        for name in export.rows.columns
    }
    about = np.asarray(json.dumps(dict(export.about)))
    features = _whole(export, reporter, out)
    with _beside(out) as temporary, temporary.open("wb") as file:
        np.savez(file, features=features, about=about, **columns)
    return [out]


def _whole(export: Export, reporter: Reporter, out: Path) -> npt.NDArray[Any]:
    whole = np.empty((len(export.rows), export.space.dim), export.number)
    with reporter.task(f"reading for {out.name}", len(whole)) as step:
        for part, block in export.parts():
            whole[part] = block
            step.advance(len(block))
    return whole


def _slides(export: Export, out: Path, reporter: Reporter) -> list[Path]:
    """Write a plugin folder: an H5 file a bag as TRIDENT lays it out, labels, folds, and two cards."""
    h5py = _h5py()
    if export.task.card.unit != "bag":
        raise UsageError(f"{export.task.card.name} is no task over bags: export it as h5, parquet or npz.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty: name a new folder with --out.")
    folder = out / "features"
    for kind in (folder, out / "tasks", out / "backbones"):
        kind.mkdir(parents=True, exist_ok=True)
    table, examples = export.task.data.table, export.task.examples
    files = _file_names(list(examples.samples))
    with reporter.task(f"writing {out.name}", len(examples)) as step:
        begins = np.searchsorted(examples.member[examples.order], np.arange(len(examples) + 1))
        for at, bag in enumerate(examples.samples):
            rows = examples.order[begins[at] : begins[at + 1]]
            with h5py.File(folder / f"{files[bag]}.h5", "w") as file:
                features = export.read(export.task.items.ids[rows])
                file["features"], file["coords"] = features, _coords(table[rows])
                file["features"].attrs.update({"name": bag, "encoder": export.backbone.name})
                file["coords"].attrs.update({"name": bag, "unit": "px"})
                file.create_dataset("sample", data=table["sample"][rows].to_list(), dtype=h5py.string_dtype())
                file.attrs.update(export.about)
            step.advance(1, bag)
    _write_tables(export, out, files)
    return [folder, *sorted(out.glob("*.csv")), *sorted(out.glob("*/*.toml"))]


def _coords(rows: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Return the corners of a bag's instances, [n, 2]: its places, its boxes, or the instances' numbers."""
    if {"x", "y"} <= set(rows.columns) and not rows["x"].is_null().any() and rows["x"].dtype.is_float():
        corners = rows.select("x", "y").to_numpy().astype(np.float64)
        if np.isfinite(corners).all():
            return corners
    if rows["box"].is_null().any():
        # Numbers of one length: as text they sort as they count, and models see the rows in the old order.
        first = 10 ** len(str(len(rows)))
        return np.stack([first + np.arange(len(rows)), np.zeros(len(rows))], axis=1).astype(np.float64)
    return np.asarray(rows["box"].to_list(), np.float64)[:, :2]


def _file_names(bags: list[str]) -> dict[str, str]:
    """Return names of files for bags that sort as the bags do and are safe on every disk."""
    digits = len(str(len(bags)))
    plain = {bag: "".join(c if c.isalnum() or c in "-_" else "_" for c in bag) for bag in bags}
    if len(set(plain.values())) == len(bags) and sorted(plain.values()) == [
        plain[bag] for bag in sorted(bags)
    ]:
        return plain
    return {bag: f"{at:0{digits}d}-{plain[bag]}"[:120] for at, bag in enumerate(sorted(bags))}


def _write_tables(export: Export, out: Path, files: Mapping[str, str]) -> None:
    task, examples, folds = export.task, export.task.examples, export.task.folds
    rows = zip(examples.samples, examples.labels, examples.groups, strict=True)
    labels = [(files[bag], bag, examples.classes[code], group) for bag, code, group in rows]
    _csv(out / "labels.csv", ("slide", "name", "label", "group"), labels)
    card = task.card
    seed = card.split.seed + task.seed
    split: dict[str, Any] = {"kind": card.split.kind, "folds": len(folds), "seed": seed}
    if card.split.kind in ("official", "file"):
        marks = zip(examples.samples, folds.fold.tolist(), strict=True)
        _csv(out / "folds.csv", ("sample", "fold"), [(files[bag], fold) for bag, fold in marks])
        split = {"kind": "file", "path": "../folds.csv"}
    described = {
        "name": card.name,
        "title": card.title,
        "dataset": {"format": "features", "path": "../features", "labels": "../labels.csv"},
        "group": "none" if card.group == "none" else "group",
        "accept_ungrouped": card.accept_ungrouped,
        "classes": examples.classes,
        "metric": card.metric,
        "probes": card.probes,
        "split": split,
    }
    (out / "tasks" / "task.toml").write_text(toml_lines(described) + "\n", encoding="utf-8")
    (out / "backbones" / "backbone.toml").write_text(_backbone_card(export) + "\n", encoding="utf-8")


def _backbone_card(export: Export) -> str:
    """Return the card of the exported features as a backbone."""
    backbone = export.backbone
    # Without this word, tables would say of a null model that nobody knows what it has seen.
    seen = ["none"] if backbone.weights in ("random", "none") else list(backbone.pretrained_on)
    return toml_lines(
        {
            "name": f"{backbone.name}-features",
            "title": f"{backbone.title} (exported features)",
            "loader": "precomputed",
            "weights": "../features",
            "dim": export.space.dim,
            "standardise": backbone.standardise,
            "pretrained_on": seen,
            "domain": backbone.domain,
            "licence": backbone.licence,
            "citation": backbone.citation,
            "gated": backbone.gated,
        }
    )


def _csv(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    path.write_text(buffer.getvalue(), encoding="utf-8")


class _beside:  # noqa: N801 - used as a function
    """A temporary file in the place of `path`, which takes its name when all is written."""

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, path.with_name(f".{path.name}.part")

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise UsageError("H5 files need h5py: pip install 'cytobench-harness[h5]'.") from None
    return h5py
