"""Pictures that are bad or odd in themselves: blank, blurred, cut off, far from all others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cytobench import images
from cytobench.audit.issue import KINDS, Issue, Member
from cytobench.checks.imprints import Imprints
from cytobench.checks.near import unit_rows
from cytobench.checks.subject import Subject

Doubles = npt.NDArray[np.float64]

_SMOOTH, _SOFT = -5.0, -4.5  # robust standard deviations
_LACKING = 0.5  # of the median fine detail
_FAR = 6.0
_ODD_LABEL = -5.0
_TELLS_APART = 0.7  # recall of nearest class means, over classes
_OUTSIDE, _MOSTLY_OUTSIDE = 1 / 3, 1 / 2
_MANY, _OF_ALL = 24, 0.02  # views beyond which the border is the card's matter, not that of single cells


def quality_issues(subject: Subject, imprints: Imprints) -> list[Issue]:
    """Return blank and blurred pictures."""
    found = [_issue(subject, "blank", int(row), "one tone") for row in np.flatnonzero(imprints.blank)]
    return found + _blurred(subject, imprints)


def _blurred(subject: Subject, imprints: Imprints) -> list[Issue]:
    """Return pictures that lack fine detail, or whose edges are soft for their contrast.

    The first tells pictures blurred after they were taken; the second those out of focus, in which the noise
    of the camera and of compression is as fine as ever.
    """
    shown = np.flatnonzero(~imprints.blank)
    if not len(shown):
        return []
    light = imprints.light[shown].astype(np.float64)
    fine = light[:, 2] / np.median(light[:, 2])
    smooth = (robust(imprints.sharpness[shown].astype(np.float64)) < _SMOOTH) & (fine < _LACKING)
    edges = robust(np.log((light[:, 3] + 1e-4) / (light[:, 1] + 1e-3)))
    found = [
        _issue(subject, "blurred", int(shown[at]), f"{fine[at]:.0%} of the usual fine detail", 1 / fine[at])
        for at in np.flatnonzero(smooth)
    ]
    return found + [
        _issue(
            subject, "blurred", int(shown[at]), f"edges {-edges[at]:.1f} robust deviations softer than usual"
        )
        for at in np.flatnonzero((edges < _SOFT) & ~smooth)
    ]


def odd_colours(subject: Subject, imprints: Imprints) -> list[Issue]:
    """Return pictures whose colours and light are far from those of all others."""
    shown = np.flatnonzero(~imprints.blank)
    if len(shown) < 20:
        return []
    values = np.concatenate([imprints.colour, imprints.light[:, :2]], axis=1)[shown].astype(np.float64)
    standard = np.stack([robust(column) for column in values.T], axis=1)
    distance = np.log(np.sqrt(np.square(np.clip(standard, -50, 50)).mean(axis=1)) + 1e-6)
    score = robust(distance)
    return [
        _issue(subject, "outlier", int(row), f"colour and light {s:.0f} robust deviations from the others", s)
        for row, s in zip(shown, score, strict=True)
        if s > _FAR
    ]


def odd_features(subject: Subject, features: npt.NDArray[np.float32], backbone: str) -> list[Issue]:
    """Return pictures that a backbone sees far from all, and those far from their class and near another.

    features: float32 [rows, d]. Distances are cosines to the means of classes after centring, the picture
    itself taken out of its own class's mean. Labels are doubted only where these means find seven in ten.
    """
    unit = unit_rows(features - features.mean(axis=0))
    labels = subject.labels
    count = np.bincount(labels, minlength=len(subject.examples.classes))
    sums = np.zeros((len(count), unit.shape[1]), np.float32)
    np.add.at(sums, labels, unit)
    near = unit @ unit_rows(sums).T
    near[:, count < 2] = -1.0
    rows = np.arange(len(unit))
    own = np.einsum("ij,ij->i", unit, unit_rows(sums[labels] - unit))
    near[rows, labels] = own
    score = np.zeros(len(unit))
    for code in np.flatnonzero(count >= 10):
        mine = labels == code
        score[mine] = robust(own[mine].astype(np.float64))
    others = near.copy()
    others[rows, labels] = -np.inf
    best = others.argmax(axis=1)
    usual = np.array([np.median(own[labels == k]) if count[k] else np.inf for k in range(len(count))])
    lengths = np.linalg.norm(features - features.mean(axis=0), axis=1).astype(np.float64)
    far = robust(np.log(lengths + 1e-9))
    found = [
        _issue(subject, "outlier", int(row), f"{far[row]:.0f} robust deviations from the centre ({backbone})",
               float(far[row]))
        for row in np.flatnonzero(far > _FAR)
    ]  # fmt: skip
    told = [float((own > others[rows, best])[labels == code].mean()) for code in np.flatnonzero(count)]
    if np.mean(told) < _TELLS_APART:
        return found  # a backbone that cannot tell these classes apart has no say about labels
    for row in np.flatnonzero((score < _ODD_LABEL) & (others[rows, best] > usual[best])):
        says = f"to {backbone} it lies among '{subject.examples.classes[int(best[row])]}'"
        found.append(_issue(subject, "label-outlier", int(row), says, -float(score[row])))
    return found


def robust(values: Doubles) -> Doubles:
    """Return how many robust standard deviations (1.4826 x median absolute deviation) values lie off."""
    middle = np.median(values)
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    if spread < 1e-9:
        return np.zeros(len(values))
    scaled: Doubles = (values - middle) / spread
    return scaled


def cut_off(subject: Subject) -> tuple[list[Issue], str]:
    """Return cells whose view leaves the image much, and a remark ("" for none) where very many do.

    Then the size of the view is the matter, and of single cells only those are told that are mostly outside.
    """
    outside = outside_image(subject)
    rows = np.flatnonzero(outside > _OUTSIDE)
    remark = ""
    if len(rows) > max(_MANY, _OF_ALL * len(subject)):
        remark = (
            f"The view of {len(rows):,} of {len(subject):,} cells leaves the image by more than a third: "
            "they lie at the border of their fields, and what is outside is continued border. Those that are "
            "mostly outside are named one by one; a smaller view would leave fewer."
        )
        rows = np.flatnonzero(outside > _MOSTLY_OUTSIDE)
    issues = [
        _issue(subject, "off-image", int(row), f"{outside[row]:.0%} of the view is outside", outside[row])
        for row in rows
    ]
    return issues, remark


def outside_image(subject: Subject) -> Doubles:
    """Return which share of each row's view lies outside its image, float64 [rows]; 0 without a box."""
    items = subject.items
    found = np.zeros(len(items))
    if items.view.kind == "tile":
        return found
    shapes: dict[str, tuple[int, int]] = {}
    for row in np.flatnonzero(items.boxes[:, 2] >= 0).tolist():
        image, box = items.images[row], items.box(row)
        if box is None:
            continue
        if image not in shapes:
            shapes[image] = images.size(image)
        width, height = shapes[image]
        left, top, side = images.frame(width, height, box, items.view, items.scale(row))
        inside = _overlap(left, side, width) * _overlap(top, side, height)
        found[row] = 1.0 - inside / side**2
    return found


def _overlap(start: int, side: int, length: int) -> int:
    return max(0, min(start + side, length) - max(start, 0))


def _issue(subject: Subject, kind: str, row: int, says: str, score: float = 0.0) -> Issue:
    return Issue(KINDS[kind], (member_of(subject, row),), says, score)


def member_of(subject: Subject, row: int) -> Member:
    """Return a row of the task as a member of an issue."""
    return Member("cell", int(row), subject.samples[row], subject.place(row))
