"""A site replaces a site of ours, whole or not at all, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytobench.errors import StoreError, UsageError
from cytobench.leaderboard.site.folder import MARK, put_in_place, refuse_strangers

OLD = {"index.html": b"old", "files/a.csv": b"1"}
NEW = {"index.html": b"new"}


def _files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != MARK}


@pytest.mark.parametrize("there", [False, True])
def test_a_site_goes_into_a_new_or_empty_folder(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "deep" / "site"
    if there:
        folder.mkdir(parents=True)
    size = put_in_place(OLD, folder)
    assert _files(folder) == OLD
    assert size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_site_replaces_an_earlier_one_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    put_in_place(OLD, tmp_path / "site")
    put_in_place(NEW, tmp_path / "site")
    assert _files(tmp_path / "site") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("stranger", ["thesis.docx", ".git/config", "files/mine.csv"])
@pytest.mark.parametrize("ours", [False, True])
def test_a_folder_with_files_of_others_is_refused_and_left_alone(
    tmp_path: Path, stranger: str, ours: bool
) -> None:
    folder = tmp_path / "site"
    if ours:
        put_in_place(OLD, folder)
    path = folder / stranger
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    before = _files(folder)
    with pytest.raises(UsageError, match=f"{Path(stranger).name}.*not overwritten"):
        put_in_place(NEW, folder)
    assert _files(folder) == before


def test_a_mark_that_somebody_else_wrote_does_not_open_the_door(tmp_path: Path) -> None:
    for text in ('{"files": ["thesis.docx"]}', "[]", "\x00", '{"made_by": "me", "files": ["thesis.docx"]}'):
        (tmp_path / MARK).write_text(text)
        (tmp_path / "thesis.docx").write_bytes(b"mine")
        with pytest.raises(UsageError, match=r"thesis\.docx"):
            refuse_strangers(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        put_in_place(NEW, tmp_path / "site")


def test_a_name_that_leads_out_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="leads out"):
        put_in_place({"../out.html": b"x"}, tmp_path / "site")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    put_in_place(OLD, folder)

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StoreError, match=r"No space left.*--site"):
            put_in_place(NEW, folder)
    assert _files(folder) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_when_the_new_site_cannot_take_its_place_the_old_one_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    put_in_place(OLD, folder)
    rename, calls = Path.rename, []

    def second_fails(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(13, "Permission denied")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", second_fails)
        with pytest.raises(StoreError, match="Permission denied"):
            put_in_place(NEW, folder)
    assert _files(folder) == OLD


def test_a_site_behind_a_symlink_is_replaced_where_it_lies(tmp_path: Path) -> None:
    put_in_place(OLD, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    put_in_place(NEW, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert _files(tmp_path / "real") == NEW
