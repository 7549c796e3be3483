"""ABMIL: models of bags in stacks against the same models one after the other, and a whole search.

200 bags of 20 to 200 instances, 384 features, half of the bags with 5 to 60 % of telling instances.

    python benchmarks/bags.py --torchmil
    python benchmarks/bags.py --search --outer 1 --trials 32

"one by one" is the field's habit: an nn.Module, one bag a step, AdamW, models and folds after each other.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cytobench.evaluation.folds import inner_folds
from cytobench.evaluation.metrics import auroc_binary
from cytobench.evaluation.mil import BAGS_PER_STEP, EPOCHS, PATIENCE, Mil, _fitting_threads
from cytobench.evaluation.recipes import Training
from cytobench.evaluation.search import Budget, Part, search_all
from cytobench.evaluation.storage import open_storage
from cytobench.evaluation.studies import _distributions
from cytobench.probes.aggregators import GatedAttention
from cytobench.probes.bags import ATTENTION, HIDDEN, Bags
from cytobench.probes.stacked import Fitting, StackedFit

BAGS, DIM, STACK = 200, 384, 8


def make_bags(seed: int = 0) -> tuple[Bags, npt.NDArray[np.int64]]:
    """Return bags with a planted signal, and their labels."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 201, BAGS)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    features = rng.standard_normal((offsets[-1], DIM)).astype(np.float32)
    direction = rng.standard_normal(DIM).astype(np.float32)
    direction *= 3.0 / np.linalg.norm(direction)
    labels = (np.arange(BAGS) % 2).astype(np.int64)
    for bag in np.flatnonzero(labels):
        count = max(1, int(rng.uniform(0.05, 0.6) * sizes[bag]))
        features[offsets[bag] : offsets[bag] + count] += direction
    return Bags(features, offsets), labels


class Plain(nn.Module):
    """ABMIL as it is usually written."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(DIM, HIDDEN)
        self.signal, self.gate = nn.Linear(HIDDEN, ATTENTION), nn.Linear(HIDDEN, ATTENTION)
        self.score = nn.Linear(ATTENTION, 1, bias=False)
        self.classify = nn.Linear(HIDDEN, 2)

    def forward(self, x: torch.Tensor, dropped: float = 0.0) -> torch.Tensor:
        h = torch.relu(self.embed(x))
        scores = self.score(torch.tanh(self.signal(h)) * torch.sigmoid(self.gate(h)))
        if dropped and len(x) > 1:
            hidden = torch.rand(len(x), 1) < dropped
            hidden[torch.randint(len(x), ())] = False
            scores = scores.masked_fill(hidden, -torch.inf)
        return self.classify((torch.softmax(scores, 0) * h).sum(0))


def plain_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    bags: list[torch.Tensor],
    labels: torch.Tensor,
    dropped: float,
) -> None:
    for i in torch.randperm(len(bags)).tolist():
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(bags[i], dropped)[None], labels[i : i + 1])
        loss.backward()
        optimiser.step()


def _tensors(bags: Bags) -> list[torch.Tensor]:
    return [
        torch.from_numpy(bags.features[a:b]) for a, b in zip(bags.offsets[:-1], bags.offsets[1:], strict=True)
    ]


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest time of a few."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def epochs(bags: Bags, labels: npt.NDArray[np.int64], with_torchmil: bool) -> None:
    """Print the time of one epoch of one model, each way."""
    train = np.arange(BAGS) % 5 != 0
    rows = np.flatnonzero(train)
    seen, truth = bags[rows], labels[rows]
    tensors, targets = _tensors(seen), torch.from_numpy(truth)
    model = Plain()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    plain_epoch(model, optimiser, tensors, targets, 0.25)
    threads = torch.get_num_threads()
    found = {}
    for count in dict.fromkeys((threads, 1)):
        torch.set_num_threads(count)
        found[f"one by one, one bag a step, {count} thread(s)"] = seconds(
            lambda: plain_epoch(model, optimiser, tensors, targets, 0.25)
        )
    torch.set_num_threads(threads)
    if with_torchmil:
        found["torchmil 1.0 model and trainer, one bag a step"] = _torchmil(seen, truth)
    for per_step in (1, BAGS_PER_STEP):
        fits = [
            StackedFit(
                seen,
                truth,
                n_classes=2,
                aggregator=GatedAttention(),
                fittings=[Fitting(instance_dropout=0.25)] * STACK,
                seed=seed,
                bags_per_step=per_step,
            )
            for seed in range(3)
        ]
        with _fitting_threads("cpu", torch.get_num_threads()) as each:
            each(fits, lambda fit: fit.epoch())
            took = seconds(lambda each=each, fits=fits: each(fits, lambda fit: fit.epoch()))
        found[f"stacks of {STACK}, three folds side by side, {per_step} bag(s) a step"] = took / 3 / STACK
    best = min(value for name, value in found.items() if name.startswith("one by one"))
    print(f"\n| one epoch of one model, {len(rows)} bags | ms | against the faster one by one |")
    print("|---|---:|---:|")
    for name, value in found.items():
        print(f"| {name} | {1000 * value:.0f} | {best / value:.2f} |")


def _torchmil(bags: Bags, labels: npt.NDArray[np.int64]) -> float:
    os.environ["TQDM_DISABLE"] = "1"
    from tensordict import TensorDict
    from torchmil.models import ABMIL
    from torchmil.utils import Trainer

    embed = nn.Sequential(nn.Linear(DIM, HIDDEN), nn.ReLU())
    model = ABMIL(in_shape=(DIM,), att_dim=ATTENTION, gated=True, feat_ext=embed)
    batches = [
        TensorDict(
            {"X": x[None], "Y": torch.tensor([float(y)]), "mask": torch.ones(1, len(x))}, batch_size=[1]
        )
        for x, y in zip(_tensors(bags), labels, strict=True)
    ]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    trainer = Trainer(model, optimiser, verbose=False, device="cpu")
    return seconds(lambda: trainer.train(max_epochs=1, train_dataloader=batches))


def search(bags: Bags, labels: npt.NDArray[np.int64], outer: int, trials: int) -> None:
    """Print how long a search takes each way, and how good what it finds is on the test part."""
    times: dict[str, list[float]] = {"one by one": [], "CytoBench": []}
    scores: dict[str, list[float]] = {"one by one": [], "CytoBench": []}
    pruned = 0
    for k in range(outer):
        test = np.flatnonzero(np.arange(BAGS) // 2 % 5 == k)
        rows = np.flatnonzero(np.arange(BAGS) // 2 % 5 != k)
        training = Training(bags[rows], labels[rows], rows, 2, ("benchmark", k))
        folds = inner_folds(training.labels, training.groups, ("benchmark", k))
        assert folds is not None
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            storage = Path(folder) / "journal.log"
            budget = Budget(trials, lambda storage=storage: open_storage(None, storage), f"run{k}")
            recipe = Mil("abmil")
            (found,) = search_all(recipe, [Part(str(k), lambda t=training: t, folds)], "auroc", budget)
        assert found is not None
        pruned += sum(trial.pruned for trial in found.trials)
        made = recipe.predict(training, found.params, bags[test], test).probabilities
        times["CytoBench"].append(time.perf_counter() - started)
        scores["CytoBench"].append(auroc_binary(labels[test] == 1, made[:, 1]))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # faster for it than two
        started = time.perf_counter()
        scores["one by one"].append(_plain_search(training, folds, bags[test], labels[test], trials, k))
        times["one by one"].append(time.perf_counter() - started)
        torch.set_num_threads(threads)
    ours, plain = (float(np.sum(times[name])) for name in ("CytoBench", "one by one"))
    print(f"\n| {trials} trials, 3 inner folds, {outer} outer fold(s) | s | AUROC of the test part |")
    print("|---|---:|---:|")
    for name in times:
        print(f"| {name} | {np.sum(times[name]):.0f} | {np.mean(scores[name]):.3f} |")
    print(f"\n{plain / ours:.1f} times faster; {pruned} of {outer * trials} trials given up early")


def _plain_search(
    training: Training,
    folds: npt.NDArray[np.int16],
    test: Bags,
    truth: npt.NDArray[np.int64],
    trials: int,
    seed: int,
) -> float:
    """Return the test AUROC after Optuna's sequential TPE, every setting trained to its end, bag by bag."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    recipe = Mil("abmil")
    assert isinstance(training.features, Bags)
    mean, spread = training.features.features.mean(0), training.features.features.std(0)
    scaled = [(x - torch.from_numpy(mean)) / torch.from_numpy(spread) for x in _tensors(training.features)]
    for _ in range(trials):
        trial = study.ask(_distributions(recipe.ranges()))
        values, best_epochs = [], []
        for k in np.unique(folds):
            inside, held = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
            value, epoch = _plain_fit(scaled, training.labels, inside, held, trial.params)
            values.append(value)
            best_epochs.append(epoch)
        trial.set_user_attr("epochs", int(np.median(best_epochs)))
        study.tell(trial, float(np.mean(values)))
    chosen = study.best_trial
    model = Plain()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=chosen.params["lr"], weight_decay=chosen.params["weight_decay"]
    )
    targets = torch.from_numpy(training.labels)
    for _ in range(chosen.user_attrs["epochs"]):
        plain_epoch(model, optimiser, scaled, targets, chosen.params["instance_dropout"])
    with torch.no_grad():
        made = [
            model((x - torch.from_numpy(mean)) / torch.from_numpy(spread)).softmax(-1)[1]
            for x in _tensors(test)
        ]
    return auroc_binary(truth == 1, torch.stack(made).double().numpy())


def _adamw(model: nn.Module, params: dict[str, float]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=params["lr"], weight_decay=params["weight_decay"])


def _plain_fit(
    bags: list[torch.Tensor],
    labels: npt.NDArray[np.int64],
    inside: npt.NDArray[np.int64],
    held: npt.NDArray[np.int64],
    params: dict[str, float],
) -> tuple[float, int]:
    model = Plain()
    optimiser = _adamw(model, params)
    seen, targets = [bags[i] for i in inside], torch.from_numpy(labels[inside])
    truth = torch.from_numpy(labels[held])
    best, best_epoch, value = np.inf, 0, 0.0
    for epoch in range(1, EPOCHS + 1):
        plain_epoch(model, optimiser, seen, targets, params["instance_dropout"])
        with torch.no_grad():
            logits = torch.stack([model(bags[i]) for i in held])
        loss = float(nn.functional.cross_entropy(logits, truth))
        if loss < best:
            best, best_epoch = loss, epoch
            value = auroc_binary(labels[held] == 1, logits.softmax(-1)[:, 1].double().numpy())
        if epoch - best_epoch >= PATIENCE:
            break
    return value, best_epoch


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchmil", action="store_true")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--outer", type=int, default=1)
    parser.add_argument("--trials", type=int, default=32)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    bags, labels = make_bags()
    if not given.search:
        epochs(bags, labels, given.torchmil)
    else:
        search(bags, labels, given.outer, given.trials)


if __name__ == "__main__":
    main()
