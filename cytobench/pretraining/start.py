"""How a fresh network begins: weights drawn wide, and a head that sees differences at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.masked_vit import Crops


@torch.no_grad()
def draw_by_fan_in(model: IBOT, seed: int) -> None:
    """Draw the student's linear layers and patch kernel at 1 / sqrt(inputs), and copy them to the teacher.

    iBOT's 0.02 is that for networks 2,500 wide; in one 192 wide it makes all class tokens nearly equal.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in model.student.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            inputs = layer.weight[0].numel()
            nn.init.trunc_normal_(layer.weight, std=inputs**-0.5, generator=generator)
    model.copy_to_teacher()


@torch.no_grad()
def whiten_head(model: IBOT, crops: Iterable[Tensor]) -> None:
    """Set the head's first layer so that class tokens of `crops` have mean 0 and deviation 1 before it.

    crops: normalised global crops, batches [n, 3, s, s]. The same network with other units: nothing is added
    to it. Dimensions that hardly vary are not blown up beyond ten times the usual.
    """
    cls = torch.cat([model.teacher.backbone([Crops(part)])[0].cls.float() for part in crops])
    first = model.student.head.mlp[0]
    assert isinstance(first, nn.Linear)
    deviation = cls.std(dim=0)
    first.weight.div_(deviation.clamp(min=max(0.1 * float(deviation.median()), 1e-6)))
    first.bias.sub_(first.weight @ cls.mean(dim=0))
    model.copy_to_teacher()
