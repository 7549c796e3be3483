"""A training step of iBOT: the published code's numbers, the promises of the module, its odd batches."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_ibot
import torch
from reference_recipe import RECIPE, images, tokens
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cytobench.errors import UsageError, WeightsError
from cytobench.pretraining import optim
from cytobench.pretraining.ibot import IBOT, Losses, Masks, Objective
from cytobench.pretraining.losses import centred_softmax
from cytobench.pretraining.masking import index_masks
from cytobench.pretraining.schedules import teacher_temperatures
from cytobench.pretraining.sinkhorn import sinkhorn

REFERENCE = json.loads((Path(__file__).parent / "reference_steps.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("head", ["shared", "separate"])
def test_three_steps_repeat_the_published_code(head: str) -> None:
    """Losses, centres and all weights of student and teacher, with clipping, freezing, decay and EMA."""
    wanted = REFERENCE[head]
    model = tiny_ibot.make(head=replace(tiny_ibot.HEAD, shared=head == "shared"))
    tiny_ibot.fill_by_formula(model.student)
    model.copy_to_teacher()
    optimizer = optim.adamw(optim.parameter_groups(model.student))
    optim.set_rates(optimizer, lr=RECIPE.lr, weight_decay=RECIPE.weight_decay)
    spans = {"epochs": RECIPE.epochs, "warmup_epochs": RECIPE.warmup_epochs}
    cls_temps, patch_temps = (
        teacher_temperatures(0.04, 0.07, **spans),
        teacher_temperatures(0.05, 0.08, **spans),
    )
    for step in range(RECIPE.steps):
        masks = Masks.of(index_masks(tokens(step), dtype=np.float64))
        losses = model(*images(step), masks, tiny_ibot.temperatures(cls_temps[step], patch_temps[step]))
        optimizer.zero_grad()
        losses["total"].backward()
        optim.clip_each(model.student.parameters(), RECIPE.clip)
        optim.freeze_last_layer(model.student, epoch=step, epochs=RECIPE.freeze_epochs)
        optimizer.step()
        model.ema_update(RECIPE.momentum)
        for name, value in wanted["losses"][step].items():
            assert losses[name].item() == pytest.approx(value, abs=1e-8), (step, name)
    for network in ("student", "teacher"):
        found = tiny_ibot.checksums(getattr(model, network))
        assert found.keys() == wanted[network].keys()
        for name, value in wanted[network].items():
            assert found[name] == pytest.approx(value, rel=1e-7, abs=1e-7), (network, name)
    for name in ("center", "center2"):
        found_centre = getattr(model.centres, name).flatten()
        torch.testing.assert_close(found_centre.tolist(), wanted[name], rtol=0, atol=1e-9)


def step_of(model: IBOT, seed: int = 0, masks: Masks | None = None) -> Losses:
    global_crops, local_crops, drawn = tiny_ibot.batch(3, seed)
    return model(global_crops, local_crops, masks or drawn, tiny_ibot.temperatures())


def all_patch_scores(model: IBOT, crops: Tensor) -> Tensor:
    """Return the teacher's scores of every patch, [2 * B * N, K2], the long way."""
    from cytobench.pretraining.masked_vit import Crops

    with torch.no_grad():
        patches = model.teacher.backbone([Crops(crops)])[0].patches.flatten(0, 1)
        return model.teacher.head.last_layer2(model.teacher.head(patches))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("which", ["all", "masked"])
def test_patch_centre_is_the_mean_score_without_computing_all_scores(shared: bool, which: Any) -> None:
    model = tiny_ibot.make(Objective(patch_centre=which), replace(tiny_ibot.HEAD, shared=shared))
    crops, _, masks = tiny_ibot.batch(3, 0)
    scores = all_patch_scores(model, crops)
    if which == "masked":
        scores = scores[masks.patch_index]
    step_of(model)
    torch.testing.assert_close(model.centres.patch[0], 0.1 * scores.mean(0), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "objective", [Objective(), Objective(patch_centre="masked"), Objective(centring="sinkhorn")]
)
def test_a_padded_index_list_changes_nothing(objective: Objective) -> None:
    plain, padded = tiny_ibot.make(objective), tiny_ibot.make(objective)
    _, _, masks = tiny_ibot.batch(3, 0)
    longer = Masks.of(index_masks(masks.tokens.numpy(), length=80, dtype=np.float64))
    first, second = step_of(plain), step_of(padded, masks=longer)
    for model, losses in ((plain, first), (padded, second)):
        losses["total"].backward()
        assert model.student.backbone.masked_embed.grad.abs().sum() > 0
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(plain.centres.center2, padded.centres.center2, rtol=1e-12, atol=1e-15)
    pairs = zip(plain.student.parameters(), padded.student.parameters(), strict=True)
    for left, right in pairs:
        torch.testing.assert_close(left.grad, right.grad, rtol=1e-9, atol=1e-13)


def test_the_teacher_has_no_gradient_and_follows_the_student() -> None:
    model = tiny_ibot.make()
    step_of(model)["total"].backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is not None for p in model.student.parameters())
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    before = {name: p.clone() for name, p in model.teacher.named_parameters()}
    model.ema_update(0.75)
    for name, parameter in model.teacher.named_parameters():
        torch.testing.assert_close(parameter, before[name] + 0.25, rtol=1e-12, atol=1e-12)
    assert "backbone.masked_embed" not in before


def test_centres_move_after_the_loss_and_only_in_training() -> None:
    model = tiny_ibot.make().eval()
    first = step_of(model)
    assert not model.centres.center.any()
    model.train()
    assert step_of(model)["total"].item() == first["total"].item()
    assert step_of(model)["total"].item() != first["total"].item()


def test_entropies_are_those_of_the_teachers_class_tokens() -> None:
    model = tiny_ibot.make()
    from cytobench.pretraining.masked_vit import Crops

    crops, _, _ = tiny_ibot.batch(3, 0)
    with torch.no_grad():
        unit = model.teacher.head(model.teacher.backbone([Crops(crops)])[0].cls)
        p = centred_softmax(model.teacher.head.last_layer(unit), model.centres.cls, 0.05)
    losses = step_of(model)
    conditional = -(p * p.log()).sum(-1).mean()
    marginal = -(p.mean(0) * p.mean(0).log()).sum()
    torch.testing.assert_close(losses["teacher_entropy"], conditional)
    torch.testing.assert_close(losses["marginal_entropy"], marginal)
    assert 0 < losses["teacher_entropy"] <= losses["marginal_entropy"] <= math.log(24)


def test_sinkhorn_targets_replace_centres() -> None:
    model = tiny_ibot.make(Objective(centring="sinkhorn"))
    with torch.no_grad():
        model.centres.center.fill_(3.0).mul_(torch.arange(24))
    moved = step_of(model)["cls"]
    untouched = step_of(tiny_ibot.make(Objective(centring="sinkhorn")))["cls"]
    centred = step_of(tiny_ibot.make())["cls"]
    assert moved.item() == untouched.item() != centred.item()
    assert sinkhorn(torch.randn(4, 6), 0.05).sum(1).tolist() == pytest.approx([1.0] * 4, abs=1e-6)


def test_a_batch_without_masks_has_no_patch_loss_but_all_gradients() -> None:
    nothing = Masks.of(index_masks(np.zeros((6, tiny_ibot.PATCHES), dtype=bool), dtype=np.float64))
    for objective in (Objective(), Objective(patch_centre="masked"), Objective(centring="sinkhorn")):
        model = tiny_ibot.make(objective, replace(tiny_ibot.HEAD, shared=False))
        losses = step_of(model, masks=nothing)
        losses["total"].backward()
        assert losses["patch"].item() == 0
        assert all(torch.isfinite(value) for value in losses.values())
        assert all(p.grad is not None for p in model.student.parameters())
        assert torch.isfinite(model.centres.center2).all()


def test_without_patch_loss_nothing_is_masked() -> None:
    model = tiny_ibot.make(Objective(patch_weight=0.0))
    global_crops, local_crops, masks = tiny_ibot.batch(3, 0)
    losses = model(global_crops, local_crops, None, tiny_ibot.temperatures())
    losses["total"].backward()
    assert losses["total"].item() == losses["cls"].item()
    assert model.student.backbone.masked_embed is None
    assert all(p.grad is not None for p in model.student.parameters())
    with pytest.raises(ValueError, match="masks are needed exactly"):
        model(global_crops, local_crops, masks, tiny_ibot.temperatures())
    with pytest.raises(UsageError, match="shared"):
        tiny_ibot.make(Objective(patch_weight=0.0), replace(tiny_ibot.HEAD, shared=False))


def test_global_crops_alone_are_enough() -> None:
    global_crops, _, masks = tiny_ibot.batch(2, 0)
    losses = tiny_ibot.make()(global_crops, None, masks, tiny_ibot.temperatures())
    assert torch.isfinite(losses["total"])


def test_low_precision_stays_close_and_keeps_losses_wide() -> None:
    model = tiny_ibot.make().float()
    crops, local, masks = tiny_ibot.batch(3, 0)
    temps = tiny_ibot.temperatures()._replace(cls=torch.tensor(0.05), patch=torch.tensor(0.06))
    wide = model.eval()(crops.float(), local.float(), masks, temps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(crops.float(), local.float(), masks, temps)
    low["total"].backward()
    assert all(value.dtype == torch.float32 for value in low.values())
    assert low["total"].item() == pytest.approx(wide["total"].item(), rel=0.02)


class _NoWaiting(TorchDispatchMode):
    """Fail when an operation would make the host wait for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if any(word in name for word in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero")):
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "objective", [Objective(), Objective(centring="sinkhorn"), Objective(patch_centre="masked")]
)
def test_a_step_never_waits_for_the_device(objective: Objective) -> None:
    model = tiny_ibot.make(objective, vit=replace(tiny_ibot.VIT, drop_path=0.2))
    crops, local, masks = tiny_ibot.batch(3, 0)
    with _NoWaiting():
        model(crops, local, masks, tiny_ibot.temperatures())["total"].backward()
        optim.clip_each(model.student.parameters(), 3.0)
        optim.clip_all(model.student.parameters(), 3.0)
        model.ema_update(0.99)
    with pytest.raises(AssertionError, match="waits"), _NoWaiting():
        masks.weight.sum().item()


def test_checkpoints_have_the_published_layout_and_come_back() -> None:
    model, other = tiny_ibot.make(), tiny_ibot.make()
    step_of(model)
    tiny_ibot.fill_by_formula(model.student)
    state = copy.deepcopy(model.published_state())
    assert set(state) == {"student", "teacher", "ibot_loss"}
    assert set(state["ibot_loss"]) == {"center", "center2"}
    assert state["ibot_loss"]["center2"].shape == (1, 1, 24)
    heads = {name for name in state["teacher"] if name.startswith("head.")}
    assert heads == {f"head.mlp.{i}.{part}" for i in (0, 2, 4) for part in ("weight", "bias")} | {
        f"head.{layer}.weight_{part}" for layer in ("last_layer", "last_layer2") for part in "gv"
    }
    assert set(state["student"]) - set(state["teacher"]) == {"backbone.masked_embed"}
    state["student"] = {f"module.{name}": value for name, value in state["student"].items()}
    other.load_published_state(state)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0)
    del state["teacher"]["head.mlp.0.bias"]
    with pytest.raises(WeightsError, match=r"'teacher' does not fit.*mlp\.0\.bias"):
        other.load_published_state(state)


def test_a_copy_is_independent_after_a_step() -> None:
    model = tiny_ibot.make()
    step_of(model)["total"].backward()
    twin = copy.deepcopy(model)
    assert twin.student.head.last_layer2 is twin.student.head.last_layer
    tiny_ibot.fill_by_formula(twin.student)
    assert step_of(model, 1)["total"].item() != step_of(twin, 1)["total"].item()


@pytest.mark.slow
def test_compiled_parts_have_no_graph_break_and_do_not_recompile_for_a_temperature() -> None:
    plain, compiled = tiny_ibot.make(), tiny_ibot.make()
    compiled.compile_parts(backend="eager", fullgraph=True, dynamic=False)
    assert step_of(compiled)["total"].item() == pytest.approx(step_of(plain)["total"].item(), abs=1e-12)
    crops, local, masks = tiny_ibot.batch(3, 0)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(crops, local, masks, tiny_ibot.temperatures(0.07, 0.03))
