"""Whether a run is healthy: collapse is announced in words, with what to do about it."""

from __future__ import annotations

import math

_FLAT, _SHARP, _TELLS = 0.98, 0.02, 0.02  # of ln K

_CURES = (
    "Cures, in this order: schedule.temperature and patch_temperature = 0.04 without a rise; a longer "
    "schedule.warmup_epochs; schedule.freeze_last_layer_epochs = 3; head.norm_last_layer = true; a slower "
    "teacher (schedule.momentum = 0.9995 for small batches); a lower schedule.lr; "
    'loss.centring = "sinkhorn"; '
    "views that differ more (wider crops.global_scale, stronger stain jitter)."
)


def collapse(teacher_entropy: float, marginal_entropy: float, prototypes: int) -> str:
    """Return a sentence about a collapsed teacher with the cures, or "" for a healthy one.

    teacher_entropy: mean entropy of its answers; marginal_entropy: entropy of its mean answer, nats. Both at
    ln K: every image gets the same flat answer; both at zero: the same single prototype. Their difference is
    what the answers tell about the image.
    """
    most = math.log(prototypes)
    if teacher_entropy > _FLAT * most:
        how = "every image gets the same flat answer (both entropies are at ln K)"
    elif marginal_entropy < _SHARP * most:
        how = "all images get one and the same prototype (both entropies are near zero)"
    elif marginal_entropy - teacher_entropy < _TELLS * most and teacher_entropy < 0.9 * most:
        how = "the teacher's answers hardly depend on the image (its two entropies are equal)"
    else:
        return ""
    return (
        f"The teacher has collapsed: {how}; teacher entropy {teacher_entropy:.2f}, marginal entropy "
        f"{marginal_entropy:.2f}, ln K {most:.2f}. {_CURES}"
    )
