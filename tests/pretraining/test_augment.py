"""Crops made as matrix products and colours changed in batches equal torchvision's, image by image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from cytobench.pretraining import colour
from cytobench.pretraining.augment import make_crops
from cytobench.pretraining.draws import Augmentation, CropKind, Draws, MultiCrop, draw, kinds_of
from cytobench.pretraining.resample import crop_matrix, resample

PLAIN = Augmentation(
    turns="horizontal",
    colour_p=0.0,
    grey_p=0.0,
    stain="none",
    blur_p=(0.0, 0.0, 0.0),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
KIND = CropKind(2, 20, (0.1, 1.0), (3 / 4, 4 / 3), (0.0, 0.0), (0.0, 0.0))


def pictures(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, side, side, 3), generator=generator, dtype=torch.uint8)


def as_float(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("size", [7, 24, 64, 224])
def test_a_crop_by_matrices_is_torchvisions_antialiased_bicubic_crop(size: int) -> None:
    images = as_float(pictures(12, 96))
    rng = np.random.default_rng(size)
    height, width = rng.integers(1, 97, (2, 12))
    top, left = (np.floor(rng.random(12) * (96 - extent + 1)).astype(int) for extent in (height, width))
    stay = torch.zeros(12, dtype=torch.bool)
    rows = crop_matrix(torch.tensor(top), torch.tensor(height), source=96, size=size, flip=stay)
    columns = crop_matrix(torch.tensor(left), torch.tensor(width), source=96, size=size, flip=stay)
    made = resample(images.permute(0, 2, 3, 1), rows, columns)
    for i in range(12):
        box = [int(part[i]) for part in (top, left, height, width)]
        wanted = tv.resized_crop(images[i], *box, [size, size], InterpolationMode.BICUBIC, antialias=True)
        torch.testing.assert_close(made[i], wanted.clamp(0, 1), rtol=0, atol=1e-5)


def test_flips_and_quarter_turns_are_all_eight_and_change_nothing_else() -> None:
    images = pictures(1, 20)
    whole = np.array([20])
    zero = np.array([0])
    seen = set()
    for code in range(8):
        flags = [np.array([bool(code & bit)]) for bit in (1, 2, 4)]
        base = draw(KIND, PLAIN, 1, 20, np.random.default_rng(0)).images(slice(0, 1), 2)
        one = Draws(
            **{name: getattr(base, name)[:1] for name in Draws.__dataclass_fields__}
            | {"top": zero, "left": zero, "height": whole, "width": whole}
            | dict(zip(("mirror_rows", "mirror_columns", "transpose"), flags, strict=True))
        )
        made = make_crops(images, one, replace(KIND, count=1), PLAIN)[0]
        wanted = as_float(images)[0]
        wanted = wanted.flip(-2) if code & 1 else wanted
        wanted = wanted.flip(-1) if code & 2 else wanted
        wanted = wanted.transpose(-1, -2) if code & 4 else wanted
        torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)
        seen.add(made.numpy().round(3).tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (colour.brighten, tv.adjust_brightness),
        (colour.contrast, tv.adjust_contrast),
        (colour.saturate, tv.adjust_saturation),
        (lambda x, f: colour.turn_hue(x, f - 1), lambda x, f: tv.adjust_hue(x, f - 1)),
    ],
    ids=["brightness", "contrast", "saturation", "hue"],
)
def test_colour_changes_are_torchvisions(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    images = as_float(pictures(6, 16))
    images[0] = 0.5  # grey: no hue of its own
    factors = torch.tensor([0.6, 0.85, 1.0, 1.1, 1.3, 1.45])
    made = ours(images, factors)
    for i, factor in enumerate(factors):
        torch.testing.assert_close(made[i], theirs(images[i], float(factor)), rtol=0, atol=1e-5)


def test_blur_is_a_gaussian_mirrored_at_the_borders() -> None:
    images = as_float(pictures(3, 48))
    sigma = torch.tensor([0.3, 1.0, 2.0])
    made = colour.blur(images, sigma)
    for i, one in enumerate(sigma):
        wanted = tv.gaussian_blur(images[i], [41, 41], [float(one)] * 2)
        torch.testing.assert_close(made[i], wanted, rtol=0, atol=1e-5)


def test_stain_jitter_scales_densities_and_neutral_draws_change_nothing() -> None:
    images = as_float(pictures(4, 8))
    one, none = torch.ones(4, 3), torch.zeros(4, 3)
    for stains in ("od", "hed"):
        same = colour.jitter_stain(images, one, none, stains=stains)
        torch.testing.assert_close(same, images, rtol=0, atol=2e-5)
    double = colour.jitter_stain(images, 2 * one, none, stains="od")
    density = -torch.log((images * 255 + 1) / 256)
    wanted = ((torch.exp(-2 * density) * 256 - 1) / 255).clamp(0, 1)
    torch.testing.assert_close(double, wanted, rtol=0, atol=1e-6)


def test_hed_jitter_moves_one_stain_alone() -> None:
    """A pixel of pure haematoxylin keeps its colour's direction in density when eosin is scaled."""
    mix = torch.tensor(colour._HED, dtype=torch.float32)
    density = 0.8 * mix[0] / mix[0].norm()
    pixel = ((torch.exp(-density) * 256 - 1) / 255).view(1, 3, 1, 1)
    eosin = torch.tensor([[1.0, 1.7, 1.0]])
    same = colour.jitter_stain(pixel, eosin, torch.zeros(1, 3), stains="hed")
    torch.testing.assert_close(same, pixel, rtol=0, atol=1e-5)
    haematoxylin = torch.tensor([[1.7, 1.0, 1.0]])
    darker = colour.jitter_stain(pixel, haematoxylin, torch.zeros(1, 3), stains="hed")
    assert (darker < pixel).all()


def test_each_image_has_its_own_draw_and_order() -> None:
    """A batch equals its images made one by one, whatever the others drew."""
    change = Augmentation(hue=0.1, blur_p=(0.5, 0.5, 0.5), solarise_p=(0.5, 0.5, 0.5), grey_p=0.3)
    crops = MultiCrop(global_size=24, local_size=16, local_count=3)
    images = pictures(5, 32)
    for kind in kinds_of(crops, change):
        draws = draw(kind, change, 5, 32, np.random.default_rng(1))
        together = make_crops(images, draws, kind, change)
        for i in range(5):
            alone = make_crops(images[i : i + 1], draws.images(slice(i, i + 1), kind.count), kind, change)
            torch.testing.assert_close(together[i::5], alone, rtol=1e-5, atol=1e-5)


def torchvisions_mean_area(kind: CropKind) -> float:
    torch.manual_seed(0)
    crop = RandomResizedCrop(8, kind.scale, kind.aspect)
    boxes = [crop.make_params([torch.zeros(3, 256, 256)]) for _ in range(3000)]
    return float(np.mean([box["height"] * box["width"] for box in boxes])) / 256**2


def test_draws_have_the_shares_and_ranges_they_promise() -> None:
    """Blur above all, whose probability is inverted in well-known code."""
    change = Augmentation(blur_p=(1.0, 0.1, 0.5), solarise_p=(0.0, 0.2, 0.0), colour_p=0.8, grey_p=0.2)
    kinds = kinds_of(MultiCrop(local_count=4), change)
    images = 4000
    draws = [draw(kind, change, images, 256, np.random.default_rng(2)) for kind in kinds]
    shares = draws[0].blurred.reshape(2, images).mean(axis=1)
    assert shares[0] == 1.0
    assert shares[1] == pytest.approx(0.1, abs=0.02)
    assert draws[1].blurred.mean() == pytest.approx(0.5, abs=0.02)
    assert draws[0].solarised.reshape(2, images).mean(axis=1) == pytest.approx([0, 0.2], abs=0.02)
    assert draws[0].coloured.mean() == pytest.approx(0.8, abs=0.02)
    assert draws[0].greyed.mean() == pytest.approx(0.2, abs=0.02)
    for kind, made in zip(kinds, draws, strict=True):
        area = made.height * made.width / 256**2
        assert kind.scale[0] * 0.98 <= area.min()
        assert area.max() <= 1.0
        assert area.mean() == pytest.approx(torchvisions_mean_area(kind), abs=0.02)
        assert (made.top + made.height <= 256).all()
        assert (made.left + made.width <= 256).all()
    sigma = draws[1].sigma * 224 / 96
    assert sigma.min() >= 0.1
    assert sigma.max() <= 1.5
    assert draws[0].order[:, 0].tolist().count(3) == pytest.approx(images / 2, rel=0.1)


def test_published_augmentation_normalises_as_imagenet() -> None:
    change = replace(PLAIN, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    images = pictures(1, 20)
    draws = draw(
        replace(KIND, count=1, scale=(1.0, 1.0), aspect=(1.0, 1.0)), change, 1, 20, np.random.default_rng(0)
    )
    made = make_crops(images, draws, replace(KIND, count=1), change)
    plain = make_crops(images, draws, replace(KIND, count=1), PLAIN)
    wanted = tv.normalize(plain, list(change.mean), list(change.std))
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)
