"""Downloads become the folder a reader reads: safely, however they are packed, and nothing half done."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cytobench.datasets import oral_cytology, unpack
from cytobench.datasets.oral_mosaics import prepare as cut_mosaics
from cytobench.datasets.prepare import Prepared, prepare, read_root
from cytobench.datasets.words import downloads_of, words_of
from cytobench.errors import DataError, MissingDataError
from cytobench.progress import Reporter, SilentReporter
from tests.datasets.toy_download import PICTURES, below, plant, taped, toy, tree, zipped

B = {name: content for name, content in PICTURES.items() if name.startswith("B")}
M = {name: content for name, content in PICTURES.items() if name.startswith("M")}


def _loose(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {name.rpartition("/")[2]: content for name, content in contents.items()}


def _prepare(tmp_path: Path, source: Path | None) -> Prepared:
    return prepare(toy(), tmp_path / "data", SilentReporter(), source=source)


def _is_clean(tmp_path: Path) -> bool:
    """Whether no data set was put in place and nothing was written outside the staging folder."""
    data = tmp_path / "data"
    return not (data / "toy").exists() and {path.name for path in data.glob("*")} <= {".preparing-toy"}


@pytest.mark.parametrize(
    "files",
    [
        {"toy.zip": zipped(dict(PICTURES))},
        {"toy.zip": zipped(below("FNAC2019"))},
        {"toy.tar.gz": taped(below("release-1.0/data"))},
        {"toy.zip": zipped({"inner.zip": zipped(below("deep"))})},
        {"b.zip": zipped(below("set", B)), "m.tar.gz": taped(below("set", M))},
        {"B.zip": zipped(_loose(B)), "M.zip": zipped(_loose(M))},
        {"all.zip": zipped({"B.zip": zipped(_loose(B)), "M.zip": zipped(_loose(M))})},
        dict(PICTURES),
        below("one/two"),
        {"B.zip": zipped(below("B", _loose(B))), **M},
    ],
    ids=[
        "zip",
        "a folder deep",
        "tar, two folders deep",
        "zip in zip",
        "parts",
        "a loose archive a class",
        "archives of classes in an archive",
        "unpacked",
        "unpacked, two folders deep",
        "half unpacked",
    ],
)
def test_every_way_of_packing_gives_the_same_folder(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = plant(tmp_path / "downloaded", files)
    prepared = _prepare(tmp_path, source)
    assert prepared.root == tmp_path / "data" / "toy"
    assert not prepared.already
    assert {name.removeprefix("FNAC2019/"): content for name, content in tree(prepared.root).items()} == dict(
        PICTURES
    )
    assert len(read_root(toy(), prepared.root)) == len(PICTURES)
    assert tree(source) == files
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["toy"]


def test_one_archive_may_be_named_instead_of_its_folder(tmp_path: Path) -> None:
    archive = plant(tmp_path, {"toy.zip": zipped(below("x"))}) / "toy.zip"
    assert tree(_prepare(tmp_path, archive).root) == dict(PICTURES)


def test_without_a_source_the_downloaded_files_are_taken(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"No download of toy lies below .*--from"):
        _prepare(tmp_path, None)
    downloads = plant(downloads_of(toy(), tmp_path / "data"), {"toy.zip": zipped(dict(PICTURES))})
    (downloads / "more.zip.partial").mkdir()
    with pytest.raises(DataError, match=r"download of more\.zip is not finished"):
        _prepare(tmp_path, None)
    (downloads / "more.zip.partial").rmdir()
    assert tree(_prepare(tmp_path, None).root) == dict(PICTURES)


def test_what_is_in_place_is_left_alone(tmp_path: Path) -> None:
    root = plant(tmp_path / "data" / "toy")
    prepared = _prepare(tmp_path, tmp_path / "nothing")
    assert prepared == Prepared(root, already=True)
    shutil.rmtree(root / "M")
    with pytest.raises(DataError, match=r"is there but cannot be read .*folder M is missing.*--from"):
        _prepare(tmp_path, None)
    assert tree(root) == B


def test_leftovers_of_other_systems_and_links_are_left_out_and_told(tmp_path: Path) -> None:
    link = tarfile.TarInfo("B/B_9.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    leftovers = {"__MACOSX/B/._B_1.png": b"x", "B/.DS_Store": b"x", "B/._B_2.png": b"x", "Thumbs.db": b"x"}
    archive = tmp_path / "toy.tar.gz"
    archive.write_bytes(taped({**PICTURES, **leftovers}, link))
    prepared = _prepare(tmp_path, archive)
    assert tree(prepared.root) == dict(PICTURES)
    assert "4 files that macOS or Windows left behind" in prepared.said[0]
    assert prepared.said[1] == "left out: 1 link: B/B_9.png"


@pytest.mark.parametrize(
    "name", ["../out.png", "/abs/out.png", "B/../../out.png", "C:\\out.png", "B\\..\\..\\x.png"]
)
@pytest.mark.parametrize("pack", [zipped, taped])
def test_no_path_leaves_the_folder(tmp_path: Path, name: str, pack: Callable[..., bytes]) -> None:
    archive = tmp_path / ("toy.zip" if pack is zipped else "toy.tar.gz")
    archive.write_bytes(pack({**PICTURES, name: b"out"}))
    with pytest.raises(DataError, match="would leave the folder"):
        _prepare(tmp_path, archive)
    assert _is_clean(tmp_path)
    assert not list(tmp_path.rglob("*out.png"))


def test_a_zip_bomb_is_refused_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "toy.zip"
    archive.write_bytes(zipped({**PICTURES, "B/B_4.png": bytes(50_000_000)}))
    assert archive.stat().st_size < 100_000
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000_000))
    with pytest.raises(DataError, match=r"unpacks to 50\.0 MB but only 20\.0 MB are free"):
        _prepare(tmp_path, archive)
    assert not list(tmp_path.rglob("*.png"))


def _cut_short(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("toy.zip", _cut_short(zipped(dict(PICTURES)))),
        ("toy.tar.gz", _cut_short(taped(dict(PICTURES)))),
        ("toy.zip", b"<html>please log in</html>"),
        ("toy.tar.gz", b""),
    ],
)
def test_a_download_that_is_half_there_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"damaged or only half there .*download it again"):
        _prepare(tmp_path, tmp_path / name)
    assert _is_clean(tmp_path)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in PICTURES.items():
            archive.writestr(name, content)
    content = bytearray(file.getvalue())
    content[120] ^= 1
    (tmp_path / "toy.zip").write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged or only half there"):
        _prepare(tmp_path, tmp_path / "toy.zip")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("toy.rar", "by hand .*unrar x"),
        ("toy.7z", "by hand .*7z x"),
        ("toy.zip.001", r"cat toy\.zip\.\* > whole\.zip"),
        ("toy.zip.crdownload", "not finished"),
    ],
)
def test_what_is_not_unpacked_here_says_what_to_do(tmp_path: Path, name: str, sentence: str) -> None:
    source = plant(tmp_path / "downloaded", {name: b"Rar!", **B})
    with pytest.raises(DataError, match=sentence):
        _prepare(tmp_path, source)


def test_an_interrupted_call_goes_on_and_another_download_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "toy.zip"
    archive.write_bytes(zipped(dict(PICTURES)))
    real, written = unpack._write, []

    def interrupted(source: Path, member: unpack.Member, *rest: object) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(member.name)
        real(source, member, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(unpack, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _prepare(tmp_path, archive)
    staged = tmp_path / "data" / ".preparing-toy" / "unpacked" / FIRST
    before = staged.stat().st_ino
    with monkeypatch.context() as patch:
        patch.setattr(unpack, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _prepare(tmp_path, archive)
    assert staged.stat().st_ino == before
    changed = {**PICTURES, FIRST: PICTURES["M/M_3.png"]}
    archive.write_bytes(zipped(changed))
    os.utime(archive, ns=(0, 10**9))
    assert tree(_prepare(tmp_path, archive).root) == changed


FIRST = "B/B_1.png"


def test_a_layout_nobody_knows_is_told_and_nothing_is_put_in_place(tmp_path: Path) -> None:
    source = plant(tmp_path / "downloaded", {"pictures/1.png": b"x"})
    with pytest.raises(DataError, match=r"not laid out like the official download.*data show toy"):
        _prepare(tmp_path, source)
    assert _is_clean(tmp_path)


def sorted_by_letter(source: Path, target: Path, reporter: Reporter) -> None:
    """A data set's own function: one flat folder becomes B/ and M/."""
    for path in sorted(source.rglob("*.png")):
        (target / path.name[0]).mkdir(exist_ok=True)
        shutil.copy(path, target / path.name[0] / path.name)


def test_the_sets_own_function_makes_the_layout_where_unpacking_is_not_enough(tmp_path: Path) -> None:
    archive = tmp_path / "toy.zip"
    archive.write_bytes(zipped(below("flat", _loose(dict(PICTURES)))))
    info = replace(toy(), prepare=f"{__name__}:sorted_by_letter")
    prepared = prepare(info, tmp_path / "data", SilentReporter(), source=archive)
    assert tree(prepared.root) == dict(PICTURES)


def test_the_sets_own_function_works_on_what_was_put_into_its_folder(tmp_path: Path) -> None:
    info = replace(toy(), prepare=f"{__name__}:sorted_by_letter")
    data = tmp_path / "data"
    flat = _loose(dict(PICTURES))
    root = plant(data / "toy", {name: flat[name] for name in ("B_1.png", "M_1.png")})
    assert prepare(info, data, SilentReporter()) == Prepared(root, already=False)
    assert prepare(info, data, SilentReporter()) == Prepared(root, already=True)
    more = plant(tmp_path / "more", {"B_2.png": flat["B_2.png"]})
    assert not prepare(info, data, SilentReporter(), source=more).already
    assert len(read_root(info, root)) == 3


def test_mosaics_are_cut_on_their_grid(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("1_oldsmear", "2_newsmear"):
        for slide in ("03", "12"):
            folder = tmp_path / "in" / f"slide_mosaic{part}"
            folder.mkdir(parents=True, exist_ok=True)
            mosaic = rng.integers(0, 256, (160, 240, 3), dtype=np.uint8)
            Image.fromarray(mosaic).save(folder / f"mosaic_{slide}.jpg")
    cut_mosaics(tmp_path / "in", tmp_path / "out", SilentReporter())
    table = oral_cytology.read(tmp_path / "out")
    assert len(table) == 4 * 6
    assert dict(table["label"].value_counts().iter_rows()) == {"Cancer": 12, "Healthy": 12}
    whole = np.asarray(Image.open(tmp_path / "in" / "slide_mosaic2_newsmear" / "mosaic_12.jpg"))
    patch = Image.open(tmp_path / "out" / "ds2_newsmear" / "Cancer" / "slide12" / "r01c02.png")
    assert np.array_equal(np.asarray(patch), whole[80:160, 160:240])


def test_odd_mosaics_are_all_named(tmp_path: Path) -> None:
    folder = tmp_path / "slide_mosaic1_oldsmear"
    folder.mkdir()
    Image.new("RGB", (80, 80)).save(folder / "mosaic_99.jpg")
    Image.new("RGB", (90, 80)).save(folder / "mosaic_03.jpg")
    with pytest.raises(DataError, match=r"slide 99, which is none of the ten; .*90x80 px, no grid"):
        cut_mosaics(tmp_path, tmp_path / "out", SilentReporter())


@pytest.mark.parametrize("pack", [zipped, taped])
@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"B": b"x", "B/1.png": b"y"}, "holds B as a file and as a folder"),
        ({"B/1.png": b"y", "B": b"x"}, "holds B as a file and as a folder"),
        ({f"B/{'n' * 300}.png": b"y"}, "longer than a disk takes"),
    ],
)
def test_names_that_no_disk_takes_are_said(
    tmp_path: Path, pack: Callable[..., bytes], contents: dict[str, bytes], message: str
) -> None:
    packed = pack(contents)
    name = "toy.zip" if packed.startswith(b"PK") else "toy.tar.gz"
    source = plant(tmp_path / "downloaded", {name: packed})
    with pytest.raises(DataError, match=message):
        _prepare(tmp_path, source)
    assert _is_clean(tmp_path)


def test_archives_too_deep_in_archives_are_named(tmp_path: Path) -> None:
    packed = zipped({"secret.png": b"x"})
    for depth in range(4):
        packed = zipped({f"inner{depth}.zip": packed})
    source = plant(tmp_path / "downloaded", {"toy.zip": packed})
    left = unpack.unpack(
        unpack.archives_in(source), source, tmp_path / "out", words_of(toy()), SilentReporter()
    )
    assert left.deep == ["inner0.zip"]
    assert "1 archive too deep in others, still packed: inner0.zip" in left.told()
