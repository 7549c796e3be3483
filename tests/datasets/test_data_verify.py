"""`verify` says all that is wrong with a data set at once, and what a subset lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cytobench.datasets import DATASETS, DatasetInfo, oral_cytology
from cytobench.datasets.verify import verify
from cytobench.findings import Finding, failed
from cytobench.progress import SilentReporter
from tests.datasets.toy_download import PICTURES, picture, plant, toy


def _verify(root: Path, home: Path, info: DatasetInfo | None = None) -> list[Finding]:
    return verify(info or toy(), root, SilentReporter(), home=home)


def _of(findings: list[Finding], question: str) -> Finding:
    (found,) = [finding for finding in findings if finding.question == question]
    return found


def _large(*values: object) -> object:
    """Return the parameters of a set whose images take seconds to decode."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "data" / "toy")


def test_a_whole_data_set_passes(root: Path, home: Path) -> None:
    findings = _verify(root, home)
    assert {finding.mark for finding in findings} == {"pass", "skip"}
    assert _of(findings, "items as published").says == "6 items in 2 classes, as published."


def test_a_subset_is_to_know_and_no_failure(root: Path, home: Path) -> None:
    (root / "M" / "M_3.png").unlink()
    findings = _verify(root, home)
    counts = _of(findings, "items as published")
    assert (counts.mark, counts.says) == ("warn", "5 of the 6 published items (83%).")
    assert counts.cases == ("malignant: 2 of 3",)
    assert not failed(findings)


def test_more_than_published_is_to_mend(root: Path, home: Path) -> None:
    plant(root, {f"B/B_{n}.png": picture(n) for n in range(10, 30)})
    counts = _of(_verify(root, home), "items as published")
    assert counts.mark == "fail"
    assert counts.says == "26 items where 6 were published (too many of benign)."


def test_everything_is_told_at_once(root: Path, home: Path) -> None:
    plant(
        root,
        {
            "B/B_1.png": PICTURES["B/B_1.png"][:80],
            "B/B_2.png": b"",
            "M/M_3.png": PICTURES["B/B_3.png"],
            "new folder/x.png": picture(99),
            "B/Größe_7.png": picture(98),
            "__MACOSX/B/._B_1.png": b"x",
            "B/.DS_Store": b"x",
            "M/M_4.png.crdownload": b"x",
            "labels.csv": b"file;type\r\nB_1.png;b\r\nB_2.png;b\r\nB_3.png;b\r\nM_77.png;m\r\n",
        },
    )
    (root / "nothing").mkdir()
    findings = _verify(root, home)
    assert _of(findings, "images decode").cases == ("B/B_1.png",)
    assert _of(findings, "empty image files").cases == ("B/B_2.png",)
    twins = _of(findings, "byte-identical files")
    assert twins.cases == ("M/M_3.png = B/B_3.png",)
    assert "1 of them in another class" in twins.says
    assert _of(findings, "images nobody reads").cases == ("new folder/x.png",)
    assert _of(findings, "names").cases == ("B/Größe_7.png",)
    assert set(_of(findings, "files of macOS or Windows").cases) == {"B/.DS_Store", "__MACOSX/B/._B_1.png"}
    assert _of(findings, "unfinished downloads").cases == ("M/M_4.png.crdownload",)
    assert _of(findings, "empty folders").cases == ("nothing",)
    assert _of(findings, "text files").says == "1 of 1 label files: Windows line ends."
    rows = _of(findings, "rows without an image")
    assert rows.cases == ("M_77.png",)
    assert "separated by semicolons" in rows.says
    assert "M/M_1.png" in _of(findings, "images without a row").cases


def test_what_the_reader_cannot_read_does_not_end_the_examination(root: Path, home: Path) -> None:
    plant(root, {"B/holiday.png": picture(50), "M/M_1.png": b"no image"})
    findings = _verify(root, home)
    reads = _of(findings, "the reader reads it")
    assert (reads.mark, "B/holiday.png has no number" in reads.says) == ("fail", True)
    assert _of(findings, "images decode").cases == ("M/M_1.png",)


def test_renamed_class_folders_are_recognised(tmp_path: Path, home: Path, draw: Callable[..., Path]) -> None:
    info = DATASETS["herlev"]
    names = ["Carcinoma in situ", *sorted(info.counts)[1:]]
    for index, name in enumerate(names):
        draw(tmp_path / "New database pictures" / name / f"{index}-1-001.BMP")
    folders = _of(_verify(tmp_path, home, info), "class folders")
    assert folders.mark == "fail"
    assert folders.cases == ("no folder carcinoma_in_situ: is it the folder Carcinoma in situ?",)


def test_masks_are_rightly_left_alone(tmp_path: Path, home: Path, draw: Callable[..., Path]) -> None:
    info = DATASETS["herlev"]
    for index, name in enumerate(info.counts):
        draw(tmp_path / name / f"{index}-1-001.BMP")
        draw(tmp_path / name / f"{index}-1-001-d.bmp")
    unread = _of(_verify(tmp_path, home, info), "images nobody reads")
    assert (unread.mark, "7 masks" in unread.says) == ("pass", True)


def test_label_files_are_paired_with_images_both_ways(
    tmp_path: Path, home: Path, draw: Callable[..., Path]
) -> None:
    for number in range(4):
        draw(tmp_path / "Dataset" / f"{number}.jpg", size=(100, 100))
    plant(tmp_path, {f"Label/{number}.txt": b"50 50 0\n" for number in (0, 1, 2, 7)})
    findings = _verify(tmp_path, home, DATASETS["chula-rbc12"])
    assert _of(findings, "labels without an image").cases == ("Label/7.txt",)
    assert _of(findings, "images without a label").cases == ("Dataset/3.jpg",)


@pytest.mark.parametrize("kind", ["sha256sum", "csv beside"])
def test_files_are_compared_with_a_list_of_digests(root: Path, home: Path, kind: str) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in PICTURES.items()}
    if kind == "sha256sum":
        lines = [f"{digest}  {name}" for name, digest in digests.items()]
        (root / "SHA256SUMS").write_text("\n".join(lines))
    else:
        lines = ["path,bytes,sha256", *(f"toy/{name},1,{digest}" for name, digest in digests.items())]
        (root.parent / "manifest-checksums.csv").write_text("\n".join(lines))
    assert _of(_verify(root, home), "digests as listed").mark == "pass"
    (root / "B" / "B_1.png").write_bytes(picture(77))
    (root / "B" / "B_2.png").unlink()
    plant(root, {"B/B_9.png": picture(78)})
    compared = _of(_verify(root, home), "digests as listed")
    assert compared.mark == "fail"
    assert compared.cases == ("changed: B/B_1.png", "missing: B/B_2.png", "not listed: B/B_9.png")


def test_a_total_without_classes_is_compared_too(root: Path, home: Path) -> None:
    counts = _of(_verify(root, home, replace(toy(), counts={}, total=8)), "items as published")
    assert (counts.mark, counts.says) == ("warn", "6 of the 8 published items (75%).")


def test_another_form_of_the_set_is_read_where_the_default_one_is_missing(
    tmp_path: Path, home: Path, draw: Callable[..., Path]
) -> None:
    for number in (3, 4):
        draw(tmp_path / "ds2_newsmear" / "Cancer" / f"slide{number:02d}" / "r00c00.png")
    wanted = replace(DATASETS["oral-cytology"], reader=f"{__name__}:read_grey")
    assert _of(_verify(tmp_path, home, wanted), "the reader reads it").mark == "fail"
    formed = replace(wanted, forms=({"part": "ds1_oldsmear"}, {"part": "ds2_newsmear"}))
    assert _of(_verify(tmp_path, home, formed), "the reader reads it").says == "2 items from 2 image files."


def read_grey(root: Path, *, part: str = "ds1_oldsmear") -> pl.DataFrame:
    """A reader with a default form, as those of sets in several sizes."""
    return oral_cytology.read(root, part=part)


@pytest.mark.parametrize(
    ("name", "items", "remarks"),
    [
        _large("pbc", "2,400 of the 17,092 published items (14%).", 0),
        _large("pbc-unlabelled", "5,800 items, as published.", 0),
        _large("chula-rbc12", "17,188 of the 22,106 published items (78%); none of elliptocyte.", 1),
        ("bccd", "4,886 of the 4,888 published items.", 1),
        _large("oral-cytology", "3,559 of the 3,560 published items.", 1),
        ("herlev", "261 of the 917 published items (28%).", 0),
        ("mendeley-lbc", "240 of the 963 published items (25%).", 0),
        _large("malaria-bags", "8,000 of the 27,558 published items (29%).", 0),
    ],
)
def test_the_real_sets_are_what_their_readmes_say(
    real: Callable[[str], Path], home: Path, name: str, items: str, remarks: int
) -> None:
    findings = verify(DATASETS[name], real(name), SilentReporter(), home=home)
    assert not failed(findings)
    assert _of(findings, "items as published").says == items
    assert sum(finding.question == "the reader remarks" for finding in findings) == remarks
    assert _of(findings, "images decode").mark == "pass"
    assert _of(findings, "digests as listed").mark == "pass"
