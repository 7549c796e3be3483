"""Handcrafted descriptors: they measure what their names say, on any crop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cytobench.card_files import read_card
from cytobench.cards import BackboneCard
from cytobench.encoders.handcrafted import colour, morphology

CARDS = Path(__file__).resolve().parents[2] / "backbones"
SIDE = 128

Ellipse = tuple[float, float, float, float]


def drawn_cell(cell: Ellipse, *nuclei: Ellipse, side: int = SIDE) -> np.ndarray:
    """A pale cell with dark nuclei on white; an ellipse is (centre x, centre y, semi-axes), px."""
    picture = np.full((side, side, 3), (240, 238, 242), dtype=np.uint8)
    y, x = np.mgrid[:side, :side]
    for (cx, cy, a, b), shade in [(cell, (190, 160, 205)), *((nucleus, (80, 60, 140)) for nucleus in nuclei)]:
        picture[((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1.0] = shade
    noise = np.random.default_rng(0).integers(-3, 4, picture.shape)
    return (picture + noise).astype(np.uint8)


def measured(picture: np.ndarray) -> dict[str, float]:
    return dict(zip(morphology.FEATURE_NAMES, morphology.describe(picture).tolist(), strict=True))


def odd_crops() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (97, 61, 3), dtype=np.uint8)
    grey = np.repeat(noise[..., :1], 3, axis=2)
    round_cell = drawn_cell((63.5, 63.5, 40, 40), (63.5, 63.5, 18, 18))
    masked = np.where(np.hypot(*(np.mgrid[:50, :50] - 24.5))[..., None] < 22, np.uint8(170), np.uint8(0))
    return {
        "white": np.full((80, 80, 3), 255, dtype=np.uint8),
        "black": np.zeros((80, 80, 3), dtype=np.uint8),
        "mid-grey": np.full((33, 33, 3), 128, dtype=np.uint8),
        "noise": noise,
        "grey noise": grey,
        "one pixel": noise[:1, :1],
        "tiny": round_cell[::4, ::4],
        "strip": noise[:3],
        "large": np.kron(round_cell, np.ones((3, 3, 1), dtype=np.uint8)),
        "black surround": np.repeat(masked, 3, axis=2),
        "reversed view": round_cell[::-1, ::-1],
        "one dark pixel": _with_dark_pixel(),
    }


def _with_dark_pixel() -> np.ndarray:
    picture = np.full((64, 64, 3), 230, dtype=np.uint8)
    picture[32, 32] = 0
    return picture


@pytest.mark.parametrize("module", [colour, morphology], ids=["colour", "morphology"])
@pytest.mark.parametrize("name", odd_crops())
def test_any_crop_is_described_by_finite_numbers(module: ModuleType, name: str) -> None:
    crop = odd_crops()[name]
    before = crop.copy()
    described = module.describe(crop)
    assert described.dtype == np.float32
    assert described.shape == (len(module.FEATURE_NAMES),)
    assert np.isfinite(described).all()
    assert np.abs(described).max() < 1e3
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("module", [colour, morphology], ids=["colour", "morphology"])
def test_threads_describe_like_one_another(module: ModuleType) -> None:
    crops = list(odd_crops().values())
    alone = [module.describe(crop) for crop in crops]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(module.describe, crops * 3))
    for index, described in enumerate(together):
        np.testing.assert_array_equal(described, alone[index % len(crops)])


@pytest.mark.parametrize(
    ("card", "module"),
    [("colour-statistics", colour), ("morphology", morphology)],
    ids=["colour", "morphology"],
)
def test_cards_state_the_number_of_descriptors(card: str, module: ModuleType) -> None:
    read = read_card(BackboneCard, CARDS / f"{card}.toml")
    assert read.dim == len(module.FEATURE_NAMES) == len(set(module.FEATURE_NAMES))
    assert read.standardise


# --- colour -----------------------------------------------------------------------------------------------


def test_colour_statistics_do_not_see_where_a_colour_is() -> None:
    picture = drawn_cell((60, 64, 40, 30), (55, 60, 12, 20))
    shuffled = np.random.default_rng(2).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    np.testing.assert_array_equal(colour.describe(shuffled), colour.describe(picture))


def test_colour_statistics_are_what_their_names_say() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    found = dict(zip(colour.FEATURE_NAMES, colour.describe(picture).tolist(), strict=True))
    green = picture[..., 1] / 255.0
    assert found["green_mean"] == pytest.approx(green.mean(), abs=1e-6)
    assert found["green_sd"] == pytest.approx(green.std(), abs=1e-6)
    assert found["green_q10"] == pytest.approx(np.quantile(green, 0.1), abs=0.005)
    cells = [value**2 for name, value in found.items() if name.startswith("lab_bin")]
    assert sum(cells) == pytest.approx(1.0, abs=1e-5)


# --- morphology -------------------------------------------------------------------------------------------


def test_areas_and_axes_are_measured_relative_to_the_crop() -> None:
    found = measured(drawn_cell((64, 64, 40, 40), (64, 64, 24, 12)))
    assert found["nucleus_found"] == 1.0
    assert found["nucleus_area"] == pytest.approx(np.pi * 24 * 12 / SIDE**2, rel=0.08)
    assert found["nucleus_major_axis"] == pytest.approx(48 / SIDE, rel=0.06)
    assert found["nucleus_minor_axis"] == pytest.approx(24 / SIDE, rel=0.10)
    assert found["nucleus_eccentricity"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.04)
    assert found["cell_area"] == pytest.approx(np.pi * 40**2 / SIDE**2, rel=0.08)
    assert found["nuclear_cytoplasmic_ratio"] == pytest.approx(24 * 12 / 40**2, rel=0.12)


def test_a_larger_nucleus_in_the_same_window_has_a_larger_area() -> None:
    small, large = (measured(drawn_cell((64, 64, 45, 45), (64, 64, r, r))) for r in (10, 20))
    assert large["nucleus_area"] == pytest.approx(4 * small["nucleus_area"], rel=0.1)


def test_the_same_cell_in_twice_the_resolution_measures_the_same() -> None:
    fine = drawn_cell((128, 128, 80, 80), (128, 128, 48, 24), side=256)
    coarse = drawn_cell((64, 64, 40, 40), (64, 64, 24, 12))
    for name in ("nucleus_area", "nucleus_eccentricity", "cell_area", "nucleus_solidity"):
        assert measured(fine)[name] == pytest.approx(measured(coarse)[name], rel=0.08), name


def test_round_nuclei_are_round_and_lobed_ones_are_not() -> None:
    whole = measured(drawn_cell((64, 64, 45, 45), (64, 64, 18, 18)))
    lobed = measured(
        drawn_cell((64, 64, 45, 45), (50, 64, 11, 11), (64, 54, 8, 8), (64, 72, 4, 16), (80, 64, 11, 11))
    )
    assert whole["nucleus_solidity"] > 0.95 > lobed["nucleus_solidity"]
    assert whole["nucleus_form_factor"] > 0.9 > lobed["nucleus_form_factor"]
    assert whole["nucleus_thickness_ratio"] > 0.9 > lobed["nucleus_thickness_ratio"]


def test_nuclei_of_the_cell_and_of_its_neighbours_are_counted_apart() -> None:
    own = [(52, 58, 8, 8), (76, 58, 8, 8), (64, 78, 8, 8)]
    neighbours = [(12, 12, 9, 9), (115, 110, 9, 9)]
    found = measured(drawn_cell((64, 64, 34, 34), *own, *neighbours))
    assert found["nuclear_parts"] == pytest.approx(np.log1p(3), abs=1e-5)
    assert found["neighbouring_nuclei"] == pytest.approx(np.log1p(2), abs=1e-5)


def test_shape_does_not_turn_with_the_crop() -> None:
    picture = drawn_cell((62, 66, 45, 30), (58, 66, 22, 11))
    upright, turned = measured(picture), measured(np.ascontiguousarray(np.rot90(picture)))
    for name in morphology.FEATURE_NAMES:
        if name.startswith(("nucleus_hu", "nucleus_area", "nucleus_solidity", "cell_eccentricity", "ring_0")):
            assert turned[name] == pytest.approx(upright[name], abs=0.03), name


def test_coarse_chromatin_differs_from_smooth_in_its_texture() -> None:
    smooth = drawn_cell((64, 64, 45, 45), (64, 64, 22, 22))
    coarse = smooth.astype(np.int16)
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(x - 64, y - 64) < 20
    coarse[inside & ((x // 4 + y // 4) % 2 == 0)] -= 45
    one, other = measured(smooth), measured(np.clip(coarse, 0, 255).astype(np.uint8))
    assert other["nucleus_texture_sd"] > 3 * one["nucleus_texture_sd"]
    assert (
        other["nucleus_texture_haralick_correlation_1"] > one["nucleus_texture_haralick_correlation_1"] + 0.2
    )


def test_a_blank_crop_says_that_nothing_was_found() -> None:
    found = measured(np.full((90, 90, 3), 235, dtype=np.uint8))
    assert found["nucleus_found"] == found["cytoplasm_found"] == found["nucleus_area"] == 0.0


def test_a_black_surround_is_not_taken_for_a_nucleus() -> None:
    y, x = np.mgrid[:60, :60]
    picture = np.zeros((60, 60, 3), dtype=np.uint8)
    picture[np.hypot(x - 30, y - 30) < 27] = (190, 180, 185)
    picture[np.hypot(x - 34, y - 26) < 5] = (90, 60, 120)
    found = measured(picture)
    assert found["nucleus_area"] == pytest.approx(np.pi * 25 / 3600, rel=0.35)
    assert found["cell_area"] == pytest.approx(np.pi * 27**2 / 3600, rel=0.05)


@pytest.mark.slow
def test_morphology_tells_real_blood_cells_apart(shared_data: Path) -> None:
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folders = sorted((shared_data / "pbc" / "PBC_dataset_normal_DIB").iterdir())
    files = [path for folder in folders for path in sorted(folder.glob("[!.]*.jpg"))[:60]]
    features = np.stack([morphology.describe(np.asarray(Image.open(path))) for path in files])
    labels = [path.parent.name for path in files]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    assert cross_val_score(model, features, labels, cv=5, scoring="balanced_accuracy").mean() > 0.7
