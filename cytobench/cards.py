"""What a backbone, a task and a leaderboard are: frozen, strict models of the TOML cards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    resize_mode: Literal["shortest", "squash", "pad"] = Field(
        "shortest",
        description="shortest side to size, both sides to size, or longest side to size and padded",
    )
    crop_pct: float = Field(
        1.0, gt=0.0, le=1.0, description="size over the side resized to; then centre crop"
    )
    interpolation: Literal["bicubic", "bilinear", "lanczos", "nearest"] = Field(
        "bicubic", description="how pixels are resampled"
    )
    mean: Triple = Field(description="of red, green and blue in pretraining, on a scale of 0 to 1")
    std: Triple = Field(description="of red, green and blue in pretraining, on a scale of 0 to 1")


class View(_Strict):
    """How an instance is cut out of its image; part of the instance's identity.

    `window`: a square of fixed `size` centred on the box; `box`: the box (or the whole image) padded to a
    square; `tile`: a grid of squares of `size` every `stride` with at least `min_tissue` foreground;
    `precomputed`: nothing is cut, another tool has stored the features of this place of a slide.
    """

    kind: Literal["window", "box", "tile", "precomputed"] = Field(description="one of these, as above")
    size: float | None = Field(None, gt=0, description="side of a window or tile")
    unit: Literal["px", "um"] = Field("px", description="of size and stride; um needs a column mpp")
    stride: float | None = Field(None, gt=0, description="from tile to tile; default: size")
    min_tissue: float = Field(0.0, ge=0.0, le=1.0, description="least share of a tile that is no background")
    pad: Literal["reflect", "edge", "black", "white"] = Field(
        "reflect", description="what stands where a view reaches over the border of its image"
    )

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

    kind: Literal["grouped-kfold", "official", "file", "leave-one-group-out"] = Field(
        "grouped-kfold", description="official reads the column split, file a CSV of sample and fold"
    )
    folds: int = Field(5, ge=2, le=100, description="number of outer folds")
    seed: int = Field(0, ge=0, description="of the drawing of folds; that of a run is added")
    path: str = Field("", description="the CSV of a split of kind file, relative to the card")

    @model_validator(mode="after")
    def _path_given(self) -> Split:
        if (self.kind == "file") != bool(self.path):
            msg = "a split of kind 'file' needs a path, and only that kind takes one"
            raise ValueError(msg)
        return self


class SealedShare(_Strict):
    """A seeded share of the groups."""

    share: Fraction = Field(0.2, description="of the groups, met on average: a group's name decides")
    seed: int = Field(0, ge=0, description="of the drawing")


class SealedValues(_Strict):
    """The rows whose `column` holds one of `values`."""

    column: str = Field(description="a column of the manifest")
    values: tuple[str, ...] = Field(min_length=1, description="the values set aside")


class SubBags(_Strict):
    """Bags cut at random, but always in the same way, into smaller ones of about `size` instances."""

    size: int = Field(ge=1, description="instances in a smaller bag, about")
    seed: int = Field(0, ge=0, description="of the drawing")


class DataSource(_Strict):
    """A user's own data: class folders, a table of images, or a folder with a file of features a slide.

    `path` is relative to the card; `labels`: the table of the slides (for `format = "features"` only), also
    relative to the card.
    """

    format: Literal["folder", "table", "features"] = Field(
        description="class folders, a table, or features of slides"
    )
    path: str = Field(description="the folder or the table file")
    columns: dict[str, str] = Field(
        default_factory=dict, description='a table\'s own names: { image = "file", group = "patient_id" }'
    )
    outside: bool = Field(False, description="let path, and the images of a table, leave the card's folder")
    labels: str = Field("", description="the table of the slides (features only)")


class _Card(_Strict):
    name: Name = Field(description="what commands call it; unique among cards of its kind")
    title: str = Field(min_length=1, description="what people call it")
    source: Path | None = Field(default=None, exclude=True, repr=False)
    origin: str = Field(default="", exclude=True, repr=False)


class BackboneCard(_Card):
    """A frozen encoder: where its weights are, how it is built and fed, what it was trained on."""

    loader: str = Field(
        pattern=r"^(timm|open_clip|ibot|handcrafted|null|precomputed|[\w.]+:[\w.]+)$",
        description='what builds it; "package.module:function" is a function of your own',
    )
    arch: str = Field(
        "",
        description="the architecture, as the loader calls it; for open_clip also "
        "hf-hub:OWNER/REPO@COMMIT:open_clip_config.json, where it was published",
    )
    arch_options: dict[str, Any] = Field(default_factory=dict, description="passed on to the architecture")
    weights: str = Field(
        description="hf-hub:OWNER/REPO[@COMMIT][:FILE], https://…, gdrive:ID, a file, shipped:…, random, none"
    )
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$", description="of the weights; checked when given")
    branch: Literal["teacher", "student"] = Field(
        "teacher", description="which network of an iBOT checkpoint"
    )
    dim: int = Field(ge=0, description="length of one feature vector")
    pooling: Literal["cls", "cls+mean", "mean", "head", "none"] = Field(
        "cls",
        description="what becomes the feature: class token, mean of patch tokens, or the model's own head",
    )
    preprocess: Preprocess | None = Field(None, description="how crops become its input")
    precision: Literal["fp32", "fp16", "bf16"] = Field("fp32", description="what it computes in")
    standardise: bool = Field(False, description="scale features by training rows where nothing is tuned")
    seed: int = Field(0, ge=0, description="of random weights")
    pretrained_on: tuple[str, ...] = Field((), description="data sets it has seen: tables mark the overlap")
    domain: Literal["cytology", "histology", "natural", "none"] = Field(description="what it was trained on")
    licence: str = Field(description="of the weights")
    licence_url: str = Field("", description="where the licence stands")
    citation: str = Field(description="whom to cite")
    url: str = Field("", description="where to read more")
    gated: bool = Field(False, description="whether its page asks for an account and an agreement")
    notes: str = Field("", description="what else to know")

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

    unit: Literal["cell", "bag"] = Field("cell", description="what is judged: single cells, or bags of them")
    dataset: str | DataSource = Field(
        description='a known data set, images of your own, or "package.module:function", a reader of your own'
    )
    options: dict[str, Any] = Field(default_factory=dict, description="passed on to the reader")
    label: str = Field("label", description="the column that holds the classes")
    classes: tuple[str, ...] | None = Field(
        None, min_length=2, description="which classes, in which order; default: all, sorted"
    )
    exclude: tuple[str, ...] = Field((), description="classes left out")
    hierarchy: dict[str, tuple[str, ...]] | None = Field(
        None, description="for each class the classes above it, the widest first"
    )
    group: str = Field(description="the column that must never stand on both sides of a split, or none")
    accept_ungrouped: bool = Field(False, description='accept group = "none": tables then say so')
    bag: str | None = Field(None, description="the column that names the bag of an instance")
    sub_bags: SubBags | None = Field(None, description="cut bags into smaller ones")
    split: Split = Field(Split(), description="which rows are tested when")
    view: View = Field(description="how an instance is cut out of its image")
    pretrain: Literal["never", "sealed"] = Field("never", description="what pretraining may read of it")
    sealed: SealedShare | SealedValues | None = Field(
        None, description="which part is sealed for pretraining"
    )
    ranked: bool = Field(True, description="false: shown, never averaged or ranked")
    show_images: bool = Field(True, description="false: the licence forbids to show its pictures anywhere")
    metric: Literal["balanced_accuracy", "accuracy", "macro_f1", "weighted_f1", "cohen_kappa", "auroc"] = (
        Field("balanced_accuracy", description="the primary one; all are reported")
    )
    probes: tuple[str, ...] = Field(
        ("knn", "linear"), description="run by default; of bags: abmil, mean-linear, max-linear"
    )
    same_group_neighbours: bool = Field(
        True, description="whether kNN may use cells of the query's own group"
    )
    family: str = Field("", description="a name for several tasks, for --task")
    known_confounds: str = Field("", description="what tells the classes apart beside the cells")
    licence: str = Field("", description="of the images")
    citation: str = Field("", description="whom to cite")
    url: str = Field("", description="where to read more")
    notes: str = Field("", description="what else to know")

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
            "title", "source", "origin", "dataset", "ranked", "show_images", "probes", "family",
            "known_confounds", "licence", "citation", "url", "notes",
        }  # fmt: skip
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

    task: str = Field(description="a task's name")
    probe: str = Field(description="a probe's name")
    tuned: bool = Field(True, description="parameters chosen on inner folds, or the published default")
    ranked: bool = Field(True, description="false: shown, not ranked")


class LeaderboardCard(_Card):
    """Which runs a leaderboard shows, and under which split, budget and seed they must have been made."""

    columns: tuple[Column, ...] = Field(min_length=1, description="what it shows, in this order")
    backbones: tuple[str, ...] = Field((), description="which rows; default: all that have a card")
    folds: int | None = Field(None, description="outer folds runs must have; default: the task's")
    seed: int = Field(0, description="seed runs must have")
    trials: int = Field(20, ge=0, description="budget of searched probes runs must have")
    notes: str = Field("", description="said below the table")
