"""Sinkhorn-Knopp assignment of samples to prototypes (Caron et al., SwAV, NeurIPS 2020; DINOv2).

Worked in logarithms, so that no score overflows: in 32 bits exp(score / 0.04) does from a score of 3.5 on.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from cytobench.pretraining.distributed import all_max, all_sum
from cytobench.pretraining.precision import full_precision, widen


@torch.no_grad()
def sinkhorn(
    scores: Tensor,
    temperature: Tensor | float,
    *,
    iterations: int = 3,
    valid: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Return probabilities [n, K] whose rows sum to one and whose columns are about equally used.

    scores: [n, K], the rows of all processes of the group together; valid: bool [n], rows that are not
    padding (padding takes no part in the balance; its own result still sums to one). The row sums are exact,
    the columns only in the limit.
    """
    with full_precision(scores):
        log_q = widen(scores) / temperature
        for _ in range(iterations):
            log_q = log_q - _log_column_sums(log_q, valid, group)
            log_q = log_q - torch.logsumexp(log_q, dim=1, keepdim=True)
        return log_q.exp()


def _log_column_sums(log_q: Tensor, valid: Tensor | None, group: dist.ProcessGroup | None) -> Tensor:
    """Return log of the sums over samples, [1, K], over all processes."""
    if valid is not None:
        log_q = torch.where(valid[:, None], log_q, -torch.inf)
    # a process, or a whole batch, may have no sample at all: its maximum is the lowest number
    lowest = torch.finfo(log_q.dtype).min
    peak = log_q.new_full((1, log_q.shape[1]), lowest)
    if len(log_q):
        peak = log_q.amax(dim=0, keepdim=True).clamp(min=lowest)
    peak = all_max(peak, group)
    total = all_sum((log_q - peak).exp().sum(dim=0, keepdim=True), group)
    return peak + torch.where(total > 0, total, torch.ones_like(total)).log()
