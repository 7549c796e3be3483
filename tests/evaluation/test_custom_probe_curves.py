"""A plugin's probe takes part in few-shot curves, stress and dilution, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cytobench.cards import ProbeCard, TaskCard
from cytobench.evaluation.extras import Extras, extras
from cytobench.evaluation.results import RunResult
from cytobench.evaluation.run import benchmark
from cytobench.perturb import Perturbation
from cytobench.progress import SilentReporter
from tests.evaluation import toy_benchmark as toy
from tests.evaluation.test_custom_probes import CENTROID, card

BY_THE_BATCH = """
import numpy as np

def fit(training, test):
    # Divides by the tested rows' own spread: what it makes of a row depends on the rows beside it.
    scale = np.asarray(test).std(0) + 1e-9
    means = np.stack([training.features[training.labels == k].mean(0) for k in range(training.n_classes)])
    logits = -(((test[:, None] - means) / scale) ** 2).mean(-1)
    made = np.exp(logits - logits.max(1, keepdims=True))
    return made / made.sum(1, keepdims=True)
"""
PICKY = """
import numpy as np

def fit(training, test):
    if len(training.labels) < 6:
        raise ValueError("two cells of each class are needed")
    return np.full((len(test), training.n_classes), 1 / training.n_classes)
"""
OF_BAGS = """
import numpy as np

UNIT = "bag"

def fit(training, test):
    score = np.array([bag.mean() for bag in np.split(test.features, test.offsets[1:-1])])
    likely = 1 / (1 + np.exp(score.mean() - score))
    return np.stack([1 - likely, likely], 1)
"""


def _extras(
    root: Path, probe: ProbeCard, *, tasks: list[TaskCard], shots: tuple[int, ...] = (), **more: bool
) -> tuple[list[RunResult], Extras]:
    probes = ["knn", probe.name] if probe.unit == "cell" else [probe.name]
    asked = toy.request(
        root, root / "home", "colour", tasks=tasks, probes=probes, custom={probe.name: probe}, **more
    )
    results = [one.result for one in benchmark(asked) if one.result is not None]
    changes = [Perturbation("hue", 0.2), Perturbation("shift", 0.1)]
    return results, extras(
        asked,
        results,
        SilentReporter(),
        stress=True,
        shots=shots,
        shot_seeds=3,
        perturbations=changes,
    )


def test_it_has_a_few_shot_curve_beside_the_others(tmp_path: Path) -> None:
    toy.write_cells(tmp_path)
    _, found = _extras(tmp_path, card(tmp_path / "p", CENTROID), tasks=[toy.task(tmp_path)], shots=(1, 8))
    assert found.problems == ()
    assert set(found.shots["probe"]) == {"prototype", "knn", "linear", "my-probe"}
    mine = found.shots.filter(pl.col("probe") == "my-probe")
    assert len(mine) == 2 * 3
    means = dict(mine.group_by("shots").agg(pl.col("value").mean()).iter_rows())
    assert means[8] > means[1]
    assert mine["value"].n_unique() > 1


def test_where_it_needs_more_cells_that_is_said_and_the_others_are_shown(tmp_path: Path) -> None:
    toy.write_cells(tmp_path)
    _, found = _extras(tmp_path, card(tmp_path / "p", PICKY), tasks=[toy.task(tmp_path)], shots=(1, 2))
    assert set(found.shots["probe"]) == {"prototype", "knn", "linear"}
    (said,) = found.problems
    assert said.startswith("colour on toy (my-probe): no few-shot curve: The probe my_probe:fit failed")
    assert "two cells of each class are needed" in said


@pytest.mark.parametrize("code", [CENTROID, BY_THE_BATCH], ids=["row by row", "by the batch"])
def test_under_stress_unchanged_cells_score_what_the_run_scored(tmp_path: Path, code: str) -> None:
    toy.write_cells(tmp_path)
    results, found = _extras(tmp_path, card(tmp_path / "p", code), tasks=[toy.task(tmp_path)])
    assert found.problems == ()
    mine = found.stress.filter(pl.col("probe") == "my-probe")
    assert mine["kind"].to_list() == ["none", "hue", "shift"]
    (tuned,) = [one for one in results if one.tuned and one.probe == "my-probe"]
    assert mine["value"][0] == pytest.approx(tuned.value)
    assert mine["value"][1] < mine["value"][0]  # colours are all there is to see


def test_a_probe_of_bags_is_stressed_and_diluted_and_has_no_few_shot_curve(tmp_path: Path) -> None:
    toy.write_cells(tmp_path, classes=("benign", "malignant"))
    table = pl.read_csv(tmp_path / "cells.csv")
    positive = (pl.col("diagnosis") == "malignant") & (pl.int_range(pl.len()) % 2 == 0)
    table.with_columns(
        instance_label=pl.when(positive).then(pl.lit("odd")).otherwise(pl.lit("usual"))
    ).write_csv(tmp_path / "cells.csv")
    probe = card(tmp_path / "p", OF_BAGS, unit="bag")
    _, found = _extras(tmp_path, probe, tasks=[toy.bag_task(tmp_path)], shots=(1,))
    assert found.stress["kind"].to_list() == ["none", "hue", "shift"]
    assert found.shots.is_empty()
    assert found.problems == ("toy-bags: no few-shot curves, which count cells: its unit is the bag.",)
    assert set(found.dilution["probe"]) == {"my-probe"}
    assert np.isfinite(found.dilution.filter(pl.col("fraction") == 0.5)["value"].to_list()).all()
