"""A probe of one's own runs under the protocol of all others, sees no test label, is named when it fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cytobench.cards import ProbeCard, Split
from cytobench.errors import ProbeError, UsageError
from cytobench.evaluation.custom import Custom, custom_recipe
from cytobench.evaluation.evaluate import Evaluation, evaluate
from cytobench.evaluation.examples import Examples
from cytobench.evaluation.folds import outer_folds
from cytobench.evaluation.recipes import Training
from cytobench.evaluation.run import RunOutcome, benchmark
from cytobench.interchange.bundle_check import check_bundle
from cytobench.interchange.bundle_export import Chosen, pack
from cytobench.leaderboard.collect import StoredRuns
from cytobench.probes.bags import Bags
from cytobench.progress import SilentReporter
from tests.evaluation import toy_benchmark as toy
from tests.evaluation.test_tuning import _problem

CENTROID = '''
"""Distance to class means, sharpened."""
import numpy as np

VERSION = "2"
GRID = {"sharp": [0.0, 1.0, 4.0]}


def fit(training, test, *, sharp=1.0, scale=1.0):
    means = np.stack([training.features[training.labels == k].mean(0) for k in range(training.n_classes)])
    distances = ((test[:, None] - means) ** 2).sum(-1) * scale
    noise = training.rng.normal(0, 1e-6, distances.shape)
    logits = -sharp * distances + noise
    made = np.exp(logits - logits.max(1, keepdims=True))
    return made / made.sum(1, keepdims=True)
'''


def card(
    folder: Path, code: str, *, name: str = "my-probe", module: str = "my_probe", **more: str
) -> ProbeCard:
    """A probe card of a plugin folder that holds `code`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(code)
    source = folder / "probes" / "card.toml"
    return ProbeCard(name=name, title="Mine", function=f"{module}:fit", source=source, **more)


@pytest.fixture
def centroid(tmp_path: Path) -> Custom:
    return custom_recipe(card(tmp_path / "plugin", CENTROID))


def _evaluate(recipe: Custom, examples: Examples, features: object, *, tuned: bool) -> Evaluation:
    folds = outer_folds(examples, Split(folds=3))
    return evaluate(features, examples, folds, recipe, tuned=tuned, metric="accuracy", key=("t",))


def test_what_a_module_declares_is_part_of_the_runs_identity(centroid: Custom, tmp_path: Path) -> None:
    assert centroid.default_rule() == {
        "function": "my_probe:fit",
        "version": "2",
        "params": {"sharp": 1.0},
    }
    assert centroid.space()["grid"] == {"sharp": [0.0, 1.0, 4.0]}
    assert centroid.candidates() == [{"sharp": 0.0}, {"sharp": 1.0}, {"sharp": 4.0}]
    newer = custom_recipe(card(tmp_path / "newer", CENTROID.replace('"2"', '"3"')))
    assert newer.default_rule() != centroid.default_rule()


def test_poisoned_test_labels_change_neither_parameters_nor_predictions(centroid: Custom) -> None:
    features, examples = _problem()
    folds = outer_folds(examples, Split(folds=3))
    honest = _evaluate(centroid, examples, features, tuned=True)
    poisoned = examples.labels.copy()
    poisoned[folds.test(0)] = (poisoned[folds.test(0)] + 1) % 3
    again = evaluate(
        features,
        replace(examples, labels=poisoned),
        folds,
        centroid,
        tuned=True,
        metric="accuracy",
        key=("t",),
    )
    in_first = folds.fold[honest.rows] == 0
    assert again.folds[0].params == honest.folds[0].params
    assert np.array_equal(again.probabilities[in_first], honest.probabilities[in_first])
    first = [trial for trial in honest.trials if trial["outer_fold"] == "0"]
    assert first == [trial for trial in again.trials if trial["outer_fold"] == "0"]


def test_it_is_tuned_on_inner_folds_and_untuned_by_its_own_defaults(centroid: Custom) -> None:
    features, examples = _problem()
    untuned = _evaluate(centroid, examples, features, tuned=False)
    tuned = _evaluate(centroid, examples, features, tuned=True)
    assert [fold.params for fold in untuned.folds] == [{"sharp": 1.0}] * 3
    assert len(tuned.trials) == 9
    assert all(fold.params["sharp"] > 0 for fold in tuned.folds)
    assert (tuned.probabilities.argmax(1) == examples.labels).mean() > 0.75
    assert np.array_equal(
        tuned.probabilities, _evaluate(centroid, examples, features, tuned=True).probabilities
    )


def test_it_is_handed_the_training_part_alone_and_cannot_change_it(tmp_path: Path) -> None:
    code = (
        "import numpy as np\nSEEN = []\n"
        "def fit(training, test):\n"
        "    SEEN.append((training, test))\n"
        "    for array in (training.features, training.labels, training.groups, test):\n"
        "        assert not array.flags.writeable\n"
        "    return np.full((len(test), training.n_classes), 1 / training.n_classes)\n"
    )
    recipe = custom_recipe(card(tmp_path, code))
    features, examples = _problem()
    made = _evaluate(recipe, examples, features, tuned=True)
    assert np.allclose(made.probabilities, 1 / 3)
    for training, test in recipe.function.__globals__["SEEN"]:
        rows = {row.tobytes() for row in np.asarray(training.features)}
        assert not rows & {row.tobytes() for row in np.asarray(test)}
        assert len(training.features) == len(training.labels) == len(training.groups)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return np.ones((len(test), 2))", r"shape \[\d+, 2\], not \[\d+, 3\]"),
        ("return np.full((len(test), 3), np.nan)", "numbers that are not finite"),
        ("return np.ones((len(test), 3))", r"no probabilities \(row 0: \[1. 1. 1.\]\)"),
        (
            "return np.tile([1.5, -0.5, 0.0], (len(test), 1))",
            r"no probabilities \(row 0: \[ 1.5 -0.5  0. \]\)",
        ),
        ("return 'yes'", "returned str, not an array of numbers"),
        ("raise KeyError('colour')", "failed with KeyError: 'colour'"),
        ("training.features[:] = 0", "failed with ValueError: assignment destination is read-only"),
        ("import sys; sys.exit(3)", r"failed with ImportError: it calls sys.exit\(3\)"),
    ],
)
def test_what_it_returns_is_checked_and_failures_name_the_function(
    tmp_path: Path, body: str, reason: str
) -> None:
    code = f"import numpy as np\ndef fit(training, test):\n    {body}\n"
    recipe = custom_recipe(card(tmp_path, code))
    features, examples = _problem()
    with pytest.raises(ProbeError, match=rf"The probe my_probe:fit .*{reason}.*correct the plugin\."):
        _evaluate(recipe, examples, features, tuned=False)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def other(): ...", "my_probe has no function 'fit'"),
        ("import no_such_thing_at_all", "cannot be imported .*no_such_thing_at_all"),
        ("def fit(training, test:", "cannot be imported .*SyntaxError"),
        ("import sys; sys.exit('bye')", r"cannot be imported .*calls sys.exit\('bye'\)"),
        ("GRID = {'k': 3}\ndef fit(training, test, k=1): ...", "must give a list"),
        ("GRID = {'q': [3]}\ndef fit(training, test, k=1): ...", r"GRID names q, .* \(it has k\)"),
        ("UNIT = 'bag'\ndef fit(training, test): ...", "unit = \"cell\" and my_probe UNIT = 'bag'"),
        ("GRID = {'k': [*range(900)]}\ndef fit(training, test, k=1): ...", "has 900 settings"),
    ],
)
def test_what_a_module_declares_wrongly_is_said(tmp_path: Path, code: str, reason: str) -> None:
    with pytest.raises(ProbeError, match=f"my-probe: .*{reason}"):
        custom_recipe(card(tmp_path, code))


def test_bags_are_handed_over_whole(tmp_path: Path) -> None:
    code = (
        "import numpy as np\nUNIT = 'bag'\n"
        "def fit(training, test):\n"
        "    spread = np.array([bag.std() for bag in np.split(test.features, test.offsets[1:-1])])\n"
        "    likely = 1 / (1 + np.exp(-spread))\n"
        "    return np.stack([1 - likely, likely], 1)\n"
    )
    recipe = custom_recipe(card(tmp_path, code, unit="bag"))
    rng = np.random.default_rng(0)
    bags = Bags(rng.normal(size=(9, 4)).astype(np.float32), np.array([0, 4, 6, 9]))
    training = Training(bags, np.array([0, 1, 1]), np.arange(3), 2, ("t",))
    assert recipe.predict(training, {}, bags, np.arange(3)).probabilities.shape == (3, 2)


def _run(tmp_path: Path, home: Path, probe: ProbeCard, *names: str, **changes: object) -> list[RunOutcome]:
    if not (tmp_path / "toy").is_dir():
        toy.write_cells(tmp_path / "toy")
    asked = toy.request(
        tmp_path / "toy", home, *names, probes=[probe.name], custom={probe.name: probe}, **changes
    )
    return benchmark(asked)


def test_a_run_is_kept_found_again_and_made_anew_for_another_version(tmp_path: Path, home: Path) -> None:
    probe = card(tmp_path / "one", CENTROID)
    made = _run(tmp_path, home, probe, "colour", "majority")
    assert [outcome.status for outcome in made] == ["done"] * 4
    assert [outcome.status for outcome in _run(tmp_path, home, probe, "colour", "majority")] == ["cached"] * 4
    stored = StoredRuns(home, SilentReporter()).runs
    assert {(run.backbone, run.probe, run.tuned) for run in stored} == {
        (name, "my-probe", tuned) for name in ("colour", "majority") for tuned in (True, False)
    }
    (result,) = [run for run in stored if run.backbone == "colour" and not run.tuned]
    assert result.versions["my_probe:fit"] == "2"
    newer = card(tmp_path / "two", CENTROID.replace('"2"', '"3"'))
    assert [outcome.status for outcome in _run(tmp_path, home, newer, "colour")] == ["done"] * 2


def test_its_runs_travel_in_a_bundle(tmp_path: Path, home: Path) -> None:
    probe = card(tmp_path / "mine", CENTROID)
    _run(tmp_path, home, probe, "colour")
    chosen = Chosen(
        runs=StoredRuns(home, SilentReporter()).runs,
        tasks={"toy": toy.task(tmp_path / "toy")},
        backbones={"colour": toy.backbone("colour")},
        probes={"my-probe": probe},
    )
    made = pack(chosen, home, lab="north", note="", salt=None, reporter=SilentReporter())
    assert (made.runs, made.left_out) == (2, ())
    (tmp_path / "north.zip").write_bytes(made.content)
    assert not check_bundle(tmp_path / "north.zip", SilentReporter()).problems
    with pytest.raises(UsageError, match=r"no run to pack.*my-probe"):  # nobody here knows the probe any more
        pack(replace(chosen, probes={}), home, lab="north", note="", salt=None, reporter=SilentReporter())


def test_a_function_named_in_a_task_card_is_found_beside_it_and_kept_in_a_safe_folder(
    tmp_path: Path, home: Path
) -> None:
    toy.write_cells(tmp_path / "my" / "tasks")
    card(tmp_path / "my", CENTROID, module="beside_probe")
    task = toy.task(
        tmp_path / "my" / "tasks", probes=("beside_probe:fit",), source=tmp_path / "my" / "tasks" / "t.toml"
    )
    outcomes = benchmark(toy.request(tmp_path, home, "colour", tasks=[task]))
    assert [outcome.status for outcome in outcomes] == ["done"] * 2
    (folder,) = (home / "results" / "toy" / "colour").iterdir()
    assert ":" not in folder.name
    results = [json.loads(path.read_text()) for path in folder.glob("*/result.json")]
    assert {one["probe"] for one in results} == {"beside_probe:fit"}


def test_a_broken_probe_fails_alone_and_its_reason_is_kept(tmp_path: Path, home: Path) -> None:
    toy.write_cells(tmp_path / "toy")
    broken = card(tmp_path / "bad", "def fit(training, test):\n    return test\n", name="broken")
    lost = card(tmp_path / "lost", "raise RuntimeError('no key')\n", name="lost", module="lost_probe")
    asked = toy.request(
        tmp_path / "toy",
        home,
        "colour",
        probes=["broken", "knn", "lost", "nobody:knows"],
        custom={"broken": broken, "lost": lost},
        tuned=(False,),
    )
    outcomes = {outcome.probe: outcome for outcome in benchmark(asked)}
    assert outcomes["knn"].status == "done"
    assert outcomes["broken"].status == "failed"
    assert "my_probe:fit returned an array of shape" in outcomes["broken"].reason
    assert "lost_probe:fit cannot be imported (RuntimeError: no key)" in outcomes["lost"].reason
    assert "'nobody:knows' cannot be imported (No module named 'nobody')" in outcomes["nobody:knows"].reason
    failures = {one.probe: one.reason for one in StoredRuns(home, SilentReporter()).failures}
    assert set(failures) == {"broken", "lost", "nobody:knows"}


def test_a_probe_of_bags_is_not_run_on_cells(tmp_path: Path, home: Path) -> None:
    probe = card(tmp_path / "b", "UNIT = 'bag'\ndef fit(training, test): ...\n", unit="bag")
    (outcome, _) = _run(tmp_path, home, probe, "colour")
    assert outcome.status == "not run"
    assert "'my-probe' scores bags and this task's unit is the cell" in outcome.reason
