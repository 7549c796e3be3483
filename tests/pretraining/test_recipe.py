"""Recipes: presets that can be trained, settings over them, and sentences about wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cytobench.errors import UsageError
from cytobench.pretraining import recipe as recipes
from cytobench.pretraining.build import make_timetable
from cytobench.pretraining.recipe import PRESETS, as_dict, check, differences, override, preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_can_be_trained_and_written_down(name: str) -> None:
    recipe = check(preset(name))
    written = json.loads(json.dumps(as_dict(recipe)))
    assert override(recipe, written, where="itself") == recipe
    assert override(preset("ibot-imagenet-vits16"), written, where="another") == recipe


def test_the_published_recipe_is_the_published_recipe() -> None:
    """README of bytedance/ibot, ViT-S/16: 800 epochs, 16 GPUs, 1,281,167 images."""
    recipe = preset("ibot-imagenet-vits16")
    schedule, head, crops, change = recipe.schedule, recipe.head, recipe.crops, recipe.augmentation
    assert (recipe.network.arch, recipe.network.drop_path) == ("vit_small_patch16_224", 0.1)
    assert (head.out_dim, head.shared, head.norm_last_layer) == (8192, True, False)
    assert (head.hidden_dim, head.bottleneck_dim) == (2048, 256)
    assert (schedule.epochs, recipe.data.batch, schedule.lr, schedule.warmup_epochs) == (800, 1024, 5e-4, 10)
    assert (schedule.weight_decay, schedule.final_weight_decay, schedule.momentum) == (0.04, 0.4, 0.996)
    temperatures = (schedule.warmup_temperature, schedule.temperature, schedule.temperature_epochs)
    assert temperatures == (0.04, 0.07, 30)
    assert (schedule.clip, schedule.clip_mode, schedule.freeze_last_layer_epochs) == (3.0, "each", 1)
    assert (crops.global_count, crops.local_count, crops.global_scale, crops.local_scale) == (
        *(2, 10),
        *((0.25, 1.0), (0.05, 0.25)),
    )
    assert (recipe.masking.ratios, recipe.masking.variations, recipe.masking.exact) == (
        (0, 0.3),
        (0, 0.2),
        False,
    )
    assert (recipe.loss.centring, recipe.loss.patch_centre, recipe.loss.patch_weight) == ("ema", "all", 1.0)
    assert (change.blur_p, change.solarise_p, change.stain) == ((1.0, 0.1, 0.5), (0.0, 0.2, 0.0), "none")
    assert (change.brightness, change.contrast, change.saturation, change.hue) == (0.4, 0.4, 0.2, 0.1)
    table = make_timetable(recipe, 1_281_167)
    assert table.epoch_steps == 1251
    assert table.steps == 800 * 1251
    assert table.lr.max() == pytest.approx(5e-4 * 1024 / 256)
    assert table.at(0).lr == 0.0
    assert table.at(1251 * 29).temperature == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"schedul": {"epochs": 3}}, "unknown key 'schedul'; did you mean 'schedule'?"),
        ({"schedule": {"epoch": 3}}, "unknown key 'schedule.epoch'; did you mean 'epochs'?"),
        ({"schedule": {"epochs": "three"}}, "schedule.epochs must be a whole number, not 'three'"),
        ({"schedule": {"epochs": True}}, "schedule.epochs must be a whole number"),
        ({"schedule": 3}, "'schedule' is a table of settings; write [schedule]"),
        ({"loss": {"centring": "none"}}, "loss.centring must be one of ema, sinkhorn"),
        ({"crops": {"global_scale": [0.1]}}, "crops.global_scale must hold 2 values"),
        ({"masking": {"ratios": [0.0, 2.0]}}, "must lie between 0 and 1"),
        ({"network": {"options": 3}}, "network.options must be a table"),
    ],
)
def test_wrong_settings_are_named(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(preset("cytofm-vitti16"), raw, where="my.toml")
    assert str(caught.value).startswith("my.toml: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"schedule": {"warmup_epochs": 1000}}, "warmup_epochs must lie in 0..epochs"),
        ({"crops": {"global_scale": [0.9, 0.3]}}, "global_scale must rise"),
        ({"data": {"batch": 1}}, "data.batch must be at least 2"),
        ({"schedule": {"temperature": 0.0}}, "temperatures must be above 0"),
        ({"schedule": {"clip": -1.0}}, "clip cannot be negative"),
        ({"network": {"drop_path": 1.0}}, "drop_path must lie in 0..1"),
        ({"augmentation": {"std": [0.0, 0.1, 0.1]}}, "std must be above 0"),
        ({"augmentation": {"grey_p": 1.5}}, "probabilities"),
        ({"data": {"side": 64}}, "data.side must be at least crops.global_size"),
        ({"head": {"out_dim": 0}}, "out_dim"),
        ({"running": {"seed": -1}}, "seed"),
        ({"running": {"log_steps": 0}}, "at least 1"),
    ],
)
def test_numbers_that_cannot_be_trained_with_are_refused(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match="cannot be trained") as caught:
        check(override(preset("cytofm-vitti16"), raw, where="x"))
    assert sentence in str(caught.value)


def test_a_file_of_settings_is_read_and_its_faults_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[schedule]\nepochs = 3\nlr = 1\n")
    made = override(preset("cytofm-vitti16"), recipes.read_overrides(path), where=str(path))
    assert (made.schedule.epochs, made.schedule.lr) == (3, 1.0)
    path.write_text("[schedule\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        recipes.read_overrides(path)
    with pytest.raises(UsageError, match="cannot be read"):
        recipes.read_overrides(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="did you mean 'cytofm-vits16'"):
        preset("cytofm-vit-s16")


def test_differences_are_named_by_their_keys() -> None:
    one = as_dict(preset("cytofm-vitti16"))
    other = as_dict(
        override(preset("cytofm-vitti16"), {"data": {"batch": 8}, "head": {"shared": False}}, where="x")
    )
    assert differences(one, other) == ["data.batch", "head.shared"]


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(UsageError, match="fewer than one batch of 1024"):
        make_timetable(preset("ibot-imagenet-vits16"), 1000)
