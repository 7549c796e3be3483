"""What a backbone, a task and a leaderboard are: frozen, strict models of the TOML cards."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cytobench.errors import CardError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/?&=+@-]*$", max_length=200)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Triple = tuple[float, float, float]
UNIT_OF_PROBE: Mapping[str, str] = MappingProxyType(
    {
        "knn": "cell",
        "linear": "cell",
        "prototype": "cell",
        "retrieval": "cell",
        "abmil": "bag",
        "dsmil": "bag",
        "mean-linear": "bag",
        "max-linear": "bag",
    }
)
"""The probes of this version and what they score."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocess(_Strict):
    """How a crop becomes a network's input: resize, centre crop, then (pixel / 255 - mean) / std."""

    size: int = Field(gt=0, description="side of the square input, px")
    resize_mode: Literal["shortest", "squash", "pad"] = "shortest"
    crop_pct: float = Field(default=1.0, gt=0.0, le=1.0)
    interpolation: Literal["bicubic", "bilinear", "lanczos", "nearest"] = "bicubic"
    mean: Triple
    std: Triple


class View(_Strict):
    """How an instance is cut out of its image; part of the instance's identity.

    `window`: a square of fixed `size` centred on the box; `box`: the box (or the whole image) padded to a
    square; `tile`: a grid of squares of `size` every `stride` with at least `min_tissue` foreground;
    `precomputed`: nothing is cut, another tool has stored the features of this place of a slide.
    """

    kind: Literal["window", "box", "tile", "precomputed"]
    size: float | None = Field(default=None, gt=0)
    unit: Literal["px", "um"] = "px"
    stride: float | None = Field(default=None, gt=0)
    min_tissue: float = Field(default=0.0, ge=0.0, le=1.0)
    pad: Literal["reflect", "edge", "black", "white"] = "reflect"

    @model_validator(mode="after")
    def _size_given(self) -> View:
        if self.kind in ("window", "tile") and self.size is None:
            msg = f"a view of kind '{self.kind}' needs a size"
            raise ValueError(msg)
        if self.kind != "tile" and (self.stride is not None or self.min_tissue):
            msg = "stride and min_tissue belong to a view of kind 'tile'"
            raise ValueError(msg)
        return self


class Split(_Strict):
    """Which rows are tested when; `folds` and `seed` count for grouped-kfold only."""

    kind: Literal["grouped-kfold", "official", "file", "leave-one-group-out"] = "grouped-kfold"
    folds: int = Field(default=5, ge=2, le=100)
    seed: int = Field(default=0, ge=0)
    path: str = ""

    @model_validator(mode="after")
    def _path_given(self) -> Split:
        if (self.kind == "file") != bool(self.path):
            msg = "a split of kind 'file' needs a path, and only that kind takes one"
            raise ValueError(msg)
        return self


class SealedShare(_Strict):
    """A seeded share of the groups."""

    share: Fraction = 0.2
    seed: int = Field(default=0, ge=0)


class SealedValues(_Strict):
    """The rows whose `column` holds one of `values`."""

    column: str
    values: tuple[str, ...] = Field(min_length=1)


class SubBags(_Strict):
    """Bags cut at random, but always in the same way, into smaller ones of about `size` instances."""

    size: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)


class DataSource(_Strict):
    """A user's own data: class folders, a table of images, or a folder with a file of features a slide.

    `path` is relative to the card; `labels`: the table of the slides (for `format = "features"` only), also
    relative to the card.
    """

    format: Literal["folder", "table", "features"]
    path: str
    columns: dict[str, str] = Field(default_factory=dict)
    outside: bool = False
    labels: str = ""


class _Card(_Strict):
    name: Name
    title: str = Field(min_length=1)
    source: Path | None = Field(default=None, exclude=True, repr=False)
    origin: str = Field(default="", exclude=True, repr=False)


class BackboneCard(_Card):
    """A frozen encoder: where its weights are, how it is built and fed, what it was trained on."""

    loader: str = Field(pattern=r"^(timm|open_clip|ibot|handcrafted|null|precomputed|[\w.]+:[\w.]+)$")
    arch: str = ""
    arch_options: dict[str, Any] = Field(default_factory=dict)
    weights: str
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    branch: Literal["teacher", "student"] = "teacher"
    dim: int = Field(ge=0, description="length of one feature vector")
    pooling: Literal["cls", "cls+mean", "mean", "head", "none"] = "cls"
    preprocess: Preprocess | None = None
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    standardise: bool = False
    seed: int = Field(default=0, ge=0)
    pretrained_on: tuple[str, ...] = ()
    domain: Literal["cytology", "histology", "natural", "none"]
    licence: str
    licence_url: str = ""
    citation: str
    url: str = ""
    gated: bool = False
    notes: str = ""

    @model_validator(mode="after")
    def _network_is_complete(self) -> BackboneCard:
        if self.loader in ("timm", "open_clip", "ibot"):
            if not self.arch or self.preprocess is None:
                msg = f"loader '{self.loader}' needs arch and preprocess"
                raise ValueError(msg)
            if "pooling" not in self.model_fields_set:  # it changes rankings: never a silent default
                msg = f"loader '{self.loader}' needs pooling: cls, mean, cls+mean or head"
                raise ValueError(msg)
        if self.loader != "null" and self.dim == 0:
            msg = "dim must be the length of the feature vector"
            raise ValueError(msg)
        return self

    def semantics(self) -> dict[str, Any]:
        """Return what changes the features, as JSON primitives: no titles, citations or file paths."""
        keep = {
            "loader",
            "arch",
            "arch_options",
            "branch",
            "dim",
            "pooling",
            "preprocess",
            "precision",
            "seed",
        }
        return self.model_dump(mode="json", include=keep)


class TaskCard(_Card):
    """A labelled set of instances or bags, how it is cut, grouped, split and scored."""

    unit: Literal["cell", "bag"] = "cell"
    dataset: str | DataSource
    options: dict[str, Any] = Field(default_factory=dict)
    label: str = "label"
    classes: tuple[str, ...] | None = Field(default=None, min_length=2)
    exclude: tuple[str, ...] = ()
    hierarchy: dict[str, tuple[str, ...]] | None = Field(
        default=None, description="for each class the classes above it, the widest first"
    )
    group: str
    accept_ungrouped: bool = False
    bag: str | None = None
    sub_bags: SubBags | None = None
    split: Split = Split()
    view: View
    pretrain: Literal["never", "sealed"] = "never"
    sealed: SealedShare | SealedValues | None = None
    ranked: bool = True
    show_images: bool = True
    metric: Literal["balanced_accuracy", "accuracy", "macro_f1", "weighted_f1", "cohen_kappa", "auroc"] = (
        "balanced_accuracy"
    )
    probes: tuple[str, ...] = ("knn", "linear")
    same_group_neighbours: bool = True
    family: str = ""
    known_confounds: str = ""
    licence: str = ""
    citation: str = ""
    url: str = ""
    notes: str = ""

    @model_validator(mode="before")
    @classmethod
    def _probes_of_unit(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        source = raw.get("dataset")
        form = source.get("format") if isinstance(source, dict) else getattr(source, "format", "")
        if form == "features":  # slides as bags of what another tool has seen: there are no pictures
            slides = {"unit": "bag", "bag": "slide", "view": {"kind": "precomputed"}, "show_images": False}
            raw = slides | raw
        if raw.get("unit") == "bag" and "probes" not in raw:
            return raw | {"probes": ("abmil", "mean-linear", "max-linear")}
        return raw

    @model_validator(mode="after")
    def _coherent(self) -> TaskCard:
        problem = self._incoherence()
        if problem:
            raise ValueError(problem)
        return self

    def _incoherence(self) -> str:
        if self.group == "none" and not self.accept_ungrouped:
            return (
                'group = "none" lets cells of one patient stand on both sides of a split: name the column '
                "that keeps them together, or accept this with accept_ungrouped = true (tables will say so)"
            )
        if self.unit == "bag" and self.bag is None:
            return 'a task with unit = "bag" needs bag = "<column>"'
        if self.unit == "cell" and (self.bag is not None or self.sub_bags is not None):
            return 'bag and sub_bags belong to a task with unit = "bag"'
        if self.sealed is not None and self.pretrain != "sealed":
            return 'sealed = {…} needs pretrain = "sealed"'
        if self.hierarchy is not None and (why := _no_tree(self.hierarchy, self.classes)):
            return why
        return self._misread_features()

    def _misread_features(self) -> str:
        """Return what is wrong with a task over features of another tool, or with one that only looks so."""
        if isinstance(self.dataset, DataSource) and self.precomputed != bool(self.dataset.labels):
            return 'format = "features" needs labels = "<table of the slides>", and no other format takes one'
        if (self.view.kind == "precomputed") != self.precomputed:
            return 'a view of kind "precomputed" is that of format = "features", and of no other'
        if self.precomputed and (self.unit != "bag" or self.show_images):
            return 'a task with format = "features" has bags (unit = "bag") and no pictures to show'
        return ""

    @property
    def precomputed(self) -> bool:
        """Whether the task has no images, only places of slides whose features another tool computed."""
        return isinstance(self.dataset, DataSource) and self.dataset.format == "features"

    @property
    def sealing(self) -> SealedShare | SealedValues | None:
        """What is set aside for pretraining: None when `pretrain` is "never"."""
        if self.pretrain == "never":
            return None
        return self.sealed or SealedShare()

    @property
    def dataset_name(self) -> str:
        """The data set's name, or the task's own name for a user's folder or table."""
        return self.dataset if isinstance(self.dataset, str) else self.name

    def group_called(self, group: str) -> str:
        """Return how captions name a group: bare numbers need the word for what they count."""
        return f"{self.group} {group}" if group.isdigit() else group

    def semantics(self) -> dict[str, Any]:
        """Return what changes the evaluation, as JSON primitives: no titles, citations or file paths."""
        drop = {
            "title",
            "source",
            "origin",
            "dataset",
            "ranked",
            "show_images",
            "probes",
            "family",
            "known_confounds",
            "licence",
            "citation",
            "url",
            "notes",
        }
        dump = self.model_dump(mode="json", exclude=drop) | {"dataset": self.dataset_name}
        dump["split"].pop("path")  # what the file says is in the digest of the folds
        if self.hierarchy is None:  # the identity of every run of a task without one stays as it was
            dump.pop("hierarchy")
        return dump


class ProbeCard(_Card):
    """A probe that a plugin brings: the function that fits and predicts, and what it scores.

    How the function is called, and what its module may declare: `cytobench.probes.custom`.
    """

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    unit: Literal["cell", "bag"] = "cell"
    licence: str = ""
    citation: str = ""
    url: str = ""
    notes: str = ""

    @model_validator(mode="after")
    def _name_is_free(self) -> ProbeCard:
        if self.name in UNIT_OF_PROBE:
            msg = f"the name '{self.name}' belongs to a probe of CytoBench: choose another"
            raise ValueError(msg)
        return self


def _no_tree(hierarchy: dict[str, tuple[str, ...]], classes: tuple[str, ...] | None) -> str:
    """Return why classes and what is above them are no tree, "" where they are one."""
    parent: dict[str, tuple[str, ...]] = {}
    for leaf, above in hierarchy.items():
        if leaf in above or len(set(above)) != len(above):
            return f"hierarchy: the path of '{leaf}' comes to one name twice"
        for depth, name in enumerate(above):
            if name in hierarchy:
                return f"hierarchy: '{name}' stands above '{leaf}', so it cannot be a class of its own"
            if parent.setdefault(name, above[:depth]) != above[:depth]:
                return f"hierarchy: '{name}' stands in two places of the tree"
    lost = sorted(set(classes or hierarchy) ^ set(hierarchy))
    if lost:
        return f"hierarchy and classes must name the same classes; only one of them has {', '.join(lost)}"
    if not any(hierarchy.values()):
        return "hierarchy: no class has another above it"
    return ""


class Column(_Strict):
    """One column of a leaderboard: a task under one probe, tuned or not."""

    task: str
    probe: str
    tuned: bool = True
    ranked: bool = True


class LeaderboardCard(_Card):
    """Which runs a leaderboard shows, and under which split, budget and seed they must have been made."""

    columns: tuple[Column, ...] = Field(min_length=1)
    backbones: tuple[str, ...] = ()
    folds: int | None = None
    seed: int = 0
    trials: int = Field(default=20, ge=0)
    notes: str = ""


CardT = TypeVar("CardT", BackboneCard, TaskCard, LeaderboardCard, ProbeCard)


def _nested_models(annotation: Any) -> list[type[BaseModel]]:
    """Card models that `annotation` may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _nested_models(part)]


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[type[BaseModel], list[str]]:
    """Follow an error's location: the innermost model, and the path without pydantic's union-member names."""
    path: list[str] = []
    options: list[type[BaseModel]] = [model]
    for part in map(str, location):
        member = next((one for one in options if one.__name__ == part), None)
        if member is not None:
            model = member
            continue
        path.append(part)
        field = model.model_fields.get(part)
        options = _nested_models(field.annotation) if field else []
        model = options[0] if len(options) == 1 else model
    return model, path


def _wrong_member(raw: dict[str, Any], error: Any) -> bool:
    """Whether pydantic complains that a table is no string, where a table was meant."""
    location = error["loc"]
    return len(location) == 2 and location[1] == "str" and isinstance(raw.get(location[0]), dict)


def _sentence(model: type[BaseModel], error: dict[str, Any]) -> str:
    location = tuple(error["loc"])
    _, path = _walk(model, location)
    where = ".".join(path)
    if error["type"] == "extra_forbidden":
        innermost, _ = _walk(model, location[:-1])
        valid = [key for key in innermost.model_fields if key not in ("source", "origin")]
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        return f"unknown key '{where}'" + (f" (did you mean '{near[0]}'?)" if near else "")
    if error["type"] == "missing":
        listed = location and isinstance(location[-1], int)
        return f"{'.'.join(path[:-1])}: too few values" if listed else f"the key '{where}' is missing"
    if error["type"] == "string_pattern_mismatch":
        return f"{where}: '{error['input']}' does not match {error['ctx']['pattern']}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def parse_card(model: type[CardT], raw: dict[str, Any], *, source: Path | None, origin: str = "") -> CardT:
    """Return `raw` as a card of type `model`.

    Raises CardError that names the file, every bad key and, for an unknown key, the nearest valid one.
    """
    for reserved in ("source", "origin"):
        if reserved in raw:
            raise CardError(f"{source or 'card'}: unknown key '{reserved}'; remove it.")
    try:
        return model(**raw, source=source, origin=origin)
    except ValidationError as error:
        problems = [_sentence(model, dict(one)) for one in error.errors() if not _wrong_member(raw, one)]
        unique = list(dict.fromkeys(problems))
        raise CardError(f"{source or 'card'}: {'; '.join(unique)}.") from error


def read_card(model: type[CardT], path: Path, *, origin: str = "") -> CardT:
    """Read one TOML card; raises CardError with the file's name and the line of a syntax error."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(f"There is no card at {path}; check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not valid TOML ({error}); correct the file.") from error
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}).") from error
    return parse_card(model, raw, source=path.resolve(), origin=origin)
