"""What is declared about the public data sets hangs together, and names things that exist."""

from __future__ import annotations

import re

import pytest

from cytobench.datasets import DATASETS, import_function

NAMES = sorted(DATASETS)


@pytest.mark.parametrize("name", NAMES)
def test_the_facts_a_user_needs_are_there(name: str) -> None:
    info = DATASETS[name]
    assert info.organ
    assert info.preparation
    assert info.group
    assert info.licence
    assert info.citation
    assert info.layout
    assert info.generated or info.url.startswith("https://")
    assert info.generated == (info.access == "generated")
    assert callable(import_function(info.reader))
    assert not info.prepare or callable(import_function(info.prepare))
    assert all(n > 0 for n in info.counts.values())
    assert not (info.total and info.counts and info.total != sum(info.counts.values()))


@pytest.mark.parametrize("name", NAMES)
def test_files_are_fetched_safely_and_only_where_the_licence_permits(name: str) -> None:
    info = DATASETS[name]
    assert not info.files or "not stated" not in info.licence
    assert not info.files or info.access == "open"
    names = [file.file for file in info.files]
    assert len(names) == len(set(names))
    for file in info.files:
        assert file.url.startswith("https://")
        assert not file.file.startswith(("/", "."))
        assert ".." not in file.file
        assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256)
        assert re.fullmatch(r"([0-9a-f]{32})?", file.md5)


def test_no_two_sets_look_for_one_folder() -> None:
    folders = [folder for info in DATASETS.values() for folder in info.folders]
    assert len(folders) == len(set(folders))


def test_same_smears_are_known_both_ways() -> None:
    for info in DATASETS.values():
        for other in info.same_smears_as:
            assert other not in DATASETS or info.name in DATASETS[other].same_smears_as, (info.name, other)
