"""`cytobench data`: what there is, how to get it, and whether it is all there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cytobench.datasets import DATASETS, Download
from cytobench.transfer import stream
from tests.cli.shell import Command
from tests.datasets.toy_download import PICTURES, below, plant, toy, tree, zipped
from tests.encoders.local_hub import LocalHub, WebFile, serve


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A host of the toy set, which the catalogue knows as `toy` (and as `toy-by-hand`)."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(stream, "PAUSES", ())
    with serve() as running:
        running.files["/toy.zip"] = WebFile(zipped(below("FNAC2019")))
        known = toy(Download(f"{running.url}/toy.zip", "toy.zip", unpack=True))
        monkeypatch.setattr("cytobench.datasets.DATASETS", {**DATASETS, "toy": known})
        yield running


def test_every_set_is_listed_and_can_be_chosen_by_organ_and_place(cytobench: Command, tmp_path: Path) -> None:
    listed = cytobench("data", "list").out
    assert all(name[:12] in listed for name in DATASETS)
    assert cytobench("list", "datasets").out == listed
    (tmp_path / "bccd").mkdir()
    blood = cytobench("data", "list", "--organ", "blood", "--here", "--json", "--data", tmp_path)
    (only,) = json.loads(blood.out)
    assert (only["name"], only["items"]) == ("bccd", 4888)
    assert only["place"] == str(tmp_path / "bccd")
    assert "bccd-cell-type" in only["tasks"]


def test_an_unknown_organ_or_name_is_usage(cytobench: Command) -> None:
    wrong = cytobench("data", "list", "--organ", "spleen")
    assert (wrong.code, "there are blood" in wrong.err) == (2, True)
    wrong = cytobench("data", "show", "chula")
    assert (wrong.code, "did you mean chula-rbc12" in wrong.err) == (2, True)


def test_a_sheet_tells_classes_layout_files_and_tasks(cytobench: Command) -> None:
    shown = cytobench("data", "show", "malaria-bags").out
    for part in (
        "parasitized",
        "13,779",
        "cell_images/",
        "353.5 MB",
        "SHA-256 0a949556b241",
        "malaria-patients",
    ):
        assert part in shown
    assert cytobench("show", "malaria-bags").out == shown
    assert "may not be shown" in cytobench("data", "show", "herlev").out


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_set_can_be_shown(cytobench: Command, name: str) -> None:
    shown = cytobench("data", "show", name)
    assert (shown.code, DATASETS[name].url in shown.out.replace("\n", "")) == (0, True)


def test_a_download_asks_and_without_a_terminal_needs_yes(
    cytobench: Command, server: LocalHub, tmp_path: Path
) -> None:
    refused = cytobench("data", "download", "toy", "--to", tmp_path / "d")
    assert (refused.code, "add --yes" in refused.err) == (2, True)
    assert "licence   CC0-1.0" in refused.out
    assert not server.asked
    assert not (tmp_path / "d").exists()


def test_a_download_is_unpacked_and_verified(cytobench: Command, server: LocalHub, tmp_path: Path) -> None:
    done = cytobench("data", "download", "toy", "--to", tmp_path, "--yes")
    assert done.code == 0, done.err
    assert "6 items in 2 classes, as published" in done.out
    assert "no digest" in done.err
    assert tree(tmp_path / "toy") == below("FNAC2019") or tree(tmp_path / "toy") == dict(PICTURES)
    again = cytobench("data", "download", "toy", "--to", tmp_path, "--yes")
    assert (again.code, "is here already" in again.out) == (0, True)
    assert len(server.asked) == 1


def test_single_files_are_fetched_only(cytobench: Command, server: LocalHub, tmp_path: Path) -> None:
    done = cytobench("data", "download", "toy", "--to", tmp_path, "--yes", "--file", "toy.zip")
    assert (done.code, "Next: cytobench data prepare toy" in done.out) == (0, True)
    assert not (tmp_path / "toy").exists()
    assert cytobench("data", "prepare", "toy", "--to", tmp_path).code == 0
    assert (tmp_path / "toy").is_dir()


def test_what_may_not_be_downloaded_says_where_it_is_and_what_goes_where(
    cytobench: Command, tmp_path: Path
) -> None:
    told = cytobench("data", "download", "herlev", "--to", tmp_path)
    assert told.code == 1
    assert "https://mde-lab.aegean.gr" in told.out
    assert "New database pictures/" in told.out
    assert "data prepare herlev --from" in told.out
    assert "host or licence does not permit" in told.err


def test_without_a_data_folder_nothing_begins(cytobench: Command, server: LocalHub) -> None:
    wrong = cytobench("data", "download", "toy", "--yes")
    assert (wrong.code, "--to DIR" in wrong.err) == (2, True)


def test_verify_ends_with_one_when_something_is_to_mend(
    cytobench: Command, server: LocalHub, tmp_path: Path
) -> None:
    absent = cytobench("data", "verify", "toy", "--data", tmp_path)
    assert (absent.code, "data show toy" in absent.err) == (1, True)
    root = plant(tmp_path / "toy")
    assert cytobench("data", "verify", "toy", "--data", tmp_path).code == 0
    (root / "B" / "B_1.png").write_bytes(b"")
    broken = cytobench("data", "verify", "toy", "--data", tmp_path, "--json")
    assert broken.code == 1
    (found,) = [one for one in json.loads(broken.out) if one["mark"] == "fail"]
    assert found["cases"] == ["B/B_1.png"]


def test_the_catalogue_needs_neither_torch_nor_numpy() -> None:
    script = (
        "import sys; from cytobench.cli import app\n"
        "for words in (['data', 'list'], ['data', 'show', 'pbc'], ['data', 'download', 'herlev']):\n"
        "    try: app(args=words, standalone_mode=False)\n"
        "    except Exception as error: print(type(error).__name__)\n"
        "print(' '.join(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "DataError" in ran.stdout
    modules = {name.split(".")[0] for name in ran.stdout.splitlines()[-1].split()}
    assert not modules & {"torch", "timm", "faiss", "numpy", "polars", "sklearn", "PIL"}
