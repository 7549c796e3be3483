"""The masked ViT is timm's ViT, with masks, small crops and packing that change nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cytobench.errors import UsageError, WeightsError
from cytobench.pretraining.masked_vit import Crops, MaskedViT, ViTShape
from cytobench.pretraining.positions import position_matrix

SHAPE = ViTShape(
    arch="vit_tiny_patch16_224",
    size=32,
    local_sizes=(16,),
    drop_path=0.0,
    options={"patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2},
)


def timm_twin(model: MaskedViT, shape: ViTShape = SHAPE) -> torch.nn.Module:
    twin = timm.create_model(shape.arch, num_classes=0, img_size=shape.size, **shape.options)
    twin.load_state_dict(model.timm_state(), strict=True)
    return twin


def test_without_masks_it_is_timms_vit() -> None:
    model = MaskedViT(SHAPE)
    images = torch.randn(3, 3, 32, 32)
    (tokens,) = model([Crops(images)])
    wanted = timm_twin(model).forward_features(images)
    torch.testing.assert_close(tokens.cls, wanted[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tokens.patches, wanted[:, 1:], rtol=1e-5, atol=1e-5)


def test_layer_scale_and_normed_queries_are_run_too() -> None:
    shape = replace(SHAPE, options={**SHAPE.options, "init_values": 0.5, "qk_norm": True})
    model = MaskedViT(shape)
    images = torch.randn(2, 3, 32, 32)
    wanted = timm_twin(model, shape).forward_features(images)
    torch.testing.assert_close(model([Crops(images)])[0].cls, wanted[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"])
def test_names_and_shapes_are_timms(arch: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(arch, num_classes=0).state_dict()
        ours = MaskedViT(ViTShape(arch=arch)).state_dict()
    assert set(ours) == set(theirs) | {"masked_embed"}
    assert all(ours[name].shape == theirs[name].shape for name in theirs)


def test_weights_of_timm_come_back_and_foreign_ones_are_refused() -> None:
    model, other = MaskedViT(SHAPE), MaskedViT(SHAPE)
    with torch.no_grad():
        model.masked_embed.fill_(3.0)
    other.load_timm_state(model.timm_state())
    assert not other.masked_embed.any()
    other.load_timm_state(model.state_dict())  # the layout of a published student
    assert other.masked_embed.eq(3).all()
    MaskedViT(SHAPE, student=False).load_timm_state(model.state_dict())
    broken = model.timm_state()
    broken["norm.gain"] = broken.pop("norm.weight")
    with pytest.raises(WeightsError, match=r"norm\.(gain|weight)"):
        other.load_timm_state(broken)
    with pytest.raises(WeightsError, match="pos_embed"):
        other.load_timm_state({**model.timm_state(), "pos_embed": torch.zeros(1, 5, 32)})


def test_masked_patches_are_replaced_before_positions_are_added() -> None:
    model = MaskedViT(SHAPE)
    with torch.no_grad():
        model.masked_embed.normal_()
    images, masks = torch.randn(2, 3, 32, 32), torch.zeros(2, 16, dtype=torch.bool)
    masks[1, [3, 7]] = True
    masked, plain = model._embed(Crops(images, masks)), model._embed(Crops(images))
    wanted = model.masked_embed[0] + model.pos_embed[0, [4, 8]]
    torch.testing.assert_close(masked[1, [4, 8]], wanted)
    masked[1, [4, 8]] = plain[1, [4, 8]]
    torch.testing.assert_close(masked, plain, rtol=0, atol=0)


def test_hidden_pixels_cannot_be_seen() -> None:
    model = MaskedViT(SHAPE)
    images, masks = torch.randn(1, 3, 32, 32), torch.zeros(1, 16, dtype=torch.bool)
    masks[0, 0] = True
    painted = images.clone()
    painted[:, :, :8, :8] = 5.0
    with torch.no_grad():
        first, second = (model([Crops(x, masks)])[0].cls for x in (images, painted))
        seen = model([Crops(painted)])[0].cls
    assert torch.equal(first, second)
    assert not torch.equal(first, seen)


@pytest.mark.parametrize(("source", "target"), [(14, 6), (4, 2), (14, 7)])
def test_position_matrices_resize_like_the_reference_and_like_timm(source: int, target: int) -> None:
    table = torch.randn(source * source, 5, dtype=torch.float64)
    image = table.T.reshape(1, 5, source, source)
    factor = (target + 0.1) / source
    ibot = interpolate(image, scale_factor=(factor, factor), mode="bicubic")
    smooth = interpolate(image, size=(target, target), mode="bicubic", antialias=True)
    for mode, wanted in (("ibot", ibot), ("timm", smooth)):
        got = position_matrix(source, target, mode) @ table
        torch.testing.assert_close(got, wanted[0].flatten(1).T, rtol=0, atol=1e-12)
    assert not torch.allclose(ibot, smooth, atol=0.05)


def test_small_crops_with_timms_positions_are_timms_features_of_small_images() -> None:
    model = MaskedViT(replace(SHAPE, positions="timm"))
    images = torch.randn(2, 3, 16, 16)
    twin = timm_twin(model)
    twin.set_input_size(img_size=16)
    (tokens,) = model([Crops(images)])
    torch.testing.assert_close(tokens.cls, twin.forward_features(images)[:, 0], rtol=1e-5, atol=1e-5)


def test_one_packed_pass_equals_separate_passes_with_their_gradients() -> None:
    model = MaskedViT(SHAPE)
    large, small = torch.randn(3, 3, 32, 32), torch.randn(5, 3, 16, 16)
    masks = torch.rand(3, 16) < 0.4

    def gradients(cls: list[Tensor], patches: Tensor) -> list[Tensor]:
        total = sum((x * torch.arange(x.shape[-1])).sum() for x in cls) + patches.square().sum()
        return list(torch.autograd.grad(total, list(model.parameters())))

    packed = model([Crops(large, masks), Crops(small)])
    first, second = model([Crops(large, masks)])[0], model([Crops(small)])[0]
    torch.testing.assert_close(packed[0].patches, first.patches, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(packed[1].cls, second.cls, rtol=1e-6, atol=1e-6)
    together = gradients([packed[0].cls, packed[1].cls], packed[0].patches)
    apart = gradients([first.cls, second.cls], first.patches)
    for got, wanted in zip(together, apart, strict=True):
        assert (got - wanted).norm() <= 1e-6 * wanted.norm() + 1e-7


def test_depth_is_dropped_per_image_by_the_students_only() -> None:
    shape = replace(SHAPE, drop_path=0.5)
    student, teacher = MaskedViT(shape), MaskedViT(shape, student=False)
    assert student.drop_rates == (0.0, 0.25, 0.5)
    assert not any(teacher.drop_rates)
    same = torch.randn(1, 3, 32, 32).expand(64, -1, -1, -1)
    with torch.no_grad():
        kept = student([Crops(same)])[0].cls
        calm = student.eval()([Crops(same)])[0].cls
    # two branches in each of two blocks: every image meets one of 16 subsets
    assert 8 <= len({tuple(row) for row in (kept * 1e4).round().tolist()}) <= 16
    assert len({tuple(row) for row in (calm * 1e4).round().tolist()}) == 1


def test_dropped_depth_keeps_the_expectation() -> None:
    model = MaskedViT(replace(SHAPE, drop_path=0.5))
    torch.manual_seed(0)
    factors = model._draw_depth(4000, torch.zeros(0))
    assert factors is not None
    torch.testing.assert_close(factors[0], torch.ones(2, 4000))
    assert set(factors[2].unique().tolist()) == {0.0, 2.0}
    torch.testing.assert_close(factors.mean(dim=2), torch.ones(3, 2), rtol=0, atol=0.06)


def test_class_token_starts_like_the_reference() -> None:
    torch.manual_seed(0)
    model = MaskedViT(replace(SHAPE, options={**SHAPE.options, "embed_dim": 768}))
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.15)
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.masked_embed.any()


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (replace(SHAPE, arch="resnet18", options={}), "resnet18"),
        (replace(SHAPE, options={**SHAPE.options, "reg_tokens": 4}), "no plain vision transformer"),
        (replace(SHAPE, arch="vit_huge_thing"), "vit_huge_thing"),
        (replace(SHAPE, local_sizes=(18,)), "crops of 18 px"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(shape: ViTShape, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        MaskedViT(shape)


def test_crops_of_a_size_nobody_announced_are_refused() -> None:
    with pytest.raises(ValueError, match="24 px were not announced"):
        MaskedViT(SHAPE)([Crops(torch.randn(1, 3, 24, 24))])


def test_selected_tokens_and_their_gradients_are_those_of_all_tokens() -> None:
    model = MaskedViT(replace(SHAPE, drop_path=0.5)).double()
    large, small = torch.randn(3, 3, 32, 32).double(), torch.randn(5, 3, 16, 16).double()
    groups = [Crops(large, torch.rand(3, 16) < 0.4), Crops(small)]
    index = torch.tensor([0, 15, 16, 40, 47])
    torch.manual_seed(1)
    all_tokens = model(groups)
    wanted = torch.cat([all_tokens[0].cls, all_tokens[1].cls, all_tokens[0].patches.flatten(0, 1)[index]])
    torch.manual_seed(1)
    got = model.select(groups, index)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    weight = torch.randn(got.shape, dtype=torch.float64)
    parameters = list(model.parameters())
    lean = torch.autograd.grad((got * weight).sum(), parameters)
    full = torch.autograd.grad((wanted * weight).sum(), parameters)
    torch.testing.assert_close(lean, full, rtol=1e-9, atol=1e-11)
