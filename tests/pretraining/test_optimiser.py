"""Parameter groups, clipping and freezing are iBOT's."""

from __future__ import annotations

import pytest
import tiny_ibot
import torch
from torch import nn

from cytobench.pretraining import optim
from cytobench.pretraining.heads import HeadShape


def test_only_biases_and_vectors_escape_weight_decay() -> None:
    model = tiny_ibot.make().student
    decayed, free = optim.parameter_groups(model, 0.04)
    for name in ("cls_token", "pos_embed", "masked_embed", "patch_embed.proj.weight"):
        assert f"backbone.{name}" in decayed["names"]
    assert {"head.last_layer.weight_g", "head.last_layer.weight_v"} <= set(decayed["names"])
    assert {"backbone.norm.weight", "backbone.blocks.0.attn.qkv.bias", "head.mlp.0.bias"} <= set(
        free["names"]
    )
    assert all(p.ndim > 1 for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.04, 0.0)


def test_fixed_lengths_are_not_optimised() -> None:
    model = tiny_ibot.make(head=HeadShape(24, 24, 40, 12, norm_last_layer=True)).student
    names = [name for group in optim.parameter_groups(model) for name in group["names"]]
    assert "head.last_layer.weight_g" not in names


def test_rates_reach_the_groups_they_are_for() -> None:
    optimizer = optim.adamw(optim.parameter_groups(tiny_ibot.make().student))
    optim.set_rates(optimizer, lr=0.3, weight_decay=0.2)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.3, 0.2), (0.3, 0.0)]
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def parameters_with_gradients() -> list[nn.Parameter]:
    made = []
    for size, scale in ((3, 0.1), (4, 5.0), (50, 2.0)):
        parameter = nn.Parameter(torch.zeros(size))
        parameter.grad = torch.full((size,), scale)
        made.append(parameter)
    return [*made, nn.Parameter(torch.zeros(2))]


def test_each_gradient_is_clipped_by_its_own_norm() -> None:
    parameters = parameters_with_gradients()
    wanted = []
    for parameter in parameters[:3]:
        factor = 3.0 / (parameter.grad.norm() + 1e-6)
        wanted.append(parameter.grad * factor if factor < 1 else parameter.grad.clone())
    norms = optim.clip_each(parameters, 3.0)
    assert norms.tolist() == pytest.approx([0.1 * 3**0.5, 10.0, 2 * 50**0.5])
    for parameter, gradient in zip(parameters, wanted, strict=False):
        assert torch.equal(parameter.grad, gradient)
    assert parameters[3].grad is None


def test_all_gradients_are_clipped_by_their_common_norm() -> None:
    parameters = parameters_with_gradients()
    before = torch.cat([p.grad for p in parameters[:3]])
    norm = optim.clip_all(parameters, 3.0)
    after = torch.cat([p.grad for p in parameters[:3]])
    assert norm.item() == pytest.approx(before.norm().item())
    torch.testing.assert_close(after, before * 3.0 / before.norm())


def test_a_frozen_last_layer_neither_moves_nor_decays() -> None:
    model = tiny_ibot.make().student
    optimizer = optim.adamw(optim.parameter_groups(model, 0.5), lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for epoch, moves in ((0, False), (1, True)):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optim.freeze_last_layer(model, epoch=epoch, epochs=1)
        optimizer.step()
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert any("last_layer" in name for name in changed) == moves
        assert "head.mlp.0.weight" in changed


def test_clipping_nothing_is_no_error() -> None:
    assert optim.clip_each([nn.Parameter(torch.zeros(2))], 1.0).numel() == 0
