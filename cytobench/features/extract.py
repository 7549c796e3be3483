"""Computing the features that are missing: each image decoded once, for all encoders that need it.

Under `torchrun` every process takes its share of the batches (RANK, WORLD_SIZE) and then waits until the
others have stored theirs; nothing else is needed, on one machine or over a shared folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cytobench.features.batches import Batch, Plan, Share, plan_batches
from cytobench.features.encode import Runner, default_batch_size
from cytobench.features.items import Items
from cytobench.features.prepare import Prepare, Prepared, ReadAhead, Wanted, default_workers, in_thread
from cytobench.features.processes import PrepareProcesses, worth_processes
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore, Space, require_finite
from cytobench.features.writer import ColumnRanges, SpaceWriter
from cytobench.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from cytobench.encoders import Encoder

_AHEAD = 3  # batches prepared before they are needed
_JUDGE_ROWS = 32  # fewer images may well share a value
_PATIENCE = 600.0  # seconds without news after which the work of other processes is taken over
_POLL = 0.5


@dataclass(frozen=True)
class SpaceReport:
    """What was done for one encoder.

    requested, computed, cached: distinct items asked for, computed here, and found or computed by others;
    seconds: in the encoder alone; max_rounding_error: largest change made by storing half precision;
    constant: features that did not vary over the computed items; batch_size: after any back-off.
    """

    encoder: str
    space: str
    requested: int
    computed: int
    cached: int
    seconds: float
    max_rounding_error: float
    constant: int
    batch_size: int

    @property
    def images_per_second(self) -> float:
        """The encoder's own rate (0 where nothing was computed)."""
        return self.computed / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did: per space, and what reading images cost.

    seconds: wall time; decoded: images decoded; reading: seconds of work in reading threads; waited: seconds
    in which encoders had to wait for images.
    """

    spaces: tuple[SpaceReport, ...]
    seconds: float
    decoded: int
    reading: float
    waited: float

    @property
    def computed(self) -> int:
        """Features computed, over all spaces."""
        return sum(space.computed for space in self.spaces)


@dataclass
class _Target:
    """One encoder on its way: where its features go, what is missing, and what has been done."""

    encoder: Encoder
    space: Space
    runner: Runner
    missing: npt.NDArray[np.bool_]
    ranges: ColumnRanges
    seconds: float = 0.0
    computed: int = 0
    max_rounding_error: float = 0.0
    writer: SpaceWriter | None = field(default=None, repr=False)

    def wants(self, batch: Batch) -> bool:
        return bool(self.missing[batch.rows].any())

    def take(self, plan: Plan, prepared: Prepared) -> None:
        """Encode a prepared batch and hand what was missing of it to the writer."""
        batch = prepared.batch
        began = time.perf_counter()
        features = self.runner.run(
            prepared.inputs[self.encoder.prepare_key], lambda at: plan.name(batch.start + at)
        )
        self.seconds += time.perf_counter() - began
        names = _LazyNames(plan, batch.start, len(features))
        require_finite(features, names, f"the backbone {self.encoder.name}")
        fresh = self.missing[batch.rows]
        assert self.writer is not None
        self.writer.add(plan.ids[batch.rows][fresh], features[fresh])
        self.ranges.add(features)
        self.computed += int(fresh.sum())
        self.missing[batch.rows] = False


class _LazyNames(Sequence[str]):
    """Names of a batch's items, made only when a message needs one."""

    def __init__(self, plan: Plan, start: int, length: int) -> None:
        self._plan, self._start, self._length = plan, start, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: int) -> str:  # type: ignore[override]
        return self._plan.name(self._start + int(at))


def extract(
    jobs: Sequence[Items],
    encoders: Sequence[Encoder],
    store: FeatureStore,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
    share: Share | None = None,
    patience: float = _PATIENCE,
) -> ExtractionReport:
    """Compute and store the features of all items of `jobs` that some encoder's space lacks.

    Resumable at any point, with the same bits as an undisturbed run of the same jobs. batch_size: images a
    network sees at once; workers: threads that read images; share: the part of this process, by default that
    of `torchrun`; patience: seconds without news from the other processes after which their part is computed
    here. Raises DataError naming an image that cannot be read, EncoderError, StoreError; everything computed
    before is stored.
    """
    began = time.perf_counter()
    reporter = reporter or SilentReporter()
    share = share or Share.of_environment(os.environ)
    size = batch_size or default_batch_size(encoders)
    plan = plan_batches(jobs, size)
    targets = [_target(encoder, store, plan, size, reporter) for encoder in _distinct(encoders)]
    cost = _Cost()
    _compute(plan, targets, share, workers, reporter, cost)
    while share.world > 1 and _others_left(plan, targets, patience, reporter):
        _compute(plan, targets, Share(), workers, reporter, cost)
    reports = tuple(_report(target, plan, reporter) for target in targets)
    return ExtractionReport(reports, time.perf_counter() - began, cost.decoded, cost.reading, cost.waited)


@dataclass
class _Cost:
    decoded: int = 0
    reading: float = 0.0
    waited: float = 0.0


def _distinct(encoders: Sequence[Encoder]) -> list[Encoder]:
    """Keep one encoder per space: two cards may describe the same thing."""
    return list({space_id(encoder.identity): encoder for encoder in reversed(encoders)}.values())[::-1]


def _target(encoder: Encoder, store: FeatureStore, plan: Plan, size: int, reporter: Reporter) -> _Target:
    space = store.space(space_id(encoder.identity), dim=encoder.dim, identity=encoder.identity)
    runner = Runner(encoder, size, reporter.warn)
    return _Target(encoder, space, runner, space.missing(plan.ids), ColumnRanges(encoder.dim))


def _compute(
    plan: Plan,
    targets: Sequence[_Target],
    share: Share,
    workers: int | None,
    reporter: Reporter,
    cost: _Cost,
) -> None:
    """Compute the batches of one share in which something is missing."""
    batches = [batch for batch in plan.of(share) if any(target.wants(batch) for target in targets)]
    total = sum(batch.stop - batch.start for batch in batches)
    if not batches:
        return
    threads = workers or default_workers()
    targets = [target for target in targets if any(target.wants(batch) for batch in batches)]
    label = f"features: {', '.join(target.encoder.name for target in targets)}"
    with ExitStack() as stack:
        for target in targets:
            target.writer = stack.enter_context(SpaceWriter(target.space))
        prepare = _preparers(targets, total, threads, stack, reporter)
        reader = stack.enter_context(ReadAhead(plan, prepare, workers=threads, ahead=_AHEAD))
        step = stack.enter_context(reporter.task(label, total))
        for prepared in reader.batches(_wanted(batches, targets)):
            for target in targets:
                if target.wants(prepared.batch):
                    target.take(plan, prepared)
            step.advance(prepared.batch.stop - prepared.batch.start)
        cost.decoded += reader.effort.decoded
        cost.reading += reader.effort.seconds
        cost.waited += reader.effort.waited
    for target in targets:
        assert target.writer is not None
        target.max_rounding_error = max(target.max_rounding_error, target.writer.max_rounding_error)


def _wanted(batches: Sequence[Batch], targets: Sequence[_Target]) -> Iterator[Wanted]:
    for batch in batches:
        keys = dict.fromkeys(target.encoder.prepare_key for target in targets if target.wants(batch))
        yield Wanted(batch, tuple(keys))


def _preparers(
    targets: Sequence[_Target], rows: int, workers: int, stack: ExitStack, reporter: Reporter
) -> dict[str, Prepare]:
    """Decide per `prepare_key` whether threads or processes prepare."""
    encoders = {target.encoder.prepare_key: target.encoder for target in reversed(targets)}
    travelling = {key: one for key, one in encoders.items() if worth_processes(one, rows, workers)}
    prepare = {key: in_thread(one.prepare) for key, one in encoders.items() if key not in travelling}
    if travelling:
        processes = stack.enter_context(PrepareProcesses(travelling, workers, reporter.warn))
        prepare |= {key: processes.prepare(key) for key in travelling}
    return prepare


def _others_left(plan: Plan, targets: Sequence[_Target], patience: float, reporter: Reporter) -> bool:
    """Wait until other processes have stored their share; True when they seem to be gone."""
    left, since = -1, time.monotonic()
    while True:
        for target in targets:
            target.missing = target.space.missing(plan.ids)
        now = sum(int(target.missing.sum()) for target in targets)
        if not now:
            return False
        if now != left:
            left, since = now, time.monotonic()
        elif time.monotonic() - since > patience:
            reporter.warn(
                f"No news from the other processes for {patience:.0f} s: computing their part here."
            )
            return True
        time.sleep(_POLL)


def _report(target: _Target, plan: Plan, reporter: Reporter) -> SpaceReport:
    constant = target.ranges.constant() if target.computed >= _JUDGE_ROWS else np.empty(0, np.int64)
    if len(constant):
        some = ", ".join(map(str, constant[:5])) + (", …" if len(constant) > 5 else "")
        reporter.warn(
            f"{target.encoder.name}: {len(constant)} of {target.encoder.dim} features are the same for all "
            f"{target.computed} images (columns {some})."
        )
    return SpaceReport(
        encoder=target.encoder.name,
        space=target.space.id,
        requested=len(plan),
        computed=target.computed,
        cached=len(plan) - target.computed,
        seconds=target.seconds,
        max_rounding_error=target.max_rounding_error,
        constant=len(constant),
        batch_size=target.runner.batch_size,
    )
