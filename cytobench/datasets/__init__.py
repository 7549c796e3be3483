"""The data sets CytoBench can read in the layout of their official download, and where they are found.

Nothing here imports a reader: a reader is imported when it is called.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cytobench.errors import CardError

if TYPE_CHECKING:
    import polars as pl

    from cytobench.cards import TaskCard

    Reader = Callable[..., pl.DataFrame]


class DataWarning(UserWarning):
    """Something a reader left out or found odd, worth telling but no reason to stop."""


@dataclass(frozen=True)
class DatasetInfo:
    """One known data set: how it is read, what its folder is called, whose it is.

    `folders` are the folder names looked for below each data folder; `generated` sets are written by
    CytoBench itself; `show_images` is false where the licence forbids showing pictures; `same_smears_as`
    names data sets with other pictures of the same smears, or the same pictures under another name.
    """

    name: str
    title: str
    reader: str
    folders: tuple[str, ...]
    licence: str
    citation: str
    url: str
    generated: bool = False
    show_images: bool = True
    same_smears_as: tuple[str, ...] = ()
    notes: str = ""


_KNOWN = (
    DatasetInfo(
        name="pbc",
        title="Normal peripheral blood cells, 8 classes (PBC_dataset_normal_DIB), with WBCAtt attributes",
        reader="cytobench.datasets.pbc:read",
        folders=("pbc", "PBC_dataset_normal_DIB"),
        licence="CC-BY-4.0 as published (attributes: MIT)",
        citation="Acevedo et al., Data in Brief 30 (2020) 105474; attributes: Tsutsui et al., NeurIPS 2023",
        url="https://data.mendeley.com/datasets/snkd93bnjr/1",
        same_smears_as=("pbc-unlabelled", "bloodmnist"),
        notes=(
            "The attributes need wbcatt_attributes.csv, or pbc_attr_v1_train.csv and its siblings from "
            "https://github.com/apple2373/wbcatt, beside the image folder."
        ),
    ),
    DatasetInfo(
        name="pbc-unlabelled",
        title="Blood cells for pretraining, 224 px, no labels, disjoint from pbc",
        reader="cytobench.datasets.pbc_unlabelled:read",
        folders=("pbc-unlabelled",),
        licence="CC-BY-4.0 as published",
        citation="Acevedo et al., Data in Brief 30 (2020) 105474",
        url="https://data.mendeley.com/datasets/snkd93bnjr/1",
        same_smears_as=("pbc", "bloodmnist"),
        notes="For pretraining only: same smears and patients as pbc.",
    ),
    DatasetInfo(
        name="chula-rbc12",
        title="Red blood cells in smear fields, typed points (Chula RBC-12)",
        reader="cytobench.datasets.chula_rbc12:read",
        folders=("chula-rbc12", "Chula-RBC-12-Dataset", "Chula-RBC-12-Dataset-main"),
        licence="MIT",
        citation="Naruenatthanaset et al., arXiv:2012.01321",
        url="https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset",
    ),
    DatasetInfo(
        name="bccd",
        title="Blood smear fields with boxes: red cells, white cells, platelets (BCCD)",
        reader="cytobench.datasets.bccd:read",
        folders=("bccd", "BCCD_Dataset", "BCCD_Dataset-master"),
        licence="MIT",
        citation="Shenggan, BCCD Dataset, 2017",
        url="https://github.com/Shenggan/BCCD_Dataset",
        same_smears_as=("blood-cell-images", "complete-blood-count"),
    ),
    DatasetInfo(
        name="herlev",
        title="Single Pap-smear cells, 7 classes (DTU/Herlev)",
        reader="cytobench.datasets.herlev:read",
        folders=("herlev", "smear2005"),
        licence="not stated: private evaluation only",
        citation="Jantzen et al., Pap-smear Benchmark Data For Pattern Classification, NiSIS 2005",
        url="https://mde-lab.aegean.gr/index.php/downloads/",
        show_images=False,
    ),
    DatasetInfo(
        name="mendeley-lbc",
        title="Liquid-based cervical cytology fields, 4 classes",
        reader="cytobench.datasets.mendeley_lbc:read",
        folders=("mendeley-lbc",),
        licence="CC-BY-4.0",
        citation="Hussain et al., Data in Brief 30 (2020) 105589",
        url="https://data.mendeley.com/datasets/zddtpgzv63/4",
    ),
    DatasetInfo(
        name="oral-cytology",
        title="Oral brush samples: patches of ten slides imaged twice (OralScreen)",
        reader="cytobench.datasets.oral_cytology:read",
        folders=("oral-cytology",),
        licence="MIT, with citation of code and papers",
        citation="Lu et al., ICIAR 2020, LNCS 12132 (arXiv:1910.10549)",
        url="https://github.com/MIDA-group/OralScreen",
        notes="The project publishes mosaics; cut them on their 80 px grid into one PNG a patch.",
    ),
    DatasetInfo(
        name="malaria-bags",
        title="Red cells of malaria patients and healthy donors (NIH/NLM)",
        reader="cytobench.datasets.malaria_bags:read",
        folders=("malaria-bags", "cell_images"),
        licence="public US government data, cite",
        citation="Rajaraman et al., PeerJ 6 (2018) e4568",
        url="https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/malaria-datasheet.html",
    ),
    DatasetInfo(
        name="fnac-2019",
        title="Breast fine-needle aspirates, benign and malignant fields (FNAC 2019)",
        reader="cytobench.datasets.fnac_2019:read",
        folders=("fnac-2019", "FNAC2019", "FNAC-2019", "FNAC 2019"),
        licence="not stated",
        citation="Saikia et al., Tissue and Cell 57 (2019) 8-14",
        url="https://1drv.ms/u/s!Al-T6d-_ENf6axsEbvhbEc2gUFs",
        show_images=False,
    ),
    DatasetInfo(
        name="synthetic",
        title="Synthetic stained cells and slides, made by CytoBench itself",
        reader="cytobench.datasets.synthetic:read",
        folders=("synthetic-v1",),
        licence="Apache-2.0",
        citation="CytoBench",
        url="",
        generated=True,
    ),
)

DATASETS: Mapping[str, DatasetInfo] = MappingProxyType(
    {info.name: info for info in sorted(_KNOWN, key=lambda i: i.name)}
)
"""Every data set with a reader of its own, by name."""


def find_root(name: str, data_dirs: Iterable[Path]) -> Path | None:
    """Return the folder of data set `name`: below one of `data_dirs`, or one of these itself; None if absent.

    A data set that is not in DATASETS has a folder of its own name.
    """
    folders = DATASETS[name].folders if name in DATASETS else (name,)
    for data_dir in data_dirs:
        for folder in folders:
            if (data_dir / folder).is_dir():
                return data_dir / folder
        if data_dir.name in folders and data_dir.is_dir():
            return data_dir
    return None


def import_function(reference: str, card: Path | None = None) -> Reader:
    """Import `"package.module:function"`, from the plugin folder of the file `card` if it is nowhere else.

    Raises CardError when there is no such thing to call.
    """
    from cytobench.registry import import_beside  # brings pydantic, which listing files does without

    module_name, _, attribute = reference.partition(":")
    try:
        found: Any = getattr(import_beside(module_name, card), attribute)
    except (ImportError, AttributeError) as error:
        raise CardError(
            f"The reader '{reference}' cannot be imported ({error}): check the card's dataset key."
        ) from error
    if not callable(found):
        raise CardError(f"The reader '{reference}' is not a function: check the card's dataset key.")
    function: Reader = found
    return function


def available_tasks(tasks: Mapping[str, TaskCard], data_dirs: Sequence[Path]) -> tuple[TaskCard, ...]:
    """Return the tasks whose data are at hand (a generated data set always is), in their order."""
    return tuple(card for card in tasks.values() if _at_hand(card, data_dirs))


def source_path(card: TaskCard) -> Path:
    """Return the folder or table a card's own data source names; raises CardError when it leaves its place.

    A relative path stays inside the card's folder, or inside the plugin folder for a card in its `tasks/`; an
    absolute path, or `outside = true`, may name any place.
    """
    if isinstance(card.dataset, str):
        raise CardError(
            f"Task '{card.name}' names the data set '{card.dataset}', not a folder or table of its own."
        )
    wanted = Path(card.dataset.path).expanduser()
    if wanted.is_absolute():
        return wanted
    if card.source is None:
        raise CardError(f"Task '{card.name}' was read from no file: give its dataset an absolute path.")
    here = card.source.parent
    bounds = here.parent if here.name == "tasks" else here
    if not is_inside(here / wanted, bounds) and not card.dataset.outside:
        raise CardError(
            f"{card.source}: dataset path '{card.dataset.path}' leaves {bounds}: move the data there, "
            "write the path in full, or say outside = true."
        )
    return Path(_normal(here / wanted))


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether `path`, read as written (links are not followed), lies in `folder`."""
    return Path(_normal(path)).is_relative_to(_normal(folder))


def _normal(path: Path) -> str:
    return os.path.normpath(path.absolute())


def _at_hand(card: TaskCard, data_dirs: Sequence[Path]) -> bool:
    if not isinstance(card.dataset, str):
        try:
            return source_path(card).exists()
        except CardError:
            return False
    info = DATASETS.get(card.dataset)
    if info is None:
        return ":" in card.dataset and find_root(card.name, data_dirs) is not None
    return info.generated or find_root(info.name, data_dirs) is not None
