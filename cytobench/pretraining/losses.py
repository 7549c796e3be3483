"""iBOT's two losses: cross-entropy from the teacher's to the student's scores over prototypes.

With student scores s, temperature tau and teacher probabilities p that sum to one, the cross-entropy is
logsumexp(s / tau) - <p, s> / tau: no table of log-probabilities is written. All is computed in at least
32 bits, whatever autocast says. Teacher probabilities carry no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cytobench.pretraining.precision import full_precision, widen


@torch.no_grad()
def centred_softmax(scores: Tensor, centre: Tensor, temperature: Tensor | float) -> Tensor:
    """Return teacher probabilities softmax((scores - centre) / temperature) over the last dimension.

    scores: [n, K]; centre: [K] or [1, K]; `temperature` as a 0-d tensor keeps compiled graphs valid when it
    changes (DINO, equation 1; iBOT, section 3.2).
    """
    with full_precision(scores):
        return torch.softmax((widen(scores) - centre) / temperature, dim=-1)


def cls_loss(student: Tensor, teacher: Tensor, *, n_global: int, temperature: float = 0.1) -> Tensor:
    """Return the mean cross-entropy over all pairs of a teacher's crop and another student's crop (0-d).

    student: scores [S * B, K] of all crops, the global ones first, crop-major; teacher: probabilities [G * B,
    K]. A pair of one and the same crop is left out: G * S - G terms of equal weight (iBOT, equation 3, with
    DINO's multi-crop).
    """
    with full_precision(student):
        p = teacher.reshape(n_global, -1, teacher.shape[-1])
        s = widen(student).reshape(-1, *p.shape[1:]) / temperature
        n_crops, n_images = s.shape[:2]
        agreement = torch.einsum("tbk,sbk->ts", p, s)
        agreement = agreement.sum() - agreement.diagonal().sum()
        # a global crop meets all teachers but itself, a local crop meets all
        partners = s.new_full((n_crops,), float(n_global))
        partners[:n_global] -= 1
        normaliser = (torch.logsumexp(s, dim=-1).sum(dim=1) * partners).sum()
        mean: Tensor = (normaliser - agreement) / (n_images * (n_global * n_crops - n_global))
        return mean


def patch_loss(student: Tensor, teacher: Tensor, weight: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the weighted sum of the masked patches' cross-entropies (0-d).

    student: scores [P, K]; teacher: probabilities [P, K]; weight: [P], 1 / (masked patches of the crop *
    crops) as in `masking.MaskBatch`: each crop counts its mean over masked patches, unmasked crops count
    zero, which is how iBOT's code normalises equation 2.
    """
    with full_precision(student):
        s = widen(student) / temperature
        cross_entropy = torch.logsumexp(s, dim=-1) - (teacher * s).sum(dim=-1)
        total: Tensor = (cross_entropy * weight.to(s.dtype)).sum()
        return total


def entropy(probabilities: Tensor) -> Tensor:
    """Return the Shannon entropy in nats over the last dimension; 0 log 0 is 0."""
    nats: Tensor = torch.special.entr(probabilities).sum(dim=-1)
    return nats
