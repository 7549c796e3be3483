"""The training loop: exact after an interruption, honest about broken numbers, ready for the benchmark."""

from __future__ import annotations

import csv
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from conftest import Draw
from PIL import Image

from cytobench.card_files import read_card
from cytobench.cards import BackboneCard
from cytobench.errors import PretrainingError, StoreError, UsageError, WeightsError
from cytobench.pretraining import checkpoint, engine, memory, optim
from cytobench.pretraining.build import make_model
from cytobench.pretraining.distributed import Process
from cytobench.pretraining.engine import Run, train
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.meter import flops_per_image
from cytobench.pretraining.neighbours import Labelled, knn_accuracy
from cytobench.pretraining.pack import pack
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Data, Recipe, check, override, preset
from cytobench.pretraining.sources import list_folder
from cytobench.pretraining.stepper import uses_bfloat16
from cytobench.pretraining.watch import collapse
from cytobench.progress import SilentReporter

QUIET = SilentReporter()

TINY: dict[str, Any] = {
    "network": {
        "arch": "vit_tiny_patch16_224",
        "options": {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
        "drop_path": 0.2,
    },
    "head": {"out_dim": 32, "patch_out_dim": 32, "hidden_dim": 32, "bottleneck_dim": 16},
    "crops": {"global_size": 32, "local_size": 16, "local_count": 2},
    "schedule": {"epochs": 3, "epoch_steps": 2, "warmup_epochs": 1, "temperature_epochs": 2},
    "data": {"batch": 8, "side": 40},
    "running": {"checkpoint_steps": 3, "log_steps": 2, "knn_steps": 3, "precision": "fp32"},
}


def tiny(**tables: dict[str, Any]) -> Recipe:
    merged = {key: TINY.get(key, {}) | tables.get(key, {}) for key in TINY | tables}
    return check(override(preset("cytofm-vitti16"), merged, where="test"))


@pytest.fixture
def pool(tmp_path: Path, draw_cells: Draw) -> Pool:
    listed = list_folder(draw_cells(tmp_path / "cells", 30), Data(side=40))
    return pack([listed], Data(side=40), tmp_path / "pool", closed={}, facts={}, reporter=QUIET)


def run(pool: Pool, folder: Path, recipe: Recipe | None = None, **keys: Any) -> Run:
    folder.mkdir(exist_ok=True)
    return Run(recipe or tiny(), pool, folder, torch.device("cpu"), **keys)


def weights(folder: Path) -> dict[str, Any]:
    return checkpoint.read(folder / checkpoint.NAME)


def test_six_steps_equal_three_and_three_after_an_interruption(tmp_path: Path, pool: Pool) -> None:
    """Weights, centres, optimiser and generators, bit for bit; stochastic depth draws on."""
    train(run(pool, tmp_path / "whole"), QUIET)
    first = train(run(pool, tmp_path / "parts", stop_after=3), QUIET)
    assert (first.step, first.steps) == (3, 6)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # an unrelated program may have drawn
    assert train(run(pool, tmp_path / "parts"), QUIET).step == 6
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for branch in ("student", "teacher", "ibot_loss"):
        for name, value in whole[branch].items():
            assert torch.equal(value, parts[branch][name]), (branch, name)
    assert torch.equal(whole["generators"][0]["torch"], parts["generators"][0]["torch"])
    moments = [state["optimizer"]["state"] for state in (whole, parts)]
    assert all(
        torch.equal(one[key], moments[1][number][key]) for number, one in moments[0].items() for key in one
    )
    logs = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("whole", "parts")]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]


def test_a_log_past_the_last_checkpoint_is_taken_back(tmp_path: Path, pool: Pool) -> None:
    train(run(pool, tmp_path / "run", stop_after=3), QUIET)
    with (tmp_path / "run" / "log.csv").open("a") as file:
        file.write("4,2,32," + ",".join(["0"] * 15) + "\n5,2,4")
    train(run(pool, tmp_path / "run"), QUIET)
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "run" / "log.csv").open())]
    assert steps == [2, 3, 4, 6]


def test_the_batch_of_a_step_is_the_same_in_one_process_and_in_two(pool: Pool) -> None:
    from cytobench.pretraining.augment import make_crops
    from cytobench.pretraining.loader import Batches, Share

    recipe = tiny(masking={"exact": False})
    whole = Batches(pool, recipe, Share(), patch_size=8, pin=False)
    halves = [Batches(pool, recipe, Share(rank, 2), patch_size=8, pin=False).make(4) for rank in (0, 1)]
    one = whole.make(4)
    assert torch.equal(one.pixels, torch.cat([half.pixels for half in halves]))
    for number, kind in enumerate(whole.kinds):
        crops = [
            make_crops(part.pixels, part.draws[number], kind, recipe.augmentation).unflatten(
                0, (kind.count, -1)
            )
            for part in (one, *halves)
        ]
        torch.testing.assert_close(crops[0], torch.cat(crops[1:], dim=1), rtol=1e-5, atol=1e-5)
    assert one.masks is not None
    tokens = [part.masks.tokens.unflatten(0, (2, -1)) for part in (one, *halves) if part.masks is not None]
    assert torch.equal(tokens[0], torch.cat(tokens[1:], dim=1))


def test_broken_numbers_stop_at_the_last_good_checkpoint_and_name_the_step(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run(pool, tmp_path / "run", stop_after=3), QUIET)
    good = weights(tmp_path / "run")
    plain = IBOT.forward

    def broken(self: IBOT, *arguments: Any) -> Any:
        losses = plain(self, *arguments)
        broken.calls += 1  # type: ignore[attr-defined]
        return losses | {"total": losses["total"] * (float("nan") if broken.calls == 2 else 1.0)}  # type: ignore[attr-defined]

    broken.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(engine, "flops_per_image", lambda _: 0.0)  # it runs the network too
    monkeypatch.setattr(IBOT, "forward", broken)
    with pytest.raises(PretrainingError, match=r"The loss .*of step 5 is no number.*checkpoint is of step 3"):
        train(run(pool, tmp_path / "run"), QUIET)
    kept = weights(tmp_path / "run")
    assert kept["position"]["step"] == 3
    assert all(torch.equal(value, kept["teacher"][name]) for name, value in good["teacher"].items())


def test_every_checkpoint_is_a_backbone_that_gives_the_teachers_features(tmp_path: Path, pool: Pool) -> None:
    from cytobench.digests import FileDigests
    from cytobench.encoders import load

    outcome = train(run(pool, tmp_path / "my run!", preset="tiny"), QUIET)
    card = read_card(BackboneCard, outcome.card)
    assert card.name == "my-run"
    assert card.pretrained_on == ("cells",)
    assert "30 of cells" in card.notes
    assert "was not excluded" in card.notes
    home = tmp_path / "home"
    encoder = load(card, home=home, digests=FileDigests(home), device="cpu")
    pixels = np.asarray(
        Image.open(tmp_path / "cells" / "cell-0000.png").resize((32, 32), Image.Resampling.BICUBIC)
    )
    found = encoder.encode(encoder.prepare(pixels)[None])
    model = make_model(tiny())
    model.load_published_state(weights(tmp_path / "my run!"))
    from cytobench.pretraining.neighbours import embed

    change = tiny().augmentation
    wanted = embed(model.teacher.backbone, pixels[None], change.mean, change.std)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-3)


def test_labelled_cells_choose_the_weights_that_are_kept(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    pixels = rng.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    labelled = Labelled("some", pixels, labels, np.arange(12), ("a", "b", "c"))
    scores = iter([0.1, 0.9, 0.4])
    monkeypatch.setattr(engine, "knn_accuracy", lambda *_: next(scores))
    outcome = train(run(pool, tmp_path / "run", labelled=[labelled]), QUIET)
    assert (outcome.best_step, outcome.best_score) == (3, 0.9)
    assert "step 3" in read_card(BackboneCard, outcome.card).title
    knn = [row["knn"] for row in csv.DictReader((tmp_path / "run" / "log.csv").open())]
    assert knn == ["nan", "0.9", "nan", "0.4"]


def test_neighbours_of_the_same_group_do_not_vote() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    labels = (np.arange(40) % 4).astype(np.int64).repeat(5)
    features = torch.tensor(rng.normal(size=(40, 8))[groups] + 0.01 * rng.normal(size=(200, 8))).float()
    assert knn_accuracy(features, labels, np.arange(200), k=4) == 1.0
    assert knn_accuracy(features, labels, groups, k=4) < 0.5


def test_starting_weights_reach_student_and_teacher_and_wrong_ones_are_refused(
    tmp_path: Path, pool: Pool
) -> None:
    other = make_model(tiny(running={"seed": 5}))
    begun: list[IBOT] = []

    def bring(model: IBOT) -> None:
        model.load_backbone(other.teacher.backbone.timm_state())
        begun.append(model)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(run(pool, tmp_path / "run", prepare=bring), QUIET)
    for network in (begun[0].student, begun[0].teacher):
        assert torch.equal(network.backbone.cls_token, other.teacher.backbone.cls_token)
    smaller = make_model(tiny(crops={"global_size": 24}))
    model = make_model(tiny())
    model.load_backbone(smaller.teacher.backbone.timm_state())
    assert model.teacher.backbone.pos_embed.shape == (1, 17, 32)
    wide = make_model(
        tiny(network={"options": {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2}})
    )
    with pytest.raises(WeightsError, match="not of this ViT"):
        model.load_backbone(wide.teacher.backbone.timm_state())


def test_a_step_that_does_not_fit_says_which_batch_would(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = memory.estimate(make_model(tiny()), tiny(), low_precision=False)
    monkeypatch.setattr(memory, "available", lambda _: (need.fixed + 5.9 * need.per_image) / 0.92)
    with pytest.raises(PretrainingError, match=r"A step over 8 images needs .* data.batch = 4 would fit"):
        train(run(pool, tmp_path / "run"), QUIET)
    monkeypatch.setattr(memory, "available", lambda _: need.fixed)
    with pytest.raises(PretrainingError, match="not even a batch of 2"):
        train(run(pool, tmp_path / "run"), QUIET)


def test_the_memory_estimate_is_near_what_a_step_keeps() -> None:
    """Measured by the tensors autograd holds for a whole step, heads included."""
    recipe = tiny(data={"batch": 64})
    model = make_model(recipe)
    need = memory.estimate(model, recipe, low_precision=False)
    params = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in params:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    from cytobench.pretraining.ibot import Masks, Temperatures
    from cytobench.pretraining.masking import draw, index_masks

    masks = Masks.of(index_masks(draw(recipe.masking, 128, (4, 4), np.random.default_rng(0))))
    crops, local = torch.randn(128, 3, 32, 32), torch.randn(128, 3, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model(crops, local, masks, Temperatures.of(0.04, 0.04, crops))
    assert 0.8 < need.per_image * 64 / sum(kept.values()) < 3.0


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run(pool, tmp_path / "run", stop_after=3), QUIET)
    before = (tmp_path / "run" / checkpoint.NAME).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"No space is left .* again"):
        train(run(pool, tmp_path / "run"), QUIET)
    assert (tmp_path / "run" / checkpoint.NAME).read_bytes() == before
    assert not list((tmp_path / "run").glob("*.tmp")) + list((tmp_path / "run").glob(".*.tmp"))


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path, pool: Pool) -> None:
    train(run(pool, tmp_path / "run", stop_after=3), QUIET)
    path = tmp_path / "run" / checkpoint.NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PretrainingError, match="is damaged"):
        train(run(pool, tmp_path / "run"), QUIET)
    torch.save({"format": 0}, path)
    with pytest.raises(PretrainingError, match="was not written by this version"):
        train(run(pool, tmp_path / "run"), QUIET)


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(UsageError, match="cannot be shared by 3 processes"):
        train(run(pool, tmp_path / "run", process=Process(0, 3, 0)), QUIET)


@pytest.mark.parametrize(
    ("entropies", "words"),
    [
        ((3.45, 3.46), "same flat answer"),
        ((0.01, 0.02), "one and the same prototype"),
        ((1.5, 1.51), "hardly depend on the image"),
        ((1.0, 3.0), ""),
        ((3.0, 3.3), ""),
    ],
)
def test_collapse_is_said_in_words_with_cures(entropies: tuple[float, float], words: str) -> None:
    sentence = collapse(*entropies, prototypes=32)
    assert words in sentence
    assert ("Cures, in this order" in sentence) == bool(words)


class _Ears(SilentReporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, text: str) -> None:
        self.heard.append(text)


def test_a_run_that_collapses_says_so_once(tmp_path: Path, pool: Pool) -> None:
    """A very warm teacher gives every image the flat answer."""
    recipe = tiny(
        schedule={"warmup_epochs": 0, "warmup_temperature": 50.0, "temperature": 50.0},
        running={"log_steps": 1, "checkpoint_steps": 100},
    )
    ears = _Ears()
    train(run(pool, tmp_path / "run", recipe), ears)
    assert len(ears.heard) == 1
    assert ears.heard[0].startswith("Step 1: The teacher has collapsed")


def test_without_masked_images_it_trains_by_the_class_token_alone(tmp_path: Path, pool: Pool) -> None:
    recipe = tiny(loss={"patch_weight": 0.0})
    train(run(pool, tmp_path / "run", recipe), QUIET)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert all(float(row["patch"]) == 0 for row in rows)
    assert "no masked-image loss" in (tmp_path / "run" / "card.toml").read_text()


def test_low_precision_is_for_devices_that_are_fast_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = replace(tiny(), running=replace(tiny().running, precision="auto"))
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert uses_bfloat16(auto, cpu)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert not uses_bfloat16(auto, cpu)
    assert uses_bfloat16(replace(auto, running=replace(auto.running, precision="bf16")), cpu)


def test_a_broken_gradient_is_found_before_it_reaches_a_checkpoint(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step is sound, its gradient is not: the weights behind it must not be kept."""
    train(run(pool, tmp_path / "run", stop_after=3), QUIET)
    plain = optim.clip_each
    calls = iter(range(10))

    def clip(parameters: Any, limit: float) -> torch.Tensor:
        held = list(parameters)
        if next(calls) == 2:
            held[0].grad.fill_(float("nan"))
        return plain(held, limit)

    monkeypatch.setattr(optim, "clip_each", clip)
    with pytest.raises(PretrainingError, match=r"gradient of step 6 is no number.*checkpoint is of step 3"):
        train(run(pool, tmp_path / "run"), QUIET)
    kept = weights(tmp_path / "run")
    assert kept["position"]["step"] == 3
    assert all(torch.isfinite(value).all() for value in kept["teacher"].values())


def test_a_kill_between_weights_and_checkpoint_leaves_no_old_weights(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(checkpoint, "save", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(run(pool, folder), QUIET)
    assert not (folder / checkpoint.NAME).exists()
    monkeypatch.undo()
    train(run(pool, folder), QUIET)
    assert "step 6" in read_card(BackboneCard, folder / "card.toml").title
    (folder / "card.toml").unlink()
    train(run(pool, folder), QUIET)
    assert "step 6" in read_card(BackboneCard, folder / "card.toml").title


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_disk_that_fills_up_in_the_middle_of_a_checkpoint_is_said(tmp_path: Path, pool: Pool) -> None:
    """With a real limit on the size of files, not a pretended error."""
    import resource

    folder = tmp_path / "run"
    train(run(pool, folder, stop_after=3), QUIET)
    before = (folder / checkpoint.NAME).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) * 2 // 3, limits[1]))
        with pytest.raises(StoreError, match="No space is left"):
            train(run(pool, folder), QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (folder / checkpoint.NAME).read_bytes() == before


def test_other_pictures_than_before_are_refused(tmp_path: Path, pool: Pool, draw_cells: Draw) -> None:
    train(run(pool, tmp_path / "run", stop_after=3), QUIET)
    listed = list_folder(draw_cells(tmp_path / "others", 20, seed=5), Data(side=40))
    other = pack([listed], Data(side=40), tmp_path / "pool2", closed={}, facts={}, reporter=QUIET)
    with pytest.raises(UsageError, match="was trained on other pictures"):
        train(run(other, tmp_path / "run"), QUIET)


def test_two_calls_do_not_train_in_one_folder_and_leftovers_are_cleared(tmp_path: Path, pool: Pool) -> None:
    folder = tmp_path / "run"
    wanted = run(pool, folder, stop_after=2)
    (folder / ".checkpoint.pth.123-abcd.tmp").write_bytes(b"half")
    with filelock.FileLock(folder / ".lock"), pytest.raises(UsageError, match="Another process trains in"):
        train(wanted, QUIET)
    train(wanted, QUIET)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_whitened_head_sees_differences_at_once(pool: Pool, tmp_path: Path) -> None:
    """Before the first layer class tokens have mean 0 and deviation 1; the network behind is untouched."""
    recipe = tiny(start={"whiten_head": True}, data={"batch": 8})
    began: list[IBOT] = []
    training = engine._Training(run(pool, tmp_path / "run", recipe), QUIET)
    began.append(training.model)
    plain = make_model(recipe)
    for name, value in plain.teacher.backbone.state_dict().items():
        assert torch.equal(training.model.teacher.backbone.state_dict()[name], value)
    from cytobench.pretraining.augment import make_crops
    from cytobench.pretraining.loader import Batches, Share
    from cytobench.pretraining.masked_vit import Crops

    batches = Batches(pool, recipe, Share(), patch_size=8, pin=False)
    parts = [batches.make(step) for step in range(32)]
    kind = batches.kinds[0]
    crops = torch.cat([make_crops(one.pixels, one.draws[0], kind, recipe.augmentation) for one in parts])
    first, before = training.model.student.head.mlp[0], plain.student.head.mlp[0]
    with torch.no_grad():
        cls = training.model.teacher.backbone([Crops(crops)])[0].cls
        wanted = before((cls - cls.mean(0)) / cls.std(0))
        torch.testing.assert_close(first(cls), wanted, rtol=1e-3, atol=1e-3)


def test_flops_are_those_of_the_formula_for_a_plain_vit() -> None:
    """Facts of the field: ViT-S/16 with 2 + 10 crops needs about 126 GFLOP an image in a lean step."""
    recipe = check(override(preset("cytofm-vits16"), {"loss": {"patch_centre": "masked"}}, where="test"))
    assert flops_per_image(recipe) / 1e9 == pytest.approx(122, rel=0.06)
