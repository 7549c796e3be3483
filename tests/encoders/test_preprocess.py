"""What a network sees equals, to 1e-4, what its authors' own transform shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg
from tiny_cards import IMAGENET
from torchvision import transforms

from cytobench.cards import Preprocess
from cytobench.encoders.network import Built, NetworkEncoder
from cytobench.encoders.preprocess import make_prepare, prepare_key
from cytobench.errors import DataError, EncoderError
from cytobench.images import decode
from cytobench.registry import Registry

Transform = Callable[[Image.Image], torch.Tensor]


def _timm(tag: str) -> Transform:
    config = resolve_data_config(
        {"input_size": (3, 224, 224)}, pretrained_cfg=get_pretrained_cfg(tag).to_dict()
    )
    return create_transform(**config)


def _torchvision(resize: int, interpolation: transforms.InterpolationMode) -> Transform:
    shape = [transforms.Resize(resize, interpolation), transforms.CenterCrop(224)]
    normalise = transforms.Normalize(IMAGENET["mean"], IMAGENET["std"])
    return transforms.Compose([*shape, transforms.ToTensor(), normalise])


def _open_clip(name: str, **options: Any) -> Transform:
    from open_clip import get_pretrained_cfg as known
    from open_clip.transform import image_transform

    config = known(*name.split("/")) or {}
    chosen = {key: config.get(key) for key in ("mean", "std", "interpolation", "resize_mode")} | options
    return image_transform(224, is_train=False, **chosen)


# The transform that the publishers of each card's weights evaluate with.
AUTHORS: dict[str, Callable[[], Transform]] = {
    "dino-vits16": lambda: _timm("vit_small_patch16_224.dino"),
    "dino-vitb16": lambda: _timm("vit_base_patch16_224.dino"),
    "imagenet-vits16": lambda: _timm("vit_small_patch16_224.augreg_in1k"),
    "dinov2-vits14": lambda: _timm("vit_small_patch14_dinov2.lvd142m"),
    "dinov2-vitb14": lambda: _timm("vit_base_patch14_dinov2.lvd142m"),
    "ibot-imagenet-vits16": lambda: _torchvision(256, transforms.InterpolationMode.BICUBIC),
    "ibot-imagenet-vitb16": lambda: _torchvision(256, transforms.InterpolationMode.BICUBIC),
    "ibot-imagenet-vitl16": lambda: _torchvision(256, transforms.InterpolationMode.BICUBIC),
    "uni": lambda: _torchvision(224, transforms.InterpolationMode.BILINEAR),
    "uni2-h": lambda: _torchvision(224, transforms.InterpolationMode.BILINEAR),
    "dinobloom-s": lambda: _torchvision(224, transforms.InterpolationMode.BILINEAR),
    "dinobloom-b": lambda: _torchvision(224, transforms.InterpolationMode.BILINEAR),
    "clip-vitb16": lambda: _open_clip("ViT-B-16/openai"),
    "biomedclip": lambda: _open_clip("biomedclip/-"),  # its configuration leaves open_clip's defaults
}


def _ours(preprocess: Preprocess, image: np.ndarray, fill: Any = "mean") -> np.ndarray:
    """What reaches the network: prepared, stacked, normalised; float32 [3, size, size]."""
    size = preprocess.size
    encoder = NetworkEncoder(
        Built(torch.nn.Flatten()),
        name="eye",
        dim=3 * size * size,
        identity={},
        prepare=make_prepare(preprocess, fill=fill),
        prepare_key="",
        preprocess=preprocess,
        precision="fp32",
        device=torch.device("cpu"),
    )
    return encoder.encode(encoder.prepare(image)[None]).reshape(3, size, size)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Image files of every sort that users have: name to path."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(1)

    def noise(width: int, height: int) -> Image.Image:
        blocks = rng.integers(0, 256, (height // 7 + 2, width // 7 + 2, 3), dtype=np.uint8)
        return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)

    exif = Image.Exif()
    exif[0x0112] = 6
    paths = {
        "ordinary": ("jpg", noise(360, 363), {"quality": 92}),
        "small": ("png", noise(61, 47), {}),
        "exact": ("png", noise(224, 224), {}),
        "wide": ("png", noise(1000, 333), {}),
        "tall": ("bmp", noise(211, 640), {}),
        "large": ("jpg", noise(1601, 1203), {}),
        "grey": ("png", noise(300, 280).convert("L"), {}),
        "palette": ("png", noise(300, 280).convert("P"), {}),
        "rgba": ("png", _with_alpha(noise(300, 280)), {}),
        "cmyk": ("jpg", noise(300, 280).convert("CMYK"), {}),
        "16-bit": ("png", Image.fromarray(rng.integers(0, 2**16, (280, 300), dtype=np.uint16)), {}),
        "rotated": ("jpg", noise(300, 200), {"exif": exif}),
    }
    for name, (suffix, image, options) in paths.items():
        image.save(folder / f"{name}.{suffix}", **options)
    return {name: folder / f"{name}.{suffix}" for name, (suffix, _, _) in paths.items()}


def _with_alpha(image: Image.Image) -> Image.Image:
    alpha = np.linspace(0, 255, image.width * image.height).reshape(image.height, image.width)
    return Image.merge("RGBA", (*image.split(), Image.fromarray(alpha.astype(np.uint8))))


def _seen_by_both(files: dict[str, Path]) -> Iterator[tuple[str, np.ndarray, Image.Image]]:
    ordinary = ("ordinary", "small", "exact", "wide", "tall", "large")
    for name, path in files.items():
        pixels = decode(path)
        # for ordinary files the authors' side starts from the file itself; elsewhere decode defines the
        # pixels
        yield name, pixels, Image.open(path).convert("RGB") if name in ordinary else Image.fromarray(pixels)


@pytest.mark.parametrize("name", AUTHORS)
def test_a_shipped_backbone_sees_what_its_authors_show_it(name: str, files: dict[str, Path]) -> None:
    preprocess = Registry.load().backbone(name).preprocess
    assert preprocess is not None
    theirs = AUTHORS[name]()
    for kind, pixels, image in _seen_by_both(files):
        difference = np.abs(_ours(preprocess, pixels) - theirs(image).numpy()).max()
        assert difference <= 1e-4, (kind, difference)


OTHER_MODES: dict[str, tuple[dict[str, Any], Any, Callable[[], Transform]]] = {
    "timm squash": (
        {"resize_mode": "squash", "crop_pct": 0.9, "interpolation": "bilinear"},
        "mean",
        lambda: create_transform((3, 224, 224), crop_mode="squash", crop_pct=0.9, interpolation="bilinear"),
    ),
    "timm border": (
        {"resize_mode": "pad", "crop_pct": 1.0, "interpolation": "bicubic"},
        "mean",
        lambda: create_transform((3, 224, 224), crop_mode="border", crop_pct=1.0, interpolation="bicubic"),
    ),
    "timm border, cropped": (
        {"resize_mode": "pad", "crop_pct": 0.8, "interpolation": "lanczos"},
        "mean",
        lambda: create_transform((3, 224, 224), crop_mode="border", crop_pct=0.8, interpolation="lanczos"),
    ),
    "open_clip squash": (
        {"resize_mode": "squash"},
        "black",
        lambda: _open_clip("-/-", resize_mode="squash", mean=IMAGENET["mean"], std=IMAGENET["std"]),
    ),
    "open_clip longest": (
        {"resize_mode": "pad"},
        "black",
        lambda: _open_clip("-/-", resize_mode="longest", mean=IMAGENET["mean"], std=IMAGENET["std"]),
    ),
}


@pytest.mark.parametrize("mode", OTHER_MODES)
def test_every_resize_mode_equals_the_library_that_names_it(mode: str, files: dict[str, Path]) -> None:
    options, fill, theirs = OTHER_MODES[mode]
    preprocess = Preprocess(size=224, **IMAGENET, **options)
    transform = theirs()
    for kind, pixels, image in _seen_by_both(files):
        difference = np.abs(_ours(preprocess, pixels, fill) - transform(image).numpy()).max()
        assert difference <= 1e-4, (kind, difference)


def test_real_cells_too(shared_data: Path) -> None:
    cells = (
        sorted((shared_data / "pbc").rglob("*.jpg"))[::2000]
        + sorted((shared_data / "herlev").rglob("*.bmp"))[:2]
    )
    preprocess = Registry.load().backbone("dino-vits16").preprocess
    assert preprocess is not None
    assert cells
    theirs = AUTHORS["dino-vits16"]()
    for path in cells:
        difference = np.abs(
            _ours(preprocess, decode(path)) - theirs(Image.open(path).convert("RGB")).numpy()
        ).max()
        assert difference <= 1e-4, path.name


def test_the_normalised_range_is_that_of_8_bit_pixels() -> None:
    preprocess = Preprocess(size=32, **IMAGENET)
    black_and_white = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    low, high = (_ours(preprocess, image) for image in black_and_white)
    for channel, (mean, std) in enumerate(zip(IMAGENET["mean"], IMAGENET["std"], strict=True)):
        assert low[channel] == pytest.approx(-mean / std, abs=1e-5)
        assert high[channel] == pytest.approx((1 - mean) / std, abs=1e-5)


@pytest.mark.parametrize(
    "bad", [np.zeros((9, 9, 3), np.float32), np.zeros((9, 9), np.uint8)], ids=["float", "grey"]
)
def test_pixels_that_are_not_8_bit_rgb_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="8-bit RGB"):
        make_prepare(Preprocess(size=8, **IMAGENET))(bad)


def test_unprepared_crops_are_refused_by_the_network() -> None:
    preprocess = Preprocess(size=32, **IMAGENET)
    encoder_input = np.zeros((1, 32, 32, 3), np.float32)
    device = torch.device("cpu")
    prepare = make_prepare(preprocess)
    encoder = NetworkEncoder(
        Built(torch.nn.Flatten()), name="eye", dim=3072, identity={}, prepare=prepare, prepare_key="",
        preprocess=preprocess, precision="fp32", device=device,
    )  # fmt: skip
    with pytest.raises(EncoderError, match="uint8"):
        encoder.encode(encoder_input)


def test_many_threads_prepare_what_one_does() -> None:
    prepare = make_prepare(Preprocess(size=64, crop_pct=0.875, **IMAGENET))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (90 + i, 120, 3), dtype=np.uint8) for i in range(40)]
    start = threading.Barrier(8)

    def work(part: int) -> list[np.ndarray]:
        start.wait()
        return [prepare(image) for image in images[part::8]]

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(work, range(8)))
    for part, made in enumerate(parts):
        for image, result in zip(images[part::8], made, strict=True):
            np.testing.assert_array_equal(result, prepare(image))


def test_a_prepare_key_tells_exactly_the_geometries_apart() -> None:
    same = [Preprocess(size=224, **IMAGENET), Preprocess(size=224, mean=(0.5,) * 3, std=(0.5,) * 3)]
    other = [
        Preprocess(size=256, **IMAGENET),
        Preprocess(size=224, crop_pct=0.9, **IMAGENET),
        Preprocess(size=224, interpolation="bilinear", **IMAGENET),
        Preprocess(size=224, resize_mode="squash", **IMAGENET),
        Preprocess(size=224, resize_mode="pad", **IMAGENET),
        Preprocess(size=224, resize_mode="pad", mean=(0.5,) * 3, std=(0.5,) * 3),
    ]
    keys = [prepare_key(one) for one in (*same, *other)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 1 + len(other)
