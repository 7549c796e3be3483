"""The optimiser's side of a step: parameter groups, clipping, freezing the last layer, AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

ParameterGroups = list[dict[str, Any]]


def parameter_groups(model: nn.Module, weight_decay: float = 0.04) -> ParameterGroups:
    """Return iBOT's two groups of trainable parameters: decayed, and not.

    Biases and one-dimensional parameters are not decayed. Everything else is, also position embeddings, class
    token, mask embedding and the prototypes' lengths. Each group has the key `names`.
    """
    decayed: dict[str, nn.Parameter] = {}
    free: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = name.endswith(".bias") or parameter.ndim == 1
            (free if plain else decayed)[name] = parameter
    return [
        {
            "params": list(decayed.values()),
            "names": list(decayed),
            "weight_decay": weight_decay,
            "decayed": True,
        },
        {"params": list(free.values()), "names": list(free), "weight_decay": 0.0, "decayed": False},
    ]


def adamw(
    groups: ParameterGroups, *, lr: float = 0.0, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter, ICLR 2019) with the fused kernel where this PyTorch has one."""
    try:
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)
    except RuntimeError:  # no fused kernel for this device
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, foreach=True)


def set_rates(optimizer: torch.optim.Optimizer, *, lr: float, weight_decay: float) -> None:
    """Set the learning rate of all groups and the weight decay of the decayed one, for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if group["decayed"]:
            group["weight_decay"] = weight_decay


@torch.no_grad()
def clip_each(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale every gradient whose own L2 norm exceeds `max_norm`; return the norms before, [parameters].

    iBOT and DINO clip each parameter by itself. Nothing waits for the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(0)
    norms = torch.stack(torch._foreach_norm(gradients, 2.0))
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, list(factors.unbind()))
    return norms


def clip_all(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients by one factor where their common L2 norm exceeds `max_norm`; return it, 0-d."""
    return nn.utils.clip_grad_norm_(list(parameters), max_norm)


def freeze_last_layer(model: nn.Module, *, epoch: int, epochs: int) -> None:
    """Forget the prototypes' gradients while `epoch` < `epochs`, so that they neither move nor decay.

    Call it after clipping and before the optimiser's step (DINO section 4: it steadies the first epochs).
    """
    if epoch >= epochs:
        return
    for name, parameter in model.named_parameters():
        if "last_layer" in name:
            parameter.grad = None
