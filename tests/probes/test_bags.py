"""Models of bags: attention that is one, order that means nothing, stacks that equal single models."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cytobench.errors import DataError
from cytobench.probes.aggregators import (
    AGGREGATORS,
    Aggregator,
    DualStream,
    GatedAttention,
    Ragged,
    draw_weights,
)
from cytobench.probes.bags import Bags
from cytobench.probes.stacked import Fitting, StackedFit

DIM, CLASSES = 7, 3
FITTINGS = [
    Fitting(lr=1e-3, weight_decay=1e-2, instance_dropout=0.3),
    Fitting(lr=1e-2, weight_decay=0.0),
    Fitting(lr=3e-3, weight_decay=0.5, instance_dropout=0.6),
]


def make_bags(sizes: list[int] | npt.NDArray[np.int64], *, dim: int = DIM, seed: int = 0) -> Bags:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Bags(rng.standard_normal((offsets[-1], dim)).astype(np.float32), offsets)


def problem(n: int = 24, *, seed: int = 0, dim: int = DIM) -> tuple[Bags, npt.NDArray[np.int64]]:
    """Bags of two classes; those of class 1 hold a few instances with a large first feature."""
    rng = np.random.default_rng(seed)
    bags = make_bags(rng.integers(1, 30, n), dim=dim, seed=seed)
    labels = np.arange(n) % 2
    for i in np.flatnonzero(labels):
        start, end = bags.offsets[i : i + 2]
        bags.features[start : start + max(1, (end - start) // 5), 0] += 4.0
    return bags, labels.astype(np.int64)


def weights_of(
    aggregator: Aggregator, *, stack: int = 2, dim: int = DIM, classes: int = CLASSES
) -> dict[str, torch.Tensor]:
    drawn = [
        draw_weights(aggregator.shapes(dim, classes), torch.Generator().manual_seed(seed), torch.float64)
        for seed in range(stack)
    ]
    return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}


def ragged(sizes: list[int]) -> Ragged:
    return Ragged(torch.repeat_interleave(torch.tensor(sizes)), len(sizes))


def test_bags_are_parted_pooled_and_picked() -> None:
    bags = Bags(np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 1, 4, 6]))
    assert bags.mean().tolist() == [[0, 1], [4, 5], [9, 10]]
    assert bags.max().tolist() == [[0, 1], [6, 7], [10, 11]]
    picked = bags[np.array([2, 0])]
    assert picked.features.tolist() == [[8, 9], [10, 11], [0, 1]]
    assert picked.offsets.tolist() == [0, 2, 3]
    with pytest.raises(DataError, match="Bag 1 is empty"):
        Bags(bags.features, np.array([0, 3, 3, 6]))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_attention_sums_to_one_in_each_bag_and_hidden_instances_get_none(name: str) -> None:
    sizes = [5, 1, 8]
    x = torch.randn(14, DIM, dtype=torch.float64)
    hidden = torch.zeros(2, 14, dtype=torch.bool)
    hidden[1, [0, 3, 7]] = True
    scores = AGGREGATORS[name].forward(weights_of(AGGREGATORS[name]), x, ragged(sizes), hidden)
    for part in scores.attention.split(sizes, dim=1):
        assert torch.allclose(part.sum(1), torch.ones(2, dtype=torch.float64))
    assert (scores.attention[1, [0, 3, 7]] == 0).all()
    assert (scores.attention[0] > 0).all()
    assert scores.logits.shape == (2, 3, CLASSES)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_order_of_instances_means_nothing_and_bags_do_not_see_each_other(name: str) -> None:
    sizes, weights = [6, 4, 9], weights_of(AGGREGATORS[name])
    x = torch.randn(19, DIM, dtype=torch.float64)
    together = AGGREGATORS[name].forward(weights, x, ragged(sizes))
    for i, part in enumerate(x.split(sizes)):
        order = torch.randperm(len(part))
        alone = AGGREGATORS[name].forward(weights, part[order], ragged([len(part)]))
        assert torch.allclose(alone.logits[:, 0], together.logits[:, i])
        assert torch.allclose(alone.attention, together.attention.split(sizes, dim=1)[i][:, order])


def test_a_bag_of_one_is_classified_by_a_perceptron() -> None:
    model, weights = GatedAttention(), weights_of(GatedAttention())
    x = torch.randn(4, DIM, dtype=torch.float64)
    scores = model.forward(weights, x, ragged([1, 1, 1, 1]))
    for t in range(2):
        hidden = torch.relu(x @ weights["embed.weight"][t].T + weights["embed.bias"][t])
        logits = hidden @ weights["classify.weight"][t].T + weights["classify.bias"][t]
        assert torch.allclose(scores.logits[t], logits)


def test_two_instances_by_hand() -> None:
    model = GatedAttention(width=2, attention=1)
    weights = {
        "embed.weight": torch.eye(2)[None],
        "embed.bias": torch.zeros(1, 2),
        "gate.weight": torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),
        "gate.bias": torch.zeros(1, 2),
        "score.weight": torch.tensor([[2.0]]),
        "classify.weight": torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),
        "classify.bias": torch.tensor([[0.5, 0.0]]),
    }
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])  # relu: (1, 2) and (3, 0)
    first = 2.0 * math.tanh(1.0) / (1.0 + math.exp(-2.0))
    second = 2.0 * math.tanh(3.0) / 2.0
    share = math.exp(first) / (math.exp(first) + math.exp(second))
    scores = model.forward(weights, x, ragged([2]))
    assert scores.attention[0].tolist() == pytest.approx([share, 1 - share], abs=1e-6)
    pooled = [share * 1.0 + (1 - share) * 3.0, share * 2.0]
    assert scores.logits[0, 0].tolist() == pytest.approx([pooled[0] + 0.5, pooled[1]], abs=1e-6)


def test_abmil_equals_torchmil_on_the_same_weights() -> None:
    from torchmil.models import ABMIL

    torch.manual_seed(0)
    embed = torch.nn.Sequential(torch.nn.Linear(DIM, 128), torch.nn.ReLU())
    theirs = ABMIL(in_shape=(DIM,), att_dim=64, gated=True, feat_ext=embed).double().eval()
    pool, last = theirs.pool, _linear(theirs.classifier)
    weights = {
        "embed.weight": embed[0].weight,
        "embed.bias": embed[0].bias,
        "gate.weight": torch.cat([_linear(pool.fc1).weight, _linear(pool.fc_gated).weight]),
        "gate.bias": torch.cat([_linear(pool.fc1).bias, _linear(pool.fc_gated).bias]),
        "score.weight": pool.fc2.weight[0],
        "classify.weight": last.weight,
        "classify.bias": last.bias,
    }
    x = torch.randn(11, DIM, dtype=torch.float64)
    ours = GatedAttention().forward({name: one[None] for name, one in weights.items()}, x, ragged([11]))
    logit, unnormalised = theirs(x[None], return_att=True)
    assert torch.allclose(ours.logits[0, 0, 0], logit[0])
    assert torch.allclose(ours.attention[0], unnormalised[0].softmax(0))


def test_dsmil_equals_torchmil_on_the_same_weights() -> None:
    from torchmil.models import DSMIL

    torch.manual_seed(1)
    embed = torch.nn.Sequential(torch.nn.Linear(DIM, 128), torch.nn.ReLU())
    theirs = DSMIL(in_shape=(DIM,), att_dim=64, feat_ext=embed).double().eval()
    weights = {
        "embed.weight": embed[0].weight,
        "embed.bias": embed[0].bias,
        "instance.weight": theirs.inst_classifier.weight,
        "instance.bias": theirs.inst_classifier.bias,
        "query.weight": theirs.q_nn.weight,
        "query.bias": theirs.q_nn.bias,
        "classify.weight": theirs.bag_classifier.weight,
        "classify.bias": theirs.bag_classifier.bias,
    }
    x = torch.randn(9, DIM, dtype=torch.float64)
    ours = DualStream().forward({name: one[None] for name, one in weights.items()}, x, ragged([9]))
    bag, attention = theirs(x[None], return_att=True)
    assert torch.allclose(ours.terms[0][0, 0, 0], bag[0])
    assert torch.allclose(ours.attention[0], attention[0, :, 0])
    assert torch.allclose(ours.logits[0, 0, 0], theirs.predict(x[None])[0])


def _linear(layer: torch.nn.Module) -> torch.nn.Linear:
    found = next(one for one in layer.modules() if isinstance(one, torch.nn.Linear))
    assert isinstance(found, torch.nn.Linear)
    return found


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("bags_per_step", [1, 4])
def test_a_stack_learns_what_its_models_learn_alone(name: str, bags_per_step: int) -> None:
    bags, labels = problem(20)

    def trained(fittings: list[Fitting]) -> torch.Tensor:
        fit = StackedFit(
            bags,
            labels,
            n_classes=2,
            aggregator=AGGREGATORS[name],
            fittings=fittings,
            seed=3,
            bags_per_step=bags_per_step,
            dtype=torch.float64,
        )
        for _ in range(bags_per_step):
            fit.epoch()  # 20 steps in all
        return fit.stack.flat.clone()

    alone = torch.cat([trained([one]) for one in FITTINGS])
    assert (trained(FITTINGS) - alone).abs().max() < 1e-6
    assert (trained(FITTINGS[:2]) - alone[:2]).abs().max() < 1e-6


def test_in_single_precision_a_stack_is_the_same_to_the_last_bit_on_a_cpu() -> None:
    bags, labels = problem(20)

    def trained(fittings: list[Fitting]) -> torch.Tensor:
        fit = StackedFit(
            bags, labels, n_classes=2, aggregator=GatedAttention(), fittings=fittings, seed=3, bags_per_step=4
        )
        fit.epoch()
        return fit.stack.flat.clone()

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(trained(FITTINGS), torch.cat([trained([one]) for one in FITTINGS]))
    finally:
        torch.set_num_threads(before)


def test_models_that_leave_the_stack_do_not_disturb_the_others() -> None:
    bags, labels = problem(20)

    def fit() -> StackedFit:
        return StackedFit(
            bags,
            labels,
            n_classes=2,
            aggregator=GatedAttention(),
            fittings=FITTINGS,
            seed=0,
            dtype=torch.float64,
        )

    whole, thinned = fit(), fit()
    for one in (whole, thinned):
        one.epoch()
    thinned.keep([0, 2])
    for one in (whole, thinned):
        one.epoch()
    assert torch.allclose(whole.stack.flat[[0, 2]], thinned.stack.flat, atol=1e-12)
    thinned.keep([])
    assert thinned.active == []


def test_the_weights_of_the_best_epoch_are_kept_and_not_those_of_the_last() -> None:
    train, held = problem(16, seed=1), problem(12, seed=2)
    fit = StackedFit(
        *train,
        n_classes=2,
        aggregator=GatedAttention(),
        fittings=[Fitting(lr=0.05)],
        seed=0,
        validation=held,
    )
    losses = []
    for _ in range(12):
        fit.epoch()
        losses.append(fit.best[0].loss)
    best = fit.best[0]
    assert best.fitted is not None
    assert best.probabilities is not None
    assert best.loss == min(losses)
    again, _ = best.fitted.predict(held[0])
    assert np.allclose(again, best.probabilities, atol=1e-6)
    if best.epoch < 12:
        last, _ = fit.models()[0].predict(held[0])
        assert not np.allclose(last, best.probabilities, atol=1e-4)


def test_validation_hides_no_instance_and_changes_no_weight() -> None:
    train, held = problem(16, seed=1), problem(12, seed=2)
    options = {"n_classes": 2, "aggregator": GatedAttention(), "fittings": FITTINGS, "seed": 0}
    watched = StackedFit(*train, validation=held, **options)  # type: ignore[arg-type]
    alone = StackedFit(*train, **options)  # type: ignore[arg-type]
    for _ in range(3):
        watched.epoch()
        alone.epoch()
    assert torch.equal(watched.stack.flat, alone.stack.flat)
    once = [fitted.predict(held[0])[0] for fitted in alone.models()]
    twice = [fitted.predict(held[0])[0] for fitted in alone.models()]
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_few_telling_instances_are_found(name: str) -> None:
    train, test = problem(80, seed=5), problem(60, seed=6)
    fit = StackedFit(
        *train,
        n_classes=2,
        aggregator=AGGREGATORS[name],
        fittings=[Fitting(lr=3e-3)],
        seed=0,
        bags_per_step=4,
    )
    for _ in range(25):
        fit.epoch()
    probabilities, attention = fit.models()[0].predict(test[0])
    assert (probabilities.argmax(1) == test[1]).mean() > 0.85
    telling = test[0].features[:, 0] > 2.5
    positive = np.repeat(test[1] == 1, test[0].sizes)
    share = attention * np.repeat(test[0].sizes, test[0].sizes)  # 1 is an even share
    assert share[telling & positive].mean() > 1.5 * share[~telling & positive].mean()


def test_a_bag_of_fifty_thousand_beside_bags_of_one() -> None:
    bags, labels = make_bags([1, 50_000, 1, 3], dim=4), np.array([0, 1, 0, 1])
    fit = StackedFit(
        bags, labels, n_classes=2, aggregator=GatedAttention(), fittings=FITTINGS[:1], seed=0, bags_per_step=4
    )
    fit.epoch()
    probabilities, attention = fit.models()[0].predict(bags)
    assert np.isfinite(probabilities).all()
    assert len(attention) == 50_005
    assert attention[1:50_001].sum() == pytest.approx(1.0, abs=1e-3)


def test_constant_features_give_even_attention_and_no_nan() -> None:
    bags = Bags(np.full((12, 3), 7.0, dtype=np.float32), np.array([0, 4, 6, 12]))
    fit = StackedFit(
        bags, np.array([0, 1, 0]), n_classes=2, aggregator=GatedAttention(), fittings=[Fitting()], seed=0
    )
    fit.epoch()
    probabilities, attention = fit.models()[0].predict(bags)
    assert np.isfinite(probabilities).all()
    assert attention[:4].tolist() == pytest.approx([0.25] * 4)


def test_features_that_are_not_finite_are_refused_by_row() -> None:
    bags, labels = problem(6)
    bags.features[3, 2] = np.nan
    with pytest.raises(DataError, match="Row 3 of the training features holds NaN"):
        StackedFit(bags, labels, n_classes=2, aggregator=GatedAttention(), fittings=[Fitting()], seed=0)


def test_a_class_without_bags_gets_no_weight_and_a_rare_one_more() -> None:
    bags, labels = problem(10)
    labels = np.array([0] * 8 + [2] * 2)
    fit = StackedFit(bags, labels, n_classes=4, aggregator=GatedAttention(), fittings=[Fitting()], seed=0)
    assert fit._weight.tolist() == pytest.approx([10 / 16, 0, 10 / 4, 0])
