"""Features of TRIDENT, STAMP and CLAM are a backbone's output on tasks over bags."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
import torch

from cytobench.audit.examine import Request, audit
from cytobench.card_files import read_card
from cytobench.cards import BackboneCard, TaskCard
from cytobench.checks.backbone import check_backbone
from cytobench.checks.task import check_task
from cytobench.datasets.task import load_task
from cytobench.errors import CardError, CytoBenchError, DataError, UsageError
from cytobench.evaluation.run import RunOutcome, RunRequest, benchmark
from cytobench.findings import failed
from cytobench.progress import SilentReporter
from tests.interchange.slide_folders import (
    SLIDES,
    backbone_card,
    labels,
    project,
    stamp,
    task_card,
    tensors,
    tiles,
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return project(tmp_path / "my")


def _run(own: Path, home: Path, *backbones: str, task: str = "slides", **options) -> list[RunOutcome]:
    request = RunRequest(
        tasks=[read_card(TaskCard, own / "tasks" / f"{task}.toml")],
        backbones=[read_card(BackboneCard, own / "backbones" / f"{name}.toml") for name in backbones],
        home=home,
        **{"probes": ["mean-linear"], "tuned": (False,), "device": "cpu", **options},
    )
    return benchmark(request)


def _add(own: Path, name: str, folder: str, dim: int) -> None:
    (own / "backbones" / f"{name}.toml").write_text(backbone_card(name, folder, dim))


def _reason(outcomes: list[RunOutcome]) -> str:
    (outcome,) = outcomes
    assert outcome.result is None
    return outcome.reason


def test_two_encoders_are_judged_on_the_same_rows_and_folds(own: Path, home: Path) -> None:
    outcomes = _run(own, home, "uni-h5", "phikon-h5")
    a, b = (outcome.result for outcome in outcomes)
    assert a is not None
    assert b is not None
    assert (a.manifest_digest, a.split.digest) == (b.manifest_digest, b.split.digest)
    assert a.space_id != b.space_id
    assert a.n == len(SLIDES)
    assert min(a.value, b.value) > 0.8


def test_the_task_is_the_same_whichever_encoder_its_card_names(own: Path, home: Path) -> None:
    (first,) = _run(own, home, "uni-h5")
    (own / "tasks" / "slides.toml").write_text(task_card("features_phikon"))
    (again,) = _run(own, home, "uni-h5")
    assert first.result is not None
    assert again.status == "cached"
    assert again.result is not None
    assert again.result.run_id == first.result.run_id


def test_names_paths_and_attributes_of_files_decide_nothing(own: Path, home: Path, tmp_path: Path) -> None:
    (first,) = _run(own, home, "uni-h5")
    elsewhere = shutil.copytree(own, tmp_path / "elsewhere")
    for path in (elsewhere / "features_uni_v1").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            file["features"].attrs["savetodir"] = "/another/lab"
    (again,) = _run(elsewhere, home, "uni-h5")
    assert first.result is not None
    assert again.result is not None
    assert again.result.space_id == first.result.space_id
    with h5py.File(elsewhere / "features_uni_v1" / f"{SLIDES[0]}.h5", "r+") as file:
        file["features"][0, 0] += 1
    (changed,) = _run(elsewhere, home, "uni-h5")
    assert changed.result is not None
    assert changed.result.space_id != first.result.space_id


def test_attention_weighs_tiles_by_slide_and_place(own: Path, home: Path) -> None:
    (outcome,) = _run(own, home, "uni-h5", probes=["abmil"])
    assert outcome.result is not None, outcome.reason
    (path,) = home.glob("results/slides/uni-h5/abmil/*/attention.parquet")
    attention = pl.read_parquet(path)
    assert set(attention["bag"]) == set(SLIDES)
    assert f"{SLIDES[0]}#512,0" in attention["sample"].to_list()


def test_rows_in_another_order_are_found_by_their_coordinates(own: Path, home: Path) -> None:
    (first,) = _run(own, home, "uni-h5")
    for path in (own / "features_uni_v1").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            for key in ("features", "coords"):
                file[key][...] = file[key][...][::-1]
    (again,) = _run(own, home, "uni-h5")
    assert first.result is not None
    assert again.result is not None
    assert again.result.manifest_digest == first.result.manifest_digest
    assert again.result.metrics == first.result.metrics


def test_stamp_files_are_read(own: Path, home: Path) -> None:
    stamp(own / "virchow2-abc", dim=6)
    _add(own, "virchow2", "virchow2-abc", 6)
    (own / "tasks" / "slides.toml").write_text(task_card("virchow2-abc"))
    (outcome,) = _run(own, home, "virchow2")
    assert outcome.result is not None, outcome.reason
    assert outcome.result.value > 0.8
    from cytobench.features.store import FeatureStore

    table = load_task(
        read_card(TaskCard, own / "tasks" / "slides.toml"), data_dirs=[], home=home
    ).table.filter(pl.col("slide") == SLIDES[3])
    space = FeatureStore(home / "features").space(outcome.result.space_id or "")
    from cytobench.cards import View
    from cytobench.digests import FileDigests
    from cytobench.features.items import items_of

    items = items_of(table, View(kind="precomputed"), FileDigests(home))
    expected, coords = tiles(SLIDES[3], 6, 2)
    at = {f"{SLIDES[3]}#{int(x * 0.5)},{int(y * 0.5)}": row for row, (x, y) in enumerate(coords.tolist())}
    order = [at[sample] for sample in table["sample"]]
    np.testing.assert_array_equal(space.load(items.ids), expected[order].astype(np.float16))


def test_tensors_of_older_tools_are_read_row_by_row(own: Path, home: Path) -> None:
    tensors(own / "pt_files", dim=4)
    _add(own, "resnet", "pt_files", 4)
    (own / "tasks" / "slides.toml").write_text(task_card("pt_files"))
    old = own / "pt_files" / f"{SLIDES[0]}.pt"
    held = torch.load(old, weights_only=True)
    torch.save(held, old, _use_new_zipfile_serialization=False)
    (outcome,) = _run(own, home, "resnet")
    assert outcome.result is not None, outcome.reason
    assert "rows without coordinates and lacks 4 of the task's places: 0/4" in _reason(
        _run(own, home, "resnet", task=_shorter(own))
    )


def _shorter(own: Path) -> str:
    """A task over the same slides that lack a row each."""
    shutil.copytree(own / "pt_files", own / "fewer")
    for path in (own / "fewer").glob("*.pt"):
        torch.save(torch.load(path, weights_only=True)[1:], path)
    (own / "tasks" / "fewer.toml").write_text(task_card("fewer", "fewer"))
    return "fewer"


def test_a_pickle_that_runs_code_is_refused(own: Path, home: Path) -> None:
    tensors(own / "pt_files", dim=4)
    torch.save({"model": BackboneCard}, own / "pt_files" / f"{SLIDES[0]}.pt")
    (own / "tasks" / "slides.toml").write_text(task_card("pt_files"))
    with pytest.raises(DataError, match="cannot be read as a tensor"):
        load_task(read_card(TaskCard, own / "tasks" / "slides.toml"), data_dirs=[], home=home)


def test_other_coordinates_are_said_of_every_slide(own: Path, home: Path) -> None:
    for slide in SLIDES[:2]:
        with h5py.File(own / "features_phikon" / f"{slide}.h5", "r+") as file:
            file["coords"][0] = (7, 7)
    (own / "features_phikon" / f"{SLIDES[5]}.h5").unlink()
    reason = _reason(_run(own, home, "phikon-h5"))
    assert "no features of 1 slide: case05.B" in reason
    assert "slide case00.A has 5 tiles and lacks 1 of the task's places: 0,0" in reason
    assert "slide case01.B" in reason
    assert "the same coordinates" in reason


def test_mixed_widths_and_numbers_that_are_not_finite_are_said_at_once(own: Path, home: Path) -> None:
    with h5py.File(own / "features_uni_v1" / f"{SLIDES[1]}.h5", "r+") as file:
        file["features"][2, 3] = np.nan
    with h5py.File(own / "features_uni_v1" / f"{SLIDES[4]}.h5", "r+") as file:
        narrow = file["features"][:, :5]
        del file["features"]
        file["features"] = narrow
    reason = _reason(_run(own, home, "uni-h5"))
    assert "slide case01.B has 1 row that is not finite" in reason
    assert "slide case04.A has features of width 5, not the card's 8" in reason


def test_slides_without_labels_and_labels_without_slides_are_said_at_once(own: Path, home: Path) -> None:
    labels(own / "slides.csv", slides=SLIDES[2:])
    (own / "features_uni_v1" / f"{SLIDES[7]}.h5").unlink()
    with h5py.File(own / "features_uni_v1" / f"{SLIDES[3]}.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((0, 8), np.float32), np.zeros((0, 2), int)
    with h5py.File(own / "features_uni_v1" / f"{SLIDES[9]}.h5", "w") as file:
        file["embeddings"] = np.zeros((3, 8))
    card = own / "tasks" / "slides.toml"
    with pytest.raises(DataError) as caught:
        load_task(read_card(TaskCard, card), data_dirs=[], home=home)
    said = str(caught.value)
    assert "2 slides have features and no label: case00.A, case01.B" in said
    assert "1 slide has a label and no features: case07.B.svs" in said
    assert "1 slide without rows, which would be an empty bag: case03.B" in said
    assert "holds embeddings, but no 'features'" in said
    assert "incomplete = true" in said


def test_slides_may_be_left_out_when_the_card_says_so(own: Path, home: Path) -> None:
    labels(own / "slides.csv", slides=SLIDES[2:])
    card = own / "tasks" / "slides.toml"
    card.write_text(task_card("features_uni_v1") + "options = { incomplete = true }\n")
    data = load_task(read_card(TaskCard, card), data_dirs=[], home=home)
    assert set(data.table["bag"]) == set(SLIDES[2:])
    assert any("2 slides have features and no label" in sentence for sentence in data.warnings)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.update(features=np.zeros(8)), "one vector of the whole slide"),
        (lambda file: file.update(features=np.zeros((5, 8), int)), "not features"),
        (lambda file: file.update(features=np.zeros((4, 8))), "4 features and coordinates of shape [5, 2]"),
    ],
)
def test_other_layouts_are_told_apart(own: Path, home: Path, spoil, said: str) -> None:
    with h5py.File(own / "features_uni_v1" / f"{SLIDES[0]}.h5", "r+") as file:
        del file["features"]
        held = dict.fromkeys(())
        spoil(held)
        file["features"] = held["features"]
    with pytest.raises(DataError) as caught:
        load_task(read_card(TaskCard, own / "tasks" / "slides.toml"), data_dirs=[], home=home)
    assert said in str(caught.value)


def test_a_half_written_file_is_named(own: Path, home: Path) -> None:
    path = own / "features_uni_v1" / f"{SLIDES[0]}.h5"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"case00\.A\.h5 cannot be read as H5"):
        load_task(read_card(TaskCard, own / "tasks" / "slides.toml"), data_dirs=[], home=home)


def test_without_h5py_one_sentence_says_what_to_install(
    own: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match="needs h5py: pip install"):
        load_task(read_card(TaskCard, own / "tasks" / "slides.toml"), data_dirs=[], home=home)


def test_images_and_precomputed_features_do_not_mix(own: Path, home: Path) -> None:
    from tests.evaluation.toy_benchmark import backbone, bag_task, write_cells

    write_cells(own)
    colour = backbone("colour")
    features = read_card(BackboneCard, own / "backbones" / "uni-h5.toml")
    slides = read_card(TaskCard, own / "tasks" / "slides.toml")
    request = RunRequest(
        tasks=[slides, bag_task(own)],
        backbones=[colour, features],
        home=home,
        probes=["mean-linear"],
        tuned=(False,),
        workers=1,
    )
    found = {(one.task, one.backbone): one for one in benchmark(request)}
    assert found["slides", "uni-h5"].result is not None
    assert found["toy-bags", "colour"].result is not None
    assert "no images" in found["slides", "colour"].reason
    assert "precomputed" in found["toy-bags", "uni-h5"].reason


def test_dilution_works_and_images_are_not_stressed(own: Path, home: Path) -> None:
    from cytobench.evaluation.extras import extras
    from cytobench.progress import SilentReporter

    request = RunRequest(
        tasks=[read_card(TaskCard, own / "tasks" / "slides.toml")],
        backbones=[read_card(BackboneCard, own / "backbones" / "uni-h5.toml")],
        home=home,
        probes=["mean-linear"],
        tuned=(False,),
    )
    results = [one.result for one in benchmark(request) if one.result]
    found = extras(request, results, SilentReporter(), stress=True, shots=(), shot_seeds=1)
    assert found.problems == ("slides: its features came ready-made, so no image can be changed.",)
    assert set(found.stress["kind"]) == {"none"}


def test_cards_that_make_no_sense_are_refused(own: Path) -> None:
    card = own / "tasks" / "slides.toml"
    card.write_text(task_card("features_uni_v1").replace(', labels = "../slides.csv"', ""))
    with pytest.raises(CardError, match='needs labels = "<table of the slides>"'):
        read_card(TaskCard, card)
    card.write_text(task_card("features_uni_v1") + 'unit = "cell"\n')
    with pytest.raises(CardError):
        read_card(TaskCard, card)


def test_pictures_are_refused_with_their_reason(own: Path) -> None:
    from cytobench.pictures.licence import refuse_hidden

    with pytest.raises(CytoBenchError, match="no pictures to show"):
        refuse_hidden([read_card(TaskCard, own / "tasks" / "slides.toml")])


def test_look_alikes_of_features_without_pictures_are_refused(cytobench, own: Path) -> None:
    ran = cytobench("search", f"{SLIDES[0]}#0,0", "-b", "uni-h5", "-d", "slides", "--plugin", own)
    assert ran.code == 2
    assert "no pictures to show" in ran.err


def test_the_command_line_runs_such_a_task(cytobench, own: Path) -> None:
    ran = cytobench(
        *("run", "--plugin", own, "-t", "slides", "-b", "uni-h5", "-b", "phikon-h5", "-p", "mean-linear")
    )
    assert ran.code == 0, ran.err
    assert "uni-h5" in ran.out
    assert "phikon-h5" in ran.out


def test_the_memory_of_digests_may_be_damaged(own: Path, home: Path) -> None:
    (first,) = _run(own, home, "uni-h5")
    memory = home / "digests" / "slide-contents.json"
    assert len(json.loads(memory.read_text())) == len(SLIDES)
    memory.write_text("{half")
    (again,) = _run(own, home, "uni-h5")
    assert first.result is not None
    assert again.status == "cached"


def test_check_reads_features_and_asks_for_no_pictures(own: Path, home: Path) -> None:
    task = read_card(TaskCard, own / "tasks" / "slides.toml")
    found = check_task(task, data_dirs=[], home=home, reporter=SilentReporter())
    assert not failed(found)
    assert {"pictures", "leakage of groups", "expected noise"} <= {one.question for one in found}
    assert not failed(check_backbone(read_card(BackboneCard, own / "backbones" / "uni-h5.toml"), home=home))


def test_check_names_every_slide_that_is_wrong(own: Path, home: Path) -> None:
    folder = own / "features_uni_v1"
    (folder / f"{SLIDES[0]}.h5").write_bytes(b"half a file")
    for slide, width, value in ((SLIDES[1], 7, 0.0), (SLIDES[2], 8, np.nan)):
        with h5py.File(folder / f"{slide}.h5", "r+") as file:
            rows = len(file["features"])
            del file["features"]
            file["features"] = np.full((rows, width), value, np.float32)
    found = check_backbone(read_card(BackboneCard, own / "backbones" / "uni-h5.toml"), home=home)
    wrong = {one.question: " ".join(one.cases) for one in found if one.mark == "fail"}
    assert SLIDES[0] in wrong["features"]
    assert f"{SLIDES[1]}: 7" in wrong["output dimension"]
    assert SLIDES[2] in wrong["finite"]


def test_audit_refuses_a_task_without_pictures(own: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="no pictures to show"):
        audit(Request(read_card(TaskCard, own / "tasks" / "slides.toml"), home), SilentReporter())
