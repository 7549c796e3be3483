"""A task and its pools as a backbone sees them, and what in that is worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.audit.alike import threshold
from cytobench.audit.issue import KINDS, Issue, Member
from cytobench.audit.pool import PoolSubject, pool_features, pool_member
from cytobench.audit.quality import member_of, odd_features
from cytobench.cards import BackboneCard
from cytobench.checks.near import near_pairs, unit_rows
from cytobench.checks.subject import Subject
from cytobench.digests import FileDigests
from cytobench.encoders import load
from cytobench.features.extract import extract
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore
from cytobench.progress import Reporter

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """Features of a task's rows, float32 [n, d], and of each pool's pictures, [m, d].

    Divided by the task's standard deviations where the card says `standardise`.
    """

    backbone: str
    features: Floats
    pools: tuple[Floats, ...]

    @classmethod
    def by(
        cls,
        card: BackboneCard,
        subject: Subject,
        pools: Sequence[PoolSubject],
        *,
        home: Path,
        device: str,
        digests: FileDigests,
        reporter: Reporter,
    ) -> Seen:
        """Return what `card` sees; stored features are used, missing ones computed and stored."""
        encoder = load(card, home=home, digests=digests, device=device, reporter=reporter)
        store = FeatureStore(home / "features")
        jobs = [subject.items, *(pool.items for pool in pools if pool.items is not None)]
        extract(jobs, [encoder], store, reporter=reporter)
        space = store.space(space_id(encoder.identity), dim=encoder.dim, identity=encoder.identity)
        mine = space.load(subject.items.ids)
        others = [
            pool_features(pool, encoder, reporter) if pool.items is None else space.load(pool.items.ids)
            for pool in pools
        ]
        spread = np.maximum(mine.std(axis=0), 1e-6) if card.standardise else np.ones(1, np.float32)
        return cls(card.name, mine / spread, tuple(other / spread for other in others))

    def issues(
        self, subject: Subject, pools: Sequence[PoolSubject], before: Sequence[Issue], reporter: Reporter
    ) -> tuple[list[Issue], str]:
        """Return what is alike or odd and not among the issues `before`, and a line about the threshold."""
        centre = self.features.mean(axis=0)
        unit = unit_rows(self.features - centre)
        least = threshold(unit)
        pairs = near_pairs(unit, least=least, reporter=reporter, label="comparing features")
        known = {frozenset(member.name for member in issue.members) for issue in before}
        found = []
        for at in np.flatnonzero(subject.leaks(pairs.left, pairs.right)):
            members = (member_of(subject, int(pairs.left[at])), member_of(subject, int(pairs.right[at])))
            if frozenset(member.name for member in members) not in known:
                found.append(self._alike("alike-across-folds", members, float(pairs.cosine[at])))
        for number, (pool, others) in enumerate(zip(pools, self.pools, strict=True)):
            near = near_pairs(
                unit,
                unit_rows(others - centre),
                least=least,
                reporter=reporter,
                label="comparing features with the pool",
            )
            for left, right, cosine in zip(near.left, near.right, near.cosine, strict=True):
                members = (member_of(subject, int(left)), pool_member(pool, number, int(right)))
                if frozenset(member.name for member in members) not in known:
                    found.append(self._alike("alike-pool", members, float(cosine)))
        found += odd_features(subject, self.features, self.backbone)
        line = (
            f"{self.backbone}: {len(found):,} findings; pictures are alike from a cosine of {least:.4f} on, "
            "five robust standard deviations above the median nearest neighbour of this set."
        )
        return found, line

    def _alike(self, kind: str, members: tuple[Member, Member], cosine: float) -> Issue:
        return Issue(KINDS[kind], members, f"{self.backbone}: cosine {cosine:.4f}", cosine)
