"""Losses, centres and temperatures are the reference's, to the digit; less work, the same gradient."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cytobench.pretraining.centring import Centres, TeacherSums
from cytobench.pretraining.losses import centred_softmax, cls_loss, entropy, patch_loss
from cytobench.pretraining.masking import index_masks
from cytobench.pretraining.schedules import teacher_temperatures

LIGHTLY = json.loads((Path(__file__).parent / "lightly_losses.json").read_text(encoding="utf-8"))


def rows(a: float, n: int, k: int = 5) -> Tensor:
    i, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(k, dtype=torch.float64)
    return torch.sin(a + 1.9 * i + 1.3 * j)


def patch_rows(a: float, n: int, p: int = 4, k: int = 5) -> Tensor:
    i = torch.arange(n, dtype=torch.float64)[:, None, None]
    q = torch.arange(p, dtype=torch.float64)[:, None]
    return torch.sin(a + 0.7 * i + 1.9 * q + 1.3 * torch.arange(k, dtype=torch.float64))


def masks_of_six_crops() -> np.ndarray:
    masks = np.zeros((6, 2, 2), dtype=bool)
    masks[0, 0, 0] = masks[1, 0, 0] = masks[1, 0, 1] = masks[4, 0, 1] = masks[4, 1, 1] = True
    masks[2] = True
    return masks


def all_token_patch_loss(student: Tensor, teacher: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """Compute the loss on every token, as iBOT's equation 2 and its code's normalisation are written."""
    cross_entropy = -(teacher * log_softmax(student / temperature, dim=-1)).sum(-1)
    per_image = (cross_entropy * masks).sum(-1) / masks.sum(-1).clamp(min=1)
    return per_image.mean()


def test_losses_and_centres_are_the_golden_numbers_of_the_reference() -> None:
    masks = index_masks(masks_of_six_crops(), dtype=np.float64)
    index, weight = torch.from_numpy(masks.patch_index), torch.from_numpy(masks.weight)
    student = torch.cat([rows(0.1, 6), rows(0.3, 6)])
    teacher, student_patch, teacher_patch = rows(0.2, 6), patch_rows(0.4, 6), patch_rows(0.5, 6)
    temps = teacher_temperatures(0.04, 0.07, epochs=6, warmup_epochs=3)
    centres = Centres(5, 5).double()
    seen = {}
    for epoch in (0, 1, 5):
        p = centred_softmax(teacher, centres.cls, temps[epoch])
        q = centred_softmax(teacher_patch.flatten(0, 1)[index], centres.patch, temps[epoch])
        cls = cls_loss(student, p, n_global=2)
        patch = patch_loss(student_patch.flatten(0, 1)[index], q, weight)
        centres.update(sums_of(teacher, teacher_patch.flatten(0, 1)))
        seen[epoch] = (cls.item(), patch.item(), centres.center.clone(), centres.center2.clone())
    assert seen[0][:2] == pytest.approx((1.014368232, 0.018708070), abs=1e-9)
    assert seen[1][:2] == pytest.approx((1.099063205, 0.025910537), abs=1e-9)
    assert seen[5][:2] == pytest.approx((1.155280564, 0.040965427), abs=1e-9)
    first = [0.010966371, 0.000374374, -0.010766082, -0.006134203, 0.007484297]
    first2 = [0.0073047, -0.000919576, -0.007796671, -0.003251625, 0.006057059]
    assert seen[0][2][0].tolist() == pytest.approx(first, abs=1e-9)
    assert seen[0][3][0, 0].tolist() == pytest.approx(first2, abs=1e-9)
    assert seen[5][2][0, 0].item() == pytest.approx(0.029718865, abs=1e-9)
    assert seen[5][3][0, 0, 0].item() == pytest.approx(0.019795737, abs=1e-9)


def sums_of(cls: Tensor, patches: Tensor) -> TeacherSums:
    count = [torch.tensor(float(len(x)), dtype=x.dtype) for x in (cls, patches)]
    zeros = torch.zeros_like(cls[0])
    return TeacherSums(cls.sum(0), zeros, zeros.sum(), count[0], patches.sum(0), count[1])


def test_masked_tokens_alone_give_the_loss_and_gradient_of_all_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand((8, 12), generator=generator) < 0.3
    masks[2] = False
    student = torch.randn((8, 12, 30), generator=generator, dtype=torch.float64).requires_grad_()
    teacher = torch.softmax(torch.randn((8, 12, 30), generator=generator, dtype=torch.float64), -1)
    everything = all_token_patch_loss(student, teacher, masks, 0.1)
    (wanted,) = torch.autograd.grad(everything, student)
    for length in (None, 60):  # 60: padded with patches of weight zero
        batch = index_masks(masks.numpy(), length=length, dtype=np.float64)
        index = torch.from_numpy(batch.patch_index)
        lean = patch_loss(
            student.flatten(0, 1)[index], teacher.flatten(0, 1)[index], torch.from_numpy(batch.weight)
        )
        torch.testing.assert_close(lean, everything, rtol=1e-12, atol=1e-13)
        (got,) = torch.autograd.grad(lean, student)
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-14)


def test_cls_loss_is_the_mean_over_pairs_of_different_crops_with_their_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    student = torch.randn((6 * 3, 20), generator=generator, dtype=torch.float64).requires_grad_()
    teacher = torch.softmax(torch.randn((2 * 3, 20), generator=generator, dtype=torch.float64) / 0.05, -1)
    terms = [
        -(p * log_softmax(s / 0.1, dim=-1)).sum(-1).mean()
        for q, p in enumerate(teacher.chunk(2))
        for v, s in enumerate(student.chunk(6))
        if q != v
    ]
    assert len(terms) == 10
    pairs = torch.stack(terms).mean()
    loss = cls_loss(student, teacher, n_global=2)
    torch.testing.assert_close(loss, pairs, rtol=1e-12, atol=0)
    wanted, got = torch.autograd.grad(pairs, student)[0], torch.autograd.grad(loss, student)[0]
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-14)


def test_cls_loss_equals_lightly_given_the_same_centre() -> None:
    case = LIGHTLY["dino"]
    student, teacher = rows(0.1, 4 * 3, 7) * 2, rows(0.6, 2 * 3, 7)
    p = centred_softmax(teacher, rows(0.9, 1, 7) * 0.1, case["teacher_temp"])
    assert cls_loss(student, p, n_global=2).item() == pytest.approx(case["loss"], abs=1e-10)


def test_patch_loss_equals_lightly_given_the_same_centre() -> None:
    case = LIGHTLY["ibot"]
    batch = index_masks(masks_of_six_crops(), dtype=np.float64)
    student, teacher = rows(0.2, len(batch.patch_index), 7) * 2, rows(0.7, len(batch.patch_index), 7)
    q = centred_softmax(teacher, rows(0.9, 1, 7) * 0.1, case["teacher_temp"])
    loss = patch_loss(student, q, torch.from_numpy(batch.weight))
    assert loss.item() == pytest.approx(case["loss"], abs=1e-10)


def test_losses_stay_in_full_precision_under_autocast() -> None:
    student, teacher = rows(0.1, 12).float() * 10, torch.softmax(rows(0.2, 6).float() / 0.04, -1)
    wanted = cls_loss(student, teacher, n_global=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = cls_loss(student, teacher, n_global=2)
        low = patch_loss(student.bfloat16()[:6], teacher, torch.full((6,), 1 / 6))
    assert got.dtype == low.dtype == torch.float32
    assert got.item() == wanted.item()


def test_entropy_knows_both_collapses() -> None:
    uniform, one_hot = torch.full((8,), 1 / 8), torch.eye(8)[0]
    assert entropy(uniform).item() == pytest.approx(math.log(8))
    assert entropy(one_hot).item() == 0.0
