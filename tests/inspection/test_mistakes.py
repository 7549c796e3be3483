"""Mistakes and disputes are counted and ordered as a person would, on a table small enough to check."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from cytobench.errors import StoreError
from cytobench.inspection.galleries import caption, galleries, letters
from cytobench.inspection.mistakes import (
    Judged,
    all_wrong,
    as_table,
    confident_mistakes,
    confusions,
    judged_of,
    most_disputed,
    only_first_right,
)

LABELS = ["a", "a", "a", "b", "b", "c"]
ONE = [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.05, 0, 0.95], [0.1, 0.9, 0], [0.6, 0.4, 0], [1, 0, 0]]
OTHER = [[0.8, 0.2, 0], [0.9, 0.1, 0], [0.1, 0.9, 0], [0.7, 0.3, 0], [0, 1, 0], [0.5, 0.4, 0.1]]


def _predictions(rows: list[list[float]], labels: list[str] = LABELS) -> pl.DataFrame:
    probabilities = np.asarray(rows, float)
    table = {
        "sample": [f"s{k}" for k in range(len(rows))],
        "group": ["g0", "g0", "g1", "g1", "g2", "g2"],
        "fold": np.zeros(len(rows), np.int16),
        "label": labels,
        "predicted": ["abc"[k] for k in probabilities.argmax(axis=1)],
    }
    return pl.DataFrame(table | {f"p:{name}": probabilities[:, k] for k, name in enumerate("abc")})


@pytest.fixture
def judged() -> Judged:
    return judged_of({"one": _predictions(ONE), "other": _predictions(OTHER)})


def test_the_surest_mistakes_come_first(judged: Judged) -> None:
    assert confident_mistakes(judged, 0).tolist() == [5, 2, 1, 4]
    assert confident_mistakes(judged, 0, label=0).tolist() == [2, 1]
    assert confident_mistakes(judged, 1, label=1).tolist() == [3]


def test_equally_sure_mistakes_stand_in_the_order_of_samples() -> None:
    same = judged_of({"one": _predictions([[0.9, 0.1, 0]] * 6)})
    assert confident_mistakes(same, 0).tolist() == [3, 4, 5]


def test_who_is_right_where_the_other_is_wrong(judged: Judged) -> None:
    assert set(only_first_right(judged, 0, 1)) == {3}
    assert set(only_first_right(judged, 1, 0)) == {1, 4}
    assert only_first_right(judged, 1, 0).tolist() == sorted([1, 4], key=lambda k: -judged.disagreement[k])


def test_all_wrong_begins_with_the_least_likely_label(judged: Judged) -> None:
    assert all_wrong(judged).tolist() == [5, 2]  # on average 0.05 and 0.075
    assert judged.of_label.mean(axis=0)[[5, 2]] == pytest.approx([0.05, 0.075])


def test_disagreement_is_the_jensen_shannon_divergence(judged: Judged) -> None:
    expected = [jensenshannon(p, q, base=2) ** 2 for p, q in zip(ONE, OTHER, strict=True)]
    np.testing.assert_allclose(judged.disagreement, expected, atol=1e-12)
    assert set(most_disputed(judged)) == {1, 2, 3, 4}
    values = judged.disagreement[most_disputed(judged)]
    assert (np.diff(values) <= 0).all()


def test_disagreement_of_three_that_are_certain_of_three_classes_is_one() -> None:
    certain = {name: _predictions([list(np.eye(3)[k])] * 6) for k, name in enumerate("xyz")}
    assert np.allclose(judged_of(certain).disagreement, 1.0)
    agreed = {name: _predictions(ONE) for name in "xyz"}
    assert np.allclose(judged_of(agreed).disagreement, 0.0)
    assert (judged_of({"x": _predictions(ONE)}).disagreement == 0).all()


def test_confusions_count_every_mistake_once(judged: Judged) -> None:
    table = confusions(judged)
    found = {(label, called): (one, other) for label, called, one, other in table.rows()}
    assert found == {
        ("a", "b"): (1, 1),
        ("b", "a"): (1, 1),
        ("c", "a"): (1, 1),
        ("a", "c"): (1, 0),
    }
    assert table.rows()[-1][:2] == ("a", "c")
    assert table["one"].sum() == (~judged.right[0]).sum()


def test_a_perfect_backbone_has_no_mistakes_to_show() -> None:
    perfect = judged_of({"one": _predictions([list(np.eye(3)["abc".index(one)]) for one in LABELS])})
    assert galleries(perfect, most=8, unit="cell") == []
    assert confusions(perfect).is_empty()
    assert as_table(perfect, None).is_empty()


def test_galleries_say_how_many_there_are_and_show_some(judged: Judged) -> None:
    found = galleries(judged, most=1, unit="cell")
    kinds = [one.kind for one in found]
    assert kinds == ["mistakes"] * 6 + ["one right", "one right", "disputed", "all wrong"]
    assert all(len(one.rows) == 1 for one in found)
    assert [one.count for one in found[-4:]] == [1, 2, 4, 2]
    overall = galleries(judged, most=9, unit="cell", overall=True)
    assert [one.count for one in overall[:2]] == [4, 3]


def test_captions_name_label_prediction_and_certainty(judged: Judged) -> None:
    mine, *_, disputed, _ = galleries(judged, most=1, unit="cell")
    assert caption(judged, mine, 2, ["g1", "f.png"]) == ("is a", "called c 95 %", "g1", "f.png")
    assert caption(judged, disputed, 2, []) == ("is a", "A c 95 %", "B b 90 %")


def test_more_backbones_than_letters_are_numbered() -> None:
    many = judged_of({f"b{k}": _predictions(ONE) for k in range(28)})
    assert letters(many)[25:] == ["Z", "27", "28"]


def test_predictions_of_other_examples_are_refused(judged: Judged) -> None:
    with pytest.raises(StoreError, match="not of the same examples"):
        judged_of({"one": _predictions(ONE), "other": _predictions(OTHER, [*LABELS[:5], "a"])})
    with pytest.raises(StoreError, match="not numbers"):
        judged_of({"one": _predictions([[float("nan"), 0, 1], *ONE[1:]])})


def test_the_order_of_rows_in_a_file_does_not_matter(judged: Judged) -> None:
    turned = judged_of({"one": _predictions(ONE).reverse(), "other": _predictions(OTHER)})
    assert (turned.predicted == judged.predicted).all()
    assert turned.samples == judged.samples
