"""Downloads of one folder a class, under names that differ in case, blanks and the folder above them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cytobench.datasets.listing import folders_in, images_in


@dataclass(frozen=True)
class Labelled:
    """An image, the class its folder stands for, and the folders between the data set's root and that one."""

    image: Path
    label: str
    above: tuple[str, ...]


def labelled_images(root: Path, labels: Mapping[str, str], problems: list[str]) -> list[Labelled]:
    """Return the images of all folders that are named like a class, at any depth, in a fixed order.

    `labels`: the label of each folder name in lower case without blanks, dots, `-` and `_`. Classes without
    an image, and folders that hold images but are no class, are added to `problems`.
    """
    found: list[Labelled] = []
    strange: list[str] = []
    for folder, above in _folders(root, ()):
        label = labels.get(plain(folder.name))
        if label is not None:
            found += [Labelled(image, label, above) for image in images_in(folder, deep=True)]
        elif images_in(folder):
            strange.append(folder.relative_to(root).as_posix())
    absent = [name for name in dict.fromkeys(labels.values()) if name not in {one.label for one in found}]
    if absent:
        problems.append(f"no images of the classes {', '.join(absent)}")
    if strange:
        shown = ", ".join(sorted(strange)[:5])
        problems.append(
            f"folders that hold images but are no class: {shown}; rename them as published, or move them away"
        )
    return found


def plain(name: str) -> str:
    """Return a folder's name in lower case without blanks, dots, `-` and `_`."""
    return re.sub(r"[\s._-]+", "", name).lower()


def _folders(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    for inner in folders_in(folder):
        yield inner, above
        yield from _folders(inner, (*above, inner.name))
