"""The running centres of the teacher's scores that keep it from collapsing (DINO section 3.1, iBOT).

A centre is the exponential moving average of the mean score over a batch. Sums and counts, not means, are
added over processes, so that processes with unequal numbers of masked patches weigh what they should.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cytobench.pretraining.distributed import all_sums


@dataclass(frozen=True)
class TeacherSums:
    """Sums over a batch of the teacher's outputs, in at least 32 bits; `over_processes` adds them up.

    cls_scores: [K]; cls_probabilities: [K]; cls_entropy: 0-d; cls_count: 0-d, rows summed; patch_scores:
    [K2]; patch_count: 0-d.
    """

    cls_scores: Tensor
    cls_probabilities: Tensor
    cls_entropy: Tensor
    cls_count: Tensor
    patch_scores: Tensor
    patch_count: Tensor

    def over_processes(self, group: dist.ProcessGroup | None = None) -> TeacherSums:
        """Return the sums over all processes."""
        return TeacherSums(*all_sums(list(vars(self).values()), group))


class Centres(nn.Module):
    """The centres of class tokens, `center` [1, K], and patches, `center2` [1, 1, K2] (iBOT's own names)."""

    center: Tensor
    center2: Tensor

    def __init__(
        self, out_dim: int, patch_out_dim: int, *, momentum: float = 0.9, patch_momentum: float = 0.9
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.patch_momentum = patch_momentum
        self.register_buffer("center", torch.zeros(1, out_dim))
        self.register_buffer("center2", torch.zeros(1, 1, patch_out_dim))

    @property
    def cls(self) -> Tensor:
        """The class tokens' centre [1, K]."""
        return self.center

    @property
    def patch(self) -> Tensor:
        """The patches' centre [1, K2]."""
        return self.center2[0]

    @torch.no_grad()
    def update(self, sums: TeacherSums) -> None:
        """Move both centres towards the batch's means, after the loss was computed with the old ones.

        A centre without a single row in the batch stays. Works on the device, without waiting for it.
        """
        self._move(self.center, sums.cls_scores, sums.cls_count, self.momentum)
        self._move(self.center2, sums.patch_scores, sums.patch_count, self.patch_momentum)

    @staticmethod
    def _move(centre: Tensor, total: Tensor, count: Tensor, momentum: float) -> None:
        mean = (total / count.clamp(min=1)).view_as(centre)
        moved = centre * momentum + mean * (1 - momentum)
        centre.copy_(torch.where(count > 0, moved, centre))
