"""Downloads of one folder a class, under names that differ in case, blanks and the folder above them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cytobench.datasets.listing import folders_in, images_in
from cytobench.errors import CardError


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


def id_pattern(pattern: str, reader: str, option: str) -> re.Pattern[str] | None:
    """Return a card's option that finds an id in file names; raises CardError for a bad pattern."""
    if not pattern:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CardError(
            f"The option {option} of the reader {reader} is no regular expression ({error}): correct it."
        ) from error
    if compiled.groups != 1:
        raise CardError(f"The option {option} of the reader {reader} needs exactly one group in parentheses.")
    return compiled


def ids_of(
    images: list[Labelled], pattern: re.Pattern[str] | None, what: str, problems: list[str]
) -> list[str | None]:
    """Return the id that `pattern` finds in each image's name; names without one are added to `problems`."""
    if pattern is None:
        return [None] * len(images)
    matches = [pattern.search(one.image.name) for one in images]
    lost = [one.image.name for one, match in zip(images, matches, strict=True) if match is None]
    if lost:
        problems.append(f"{len(lost)} names have no {what} where the option looks for it, as {lost[0]}")
    return [match[1] if match else None for match in matches]


def _folders(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    for inner in folders_in(folder):
        yield inner, above
        yield from _folders(inner, (*above, inner.name))
