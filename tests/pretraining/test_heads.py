"""The projection head is iBOT's, under its names."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from cytobench.pretraining.heads import HeadShape, ProjectionHead, PrototypeLayer

SHAPE = HeadShape(out_dim=9, patch_out_dim=7, hidden_dim=10, bottleneck_dim=5)


def test_prototypes_have_the_length_g_and_the_direction_v() -> None:
    layer = PrototypeLayer(5, 9, fixed_length=False)
    with torch.no_grad():
        layer.weight_g.copy_(torch.arange(1.0, 10.0)[:, None])
    torch.testing.assert_close(layer.weight().norm(dim=1), torch.arange(1.0, 10.0))
    torch.testing.assert_close(
        nn.functional.cosine_similarity(layer.weight(), layer.weight_v, dim=1), torch.ones(9)
    )


def test_weights_of_torchs_weight_norm_come_and_go() -> None:
    theirs = nn.utils.parametrizations.weight_norm(nn.Linear(5, 9, bias=False))
    ours = PrototypeLayer(5, 9, fixed_length=False)
    g = theirs.parametrizations.weight.original0.detach()
    v = theirs.parametrizations.weight.original1.detach()
    ours.load_state_dict({"weight_g": g, "weight_v": v})
    x = torch.randn(4, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    with torch.no_grad():
        ours.weight_g.mul_(2)
    theirs.load_state_dict(ours.state_dict())  # torch reads the classic names
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_head_ends_in_unit_vectors_and_scores() -> None:
    head = ProjectionHead(6, replace(SHAPE, shared=False))
    unit = head(torch.randn(5, 6))
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(5))
    cls_scores, patch_scores = head.scores(unit, 2)
    torch.testing.assert_close(cls_scores, unit[:2] @ head.last_layer.weight().T)
    torch.testing.assert_close(patch_scores, unit[2:] @ head.last_layer2.weight().T)
    assert patch_scores.shape == (3, 7)


def test_a_shared_head_has_one_set_of_prototypes_under_two_names() -> None:
    head = copy.deepcopy(ProjectionHead(6, SHAPE))
    assert head.last_layer2 is head.last_layer
    assert SHAPE.patch_prototypes == 9
    assert "last_layer2.weight_v" in head.state_dict()
    assert not any(name.startswith("last_layer2") for name, _ in head.named_parameters())
    _, patch_scores = head.scores(head(torch.randn(5, 6)), 2)
    assert patch_scores.shape == (3, 9)


def test_norm_last_layer_fixes_lengths_at_one() -> None:
    head = ProjectionHead(6, replace(SHAPE, norm_last_layer=True))
    assert not head.last_layer.weight_g.requires_grad
    torch.testing.assert_close(head.last_layer.weight().norm(dim=1), torch.ones(9))


def test_initial_weights_have_the_reference_spread() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(64, HeadShape(out_dim=512, hidden_dim=256, bottleneck_dim=64))
    assert abs(head.mlp[0].weight.std().item() - 0.02) < 0.001
    assert not head.mlp[4].bias.any()
    bound = 1 / 8  # a linear layer's uniform start: 1 / sqrt(64)
    assert 0.95 * bound < head.last_layer.weight_v.abs().max().item() <= bound
