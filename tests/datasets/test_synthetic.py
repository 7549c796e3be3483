"""The synthetic cells: reproducible, written all or nothing, and without a label in their colours."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cytobench import manifest
from cytobench.datasets import synthetic
from cytobench.datasets.synthetic import plan, workers
from cytobench.encoders.handcrafted import colour, morphology
from cytobench.errors import DataError

Describe = Callable[[np.ndarray], np.ndarray]

SLIDES = plan.slides()
CELL_SLIDES = [slide for slide in SLIDES if slide.part == "cell-type"]
BREAST_SLIDES = [slide for slide in SLIDES if slide.part == "breast-fna"]


def drawn(slide: plan.Slide, most: int | None = None) -> list[np.ndarray]:
    look = slide.look
    return [plan.render(plan.Picture(slide, i, kind), look) for i, kind in enumerate(slide.kinds[:most])]


def held_out_accuracy(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, features, labels, groups=groups, cv=folds)
    return float(balanced_accuracy_score(labels, predicted))


def bag_scores(describe: Describe, most: int | None) -> tuple[float, float]:
    """Balanced accuracy and AUROC of mean-pooled features, averaged over eight ways to cut folds."""
    pooled = np.array([np.mean([describe(p) for p in drawn(s, most)], axis=0) for s in BREAST_SLIDES])
    labels = np.array([slide.label == "malignant" for slide in BREAST_SLIDES])
    patients = np.array([slide.patient for slide in BREAST_SLIDES])
    scores = []
    for seed in range(8):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        score = cross_val_predict(
            model, pooled, labels, groups=patients, cv=folds, method="decision_function"
        )
        scores.append((balanced_accuracy_score(labels, score > 0), roc_auc_score(labels, score)))
    accuracy, auroc = np.mean(scores, axis=0)
    return float(accuracy), float(auroc)


@pytest.fixture
def two_slides(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[plan.Slide]]:
    """A set of two slides, drawn in this process."""
    few = [CELL_SLIDES[0], BREAST_SLIDES[0]]
    monkeypatch.setattr(plan, "slides", lambda: tuple(few))
    monkeypatch.setattr(workers, "_cores", lambda: 1)
    return few


# --- the plan ---------------------------------------------------------------------------------------------


def test_every_slide_holds_every_cell_type_equally_often() -> None:
    assert len(CELL_SLIDES) == 20
    assert 900 <= sum(len(slide.kinds) for slide in CELL_SLIDES) <= 1100
    for slide in CELL_SLIDES:
        kinds, counts = np.unique(slide.kinds, return_counts=True)
        assert len(kinds) >= 5
        assert len(set(counts)) == 1


def test_bags_hold_the_share_of_malignant_cells_their_label_says() -> None:
    shares = {s.name: np.mean(np.array(s.kinds) == "malignant-duct") for s in BREAST_SLIDES}
    malignant = [shares[s.name] for s in BREAST_SLIDES if s.label == "malignant"]
    assert {shares[s.name] for s in BREAST_SLIDES if s.label == "benign"} == {0.0}
    assert 0.0 < min(malignant) < 0.08
    assert 0.5 < max(malignant) <= 0.6
    assert all(20 <= len(s.kinds) <= 60 for s in BREAST_SLIDES)
    sizes = {label: sorted(len(s.kinds) for s in BREAST_SLIDES if s.label == label) for label in _labels()}
    assert sizes["benign"] == sizes["malignant"]


def _labels() -> set[str | None]:
    return {slide.label for slide in BREAST_SLIDES}


def test_a_patient_has_one_label_and_at_most_two_slides() -> None:
    patients = {slide.patient for slide in BREAST_SLIDES}
    for patient in patients:
        own = [slide for slide in BREAST_SLIDES if slide.patient == patient]
        assert len({slide.label for slide in own}) == 1
        assert len(own) <= 2


# --- the pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slide", "index", "kind", "mean", "sd"),
    [
        (0, 0, "segmented", (172.0, 157.44, 173.41), (56.73, 58.34, 47.29)),
        (7, 3, "columnar", (169.3, 166.89, 203.23), (65.0, 69.06, 31.73)),
        (20, 1, "small-lymphocyte", (193.37, 166.96, 196.71), (58.97, 62.57, 40.38)),
        (40, 5, "bipolar", (186.59, 167.54, 197.76), (54.26, 65.67, 36.7)),
    ],
)
def test_pictures_of_this_version_stay_as_they_are(
    slide: int, index: int, kind: str, mean: tuple[float, ...], sd: tuple[float, ...]
) -> None:
    picture = plan.Picture(SLIDES[slide], index, SLIDES[slide].kinds[index])
    pixels = plan.render(picture, SLIDES[slide].look).reshape(-1, 3)
    assert picture.kind == kind
    np.testing.assert_allclose(pixels.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(pixels.std(axis=0), sd, atol=0.1)


def test_another_process_draws_the_same_pixels(tmp_path: Path) -> None:
    slide = SLIDES[-1]
    command = [sys.executable, "-m", workers.__name__, str(tmp_path), str(len(SLIDES) - 1), str(len(SLIDES))]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert told.stdout.split() == [str(len(slide.kinds))]
    for index, expected in enumerate(drawn(slide, 4)):
        with Image.open(tmp_path / plan.Picture(slide, index, "").sample) as stored:
            np.testing.assert_array_equal(np.asarray(stored), expected)


# --- on disk ----------------------------------------------------------------------------------------------


def test_generated_set_reads_as_a_sound_manifest(tmp_path: Path, two_slides: list[plan.Slide]) -> None:
    root = synthetic.generate(tmp_path / "synthetic-v1")
    for slide, part in zip(two_slides, ("cell-type", "breast-fna"), strict=True):
        table = synthetic.read(root, part)
        manifest.check(table)
        assert len(table) == len(slide.kinds)
        assert set(table["slide"]) == {slide.name}
    assert set(table["instance_label"]) <= {"benign", "malignant"}
    assert set(table["bag"]) == {two_slides[1].name}


def test_generating_twice_draws_once(tmp_path: Path, two_slides: list[plan.Slide]) -> None:
    root = synthetic.generate(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    synthetic.generate(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="in the way"):
        synthetic.generate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failing_disk_leaves_nothing_behind(
    tmp_path: Path, two_slides: list[plan.Slide], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DataError, match="No space left on device"):
        synthetic.generate(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="generate"):
        synthetic.read(tmp_path)
    with pytest.raises(DataError, match=r"cell-type"):
        synthetic.read(tmp_path, "cell-types")


_ONE_SLIDE = """
    import sys
    from pathlib import Path
    from cytobench.datasets import synthetic
    from cytobench.datasets.synthetic import plan, workers
    few = plan.slides()[-1:]
    plan.slides = lambda: few
    workers._cores = lambda: 1
    synthetic.generate(Path(sys.argv[1]))
"""


def test_processes_that_generate_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    root = tmp_path / "set"
    command = [sys.executable, "-c", textwrap.dedent(_ONE_SLIDE), str(root)]
    racing = [subprocess.Popen(command, cwd=Path.cwd()) for _ in range(3)]
    assert [process.wait() for process in racing] == [0, 0, 0]
    table = synthetic.read(root, "breast-fna")
    manifest.check(table)
    assert len(table) == sum(len(slide.kinds) for slide in SLIDES[-1:])
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_killed_run_leaves_nothing_that_counts_and_no_process(tmp_path: Path) -> None:
    root = tmp_path / "set"
    script = (
        "from cytobench.datasets.synthetic import generate, workers\n"
        "from pathlib import Path\nimport sys\n"
        "workers._cores = lambda: 2\n"
        "generate(Path(sys.argv[1]))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(root)], cwd=Path.cwd())
    _wait_until(lambda: any(tmp_path.rglob("*.png")))
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) == 2
    parent.kill()
    parent.wait()
    assert not root.exists()
    _wait_until(lambda: not any(_alive(child) for child in children))


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


# --- colour carries no label, morphology does ---------------------------------------------------------------


@pytest.fixture(scope="module")
def half_the_cells() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Pictures, labels and slides of every other cell-type slide."""
    chosen = CELL_SLIDES[::2]
    pictures = [picture for slide in chosen for picture in drawn(slide)]
    labels = np.array([kind for slide in chosen for kind in slide.kinds])
    slides = np.repeat([slide.name for slide in chosen], len(chosen[0].kinds))
    return pictures, labels, slides


def test_colour_does_not_tell_the_cell_type_but_morphology_does(
    half_the_cells: tuple[list[np.ndarray], np.ndarray, np.ndarray],
) -> None:
    pictures, labels, slides = half_the_cells
    chance = 1.0 / len(set(labels))
    coloured = np.stack([colour.describe(picture) for picture in pictures])
    shaped = np.stack([morphology.describe(picture) for picture in pictures])
    assert abs(held_out_accuracy(coloured, labels, slides) - chance) < 0.10
    assert held_out_accuracy(shaped, labels, slides) > 0.80


def test_nuclei_cover_the_same_share_and_pictures_have_the_same_mean_in_every_class(
    half_the_cells: tuple[list[np.ndarray], np.ndarray, np.ndarray],
) -> None:
    pictures, labels, slides = half_the_cells
    red = np.stack([picture[..., 0].ravel() for picture in pictures]).astype(np.float64)
    dark = (red < 120.0).mean(axis=1)
    for measured in (dark, red.mean(axis=1)):
        means = np.array(
            [[measured[(slides == s) & (labels == k)].mean() for s in set(slides)] for k in set(labels)]
        )
        between_classes = np.ptp(means.mean(axis=1))
        between_slides = np.ptp(means.mean(axis=0))
        assert between_classes < 0.25 * between_slides


def test_colour_does_not_tell_malignant_bags() -> None:
    accuracy, _ = bag_scores(colour.describe, most=10)
    assert abs(accuracy - 0.5) < 0.10


@pytest.mark.slow
def test_the_whole_set_keeps_its_promises(tmp_path: Path) -> None:
    root = synthetic.generate(tmp_path / "set")
    table = synthetic.read(root)
    assert len(synthetic.read(root, "breast-fna")) == sum(len(slide.kinds) for slide in BREAST_SLIDES)
    pictures = [np.asarray(Image.open(path)) for path in table["image"]]
    labels, slides = table["label"].to_numpy(), table["slide"].to_numpy()
    coloured = np.stack([colour.describe(picture) for picture in pictures])
    shaped = np.stack([morphology.describe(picture) for picture in pictures])
    assert abs(held_out_accuracy(coloured, labels, slides) - 1.0 / 7.0) < 0.05
    assert held_out_accuracy(shaped, labels, slides) > 0.85
    accuracy, auroc = bag_scores(colour.describe, most=None)
    assert abs(accuracy - 0.5) < 0.10
    assert abs(auroc - 0.5) < 0.10
    assert bag_scores(morphology.describe, most=None)[1] > 0.60


# --- contact sheets ---------------------------------------------------------------------------------------


def test_contact_sheet_shows_a_row_of_cells_for_every_class(
    tmp_path: Path, two_slides: list[plan.Slide]
) -> None:
    table = synthetic.read(synthetic.generate(tmp_path / "set"))
    few, all_classes = (
        Image.open(synthetic.classes_sheet(chosen, tmp_path / name, columns=4, side=48))
        for chosen, name in ((table.filter(table["label"] == "lymphoid"), "one.png"), (table, "all.png"))
    )
    assert all_classes.width == few.width > 4 * 48
    assert all_classes.height > 6 * few.height
    assert np.asarray(few).std() > 10.0
