"""What is pictured of an example: itself, or the instances of a bag that a model attended to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from cytobench.digests import FileDigests
from cytobench.evaluation.plan import TaskPlan, plan_task
from cytobench.inspection.galleries import galleries
from cytobench.inspection.mistakes import Judged
from cytobench.inspection.montage import files_of, pictured, sheet
from cytobench.pictures.sheet import RIGHT, WRONG
from cytobench.progress import SilentReporter
from tests.evaluation.toy_benchmark import bag_task, request, task, write_cells


def _plan(root: Path, home: Path, *, bags: bool) -> TaskPlan:
    write_cells(root)
    card = bag_task(root) if bags else task(root)
    return plan_task(card, request(root, home, tasks=[card]), FileDigests(home), SilentReporter())


def _all_wrong(plan: TaskPlan) -> Judged:
    """A backbone that is certain of the class after the true one."""
    examples, k = plan.examples, len(plan.examples.classes)
    predicted = (examples.labels + 1) % k
    return Judged(
        ("net",),
        examples.classes,
        examples.samples,
        examples.groups,
        examples.labels,
        np.eye(k)[predicted][None],
        predicted[None],
    )


def test_a_cell_is_shown_as_it_was_cut_under_its_own_file(tmp_path: Path, home: Path) -> None:
    plan = _plan(tmp_path, home, bags=False)
    judged = _all_wrong(plan)
    files = files_of(plan, judged)
    shows = pictured(judged, galleries(judged, most=3, unit="cell"), plan, {}, SilentReporter())
    assert len(shows) == len(judged.classes)
    for gallery, shown in shows:
        for row, one in zip(gallery.rows.tolist(), shown, strict=True):
            place = plan.data.table["sample"].to_list().index(judged.samples[row])
            assert plan.items.images[place].endswith(files[row])
            assert (one.pictures[0] == plan.items.crops([place])[0]).all()
            assert one.lines[0] == f"is {plan.data.table['label'][place]}"
            assert one.lines[-1] == files[row]


def test_a_bag_is_shown_by_its_heaviest_instances(tmp_path: Path, home: Path) -> None:
    plan = _plan(tmp_path, home, bags=True)
    judged = _all_wrong(plan)
    table = plan.data.table
    random = np.random.default_rng(0)
    attention = pl.DataFrame(
        {
            "bag": table["bag"],
            "sample": table["sample"],
            "fold": np.zeros(len(table), np.int16),
            "weight": random.dirichlet(np.ones(6), 8).ravel(),
        }
    ).sample(fraction=1.0, shuffle=True, seed=1)
    shows = pictured(judged, galleries(judged, most=2, unit="bag"), plan, {0: attention}, SilentReporter())
    gallery, shown = shows[0]
    mine = attention.filter(pl.col("bag") == judged.samples[gallery.rows[0]]).sort("weight", descending=True)
    places = [table["sample"].to_list().index(sample) for sample in mine["sample"]]
    for picture, crop in zip(shown[0].pictures, plan.items.crops(places), strict=True):
        assert (picture == crop).all()
    assert shown[0].below[0] == f"{6 * mine['weight'][0]:.1f} x even share"


def test_frames_tell_right_from_wrong(tmp_path: Path, home: Path) -> None:
    plan = _plan(tmp_path, home, bags=False)
    judged = _all_wrong(plan)
    shows = pictured(judged, galleries(judged, most=2, unit="cell"), plan, {}, SilentReporter())
    pixels = np.asarray(sheet("t", shows, ["note"]))

    def count(colour: str) -> int:
        return int((pixels == [int(colour[k : k + 2], 16) for k in (1, 3, 5)]).all(-1).sum())

    assert count(WRONG) > 500
    assert count(RIGHT) == 0
