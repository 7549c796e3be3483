"""Batches are decided by what is asked for: every item once, in order, shared out without gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytobench.cards import View
from cytobench.errors import UsageError
from cytobench.features.batches import Share, plan_batches
from cytobench.features.items import Items

CELLS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=20)  # (image, cell in it)


def job_of(cells: list[tuple[int, int]]) -> Items:
    ids = np.array([[image] * 8 + [cell] * 8 for image, cell in cells], np.uint8).reshape(-1, 16)
    boxes = np.array([[cell, 0, 1, 1] for _, cell in cells], np.int32).reshape(-1, 4)
    names = tuple(f"{image}.png" for image, _ in cells)
    return Items(ids, names, boxes, View(kind="window", size=8), np.full(len(cells), np.nan))


@given(jobs=st.lists(CELLS, max_size=3), size=st.integers(1, 7), world=st.integers(1, 4))
def test_every_item_is_in_one_batch_of_one_share(
    jobs: list[list[tuple[int, int]]], size: int, world: int
) -> None:
    plan = plan_batches([job_of(cells) for cells in jobs], size)
    shared = [batch for rank in range(world) for batch in plan.of(Share(rank, world))]
    taken = [at for batch in shared for at in range(batch.start, batch.stop)]
    assert sorted(taken) == list(range(len(plan)))
    found = [tuple(int(v) for v in plan.ids[at][[0, 15]]) for at in range(len(plan))]
    assert sorted(found) == sorted({cell for cells in jobs for cell in cells})
    for batch in plan.batches:
        assert 1 <= batch.stop - batch.start <= size
        assert len(set(plan.job[batch.rows])) == 1
    for at in range(len(plan)):
        items, row = plan.source(at)
        assert bytes(items.ids[row]) == bytes(plan.ids[at])


def test_cells_of_one_image_stand_together_in_order_of_appearance() -> None:
    plan = plan_batches([job_of([(1, 0), (0, 0), (1, 1), (0, 0), (1, 0)])], 2)
    assert [(int(one[0]), int(one[15])) for one in plan.ids] == [(1, 0), (1, 1), (0, 0)]


def test_a_task_without_shared_cells_has_the_same_batches_alone_and_in_company() -> None:
    first, second = job_of([(0, n) for n in range(5)]), job_of([(1, n) for n in range(5)])
    together = plan_batches([first, second], 4).batches[2:]
    alone = plan_batches([second], 4).batches
    assert [batch.stop - batch.start for batch in together] == [batch.stop - batch.start for batch in alone]


def test_shares_come_from_the_environment_of_torchrun() -> None:
    assert Share.of_environment({}) == Share(0, 1)
    assert Share.of_environment({"RANK": "2", "WORLD_SIZE": "4"}) == Share(2, 4)
    for wrong in ({"RANK": "4", "WORLD_SIZE": "4"}, {"RANK": "x", "WORLD_SIZE": "4"}):
        with pytest.raises(UsageError, match="WORLD_SIZE"):
            Share.of_environment(wrong)
    with pytest.raises(UsageError, match="at least 1"):
        plan_batches([], 0)
