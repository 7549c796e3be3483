"""On the real sets the audit finds, by name, what their READMEs say is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cytobench.audit.examine import Request, audit
from cytobench.audit.issue import Audit
from cytobench.cards import TaskCard
from cytobench.checks.task import check_task
from cytobench.progress import SilentReporter
from cytobench.registry import Registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load([])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all tests of this module, so that imprints are computed once."""
    return tmp_path_factory.mktemp("home")


def audited(card: TaskCard, data: Path, home: Path, *pools: str) -> Audit:
    return audit(Request(card, home, [data], pools=pools), SilentReporter())


def fields(found: Audit) -> set[tuple[int, ...]]:
    pairs = [
        issue
        for kind in ("fields-within-fold", "fields-across-folds", "fields-sealed")
        for issue in found.of_kind(kind)
    ]
    return {
        tuple(sorted(int(re.findall(r"\d+", member.name)[-1]) for member in issue.members)) for issue in pairs
    }


def test_chula_repeats_fields(registry: Registry, shared_data: Path, kept: Path) -> None:
    found = audited(registry.task("rbc-type-chula"), shared_data, kept)
    near = {(267 + n, 273 + n) for n in range(6)} | {(233, 234), (243, 244), (251, 252), (262, 263)}
    assert fields(found) >= near
    remarks = " ".join(found.remarks)  # the reader leaves these four out, and says so
    assert all(pair in remarks for pair in ("54 (as 52)", "249 (as 248)", "298 (as 296)", "299 (as 297)"))
    assert not found.of_kind("copies-across-folds")  # blocks of ids keep every pair together
    contradicting = [{one.name for one in issue.members} for issue in found.of_kind("contradicting-labels")]
    assert {"Dataset/268.jpg#12", "Dataset/274.jpg#3"} in contradicting
    assert {"Dataset/270.jpg#2", "Dataset/276.jpg#65"} in contradicting


def test_chula_by_single_fields_would_leak(registry: Registry, shared_data: Path, kept: Path) -> None:
    card = registry.task("rbc-type-chula")
    torn = card.model_copy(update={"group": "image", "split": card.split.model_copy(update={"seed": 3})})
    found = audited(torn, shared_data, kept)
    assert found.failed
    assert found.of_kind("copies-across-folds") or found.of_kind("fields-across-folds")


def test_bccd_has_boxes_without_area_and_overlapping_fields(
    registry: Registry, shared_data: Path, kept: Path
) -> None:
    found = audited(registry.task("bccd-cell-type"), shared_data, kept)
    remarks = " ".join(found.remarks)
    assert all(one in remarks for one in ("BloodImage_00338", "504,337", "BloodImage_00343", "181,329"))
    across = [
        sorted(one.name.rpartition("/")[2] for one in i.members) for i in found.of_kind("copies-across-folds")
    ]
    # Not in the README: these two fields, one trained on and one tested, overlap.
    assert ["BloodImage_00386.jpg#11", "BloodImage_00391.jpg#12"] in across
    assert {(386, 391), (227, 260)} <= fields(found)


def test_some_unlabelled_blood_cells_are_labelled_ones_elsewhere_in_the_picture(
    registry: Registry, shared_data: Path, kept: Path
) -> None:
    found = audited(registry.task("cell-type-pbc"), shared_data, kept, "pbc-unlabelled")
    pairs = {
        (issue.members[0].name.rpartition("/")[2], issue.members[1].name): issue.says
        for issue in found.of_kind("pool-copies")
    }
    assert "shifted" in pairs["MO_257537.jpg", "pbc-unlabelled: 002583.jpg"]
    assert any("same smears" in line for line in found.remarks)
    assert any("colour alone" in line for line in found.remarks)


def test_herlev_is_told_from_sizes(registry: Registry, shared_data: Path, kept: Path) -> None:
    found = check_task(
        registry.task("herlev-7"), data_dirs=[shared_data], home=kept, reporter=SilentReporter()
    )
    told = {one.question: one for one in found}
    assert told["label from image size"].mark == "warn"
    assert told["label from colour"].mark == "warn"
    assert not audited(registry.task("herlev-7"), shared_data, kept).of_kind("copies-across-folds")


def test_smoother_abnormal_smears_are_a_confound(registry: Registry, shared_data: Path, kept: Path) -> None:
    abnormal = registry.task("cervix-lbc-abnormal")
    card = abnormal.model_copy(update={"classes": None, "exclude": (), "name": "cervix-lbc-all"})
    found = check_task(card, data_dirs=[shared_data], home=kept, reporter=SilentReporter())
    told = {one.question: one for one in found}
    assert told["label from sharpness"].mark == "warn"


def test_one_oral_patch_was_saved_twice(registry: Registry, shared_data: Path, kept: Path) -> None:
    found = audited(registry.task("oral-patch-ds1"), shared_data, kept)
    # The reader leaves the second one out, and says so.
    assert any("ds1_oldsmear/slide06" in line and "another one" in line for line in found.remarks)
    assert "the same ten glasses" in registry.task("oral-patch-ds1").known_confounds.replace("\n", " ")


def test_oral_patches_out_of_focus_are_shown(registry: Registry, shared_data: Path, kept: Path) -> None:
    found = audited(registry.task("oral-patch-ds2"), shared_data, kept)
    blurred = found.of_kind("blurred")
    assert 1 <= len(blurred) <= 20
    assert any("slide12" in issue.members[0].name for issue in blurred)


def test_malaria_cells_are_clean(registry: Registry, shared_data: Path, kept: Path) -> None:
    found = audited(registry.task("malaria-patients"), shared_data, kept)
    assert not found.failed
    assert not found.of_kind("blurred")
