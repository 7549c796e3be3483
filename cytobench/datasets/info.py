"""What is known about a public data set: plain facts, without any reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Download:
    """One file of an official download.

    `url`: where it is, without any login; `file`: the name it is kept under, perhaps in a folder; `size` in
    bytes; `sha256` or `md5`: the published digest, lower-case hex ("" where its host publishes none);
    `unpack`: whether it is an archive; `optional`: fetched only when it is named, as a larger form of the
    same images is.
    """

    url: str
    file: str
    size: int | None = None
    sha256: str = ""
    md5: str = ""
    unpack: bool = False
    optional: bool = False


@dataclass(frozen=True)
class DatasetInfo:
    """One known data set: how it is read, what its folder is called, whose it is, what to know before use.

    `folders` are the folder names looked for below each data folder; `generated` sets are written by
    CytoBench itself; `show_images` is false where the licence forbids showing pictures; `same_smears_as`
    names data sets with other pictures of the same smears, or the same pictures under another name.
    `counts`: published number of items a class, under the labels the reader gives; `total`: the published
    number of items where it is not known class by class; `counted`: the reader's column that `counts` counts,
    and `count_options` the options under which the reader leaves none of these items out; `forms`: options
    under which it reads another form of the same set (other sizes), tried in turn where it finds none with
    its defaults; `group`: what must never stand on both sides of a split, in words; `official_split`: the
    published one, "" where there is none; `layout`: the tree the reader expects, a line each, as its official
    download unpacks; `layout_compared`: false where it was taken from papers or other code and no real
    download was at hand; `unread`: patterns of files in it that the reader rightly leaves alone (masks, …),
    relative to the folder; `files`: what `cytobench data download` fetches, empty where host or licence do
    not permit it; `access`: how a person gets it; `prepare`: `"module:function"` that makes the reader's
    layout of an unpacked download which is not yet in it ("" where unpacking is enough).
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
    organ: str = ""
    preparation: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    group: str = ""
    known_confounds: str = ""
    official_split: str = ""
    layout: tuple[str, ...] = ()
    layout_compared: bool = True
    files: tuple[Download, ...] = ()
    access: Literal["open", "registration", "by hand", "generated"] = "by hand"
    prepare: str = ""
    total: int = 0
    counted: str = "label"
    count_options: Mapping[str, object] = field(default_factory=dict)
    forms: tuple[Mapping[str, object], ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def items(self) -> int:
        """The published number of items, 0 where it is not known."""
        return self.total or sum(self.counts.values())

    @property
    def download_size(self) -> int | None:
        """The bytes of all files to fetch, None where any of them is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes or not sizes else sum(size or 0 for size in sizes)
