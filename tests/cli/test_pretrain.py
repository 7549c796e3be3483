"""`cytobench pretrain` and `cytobench views` as a user meets them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from cytobench.cli import app
from cytobench.cli.options import places
from cytobench.cli.pretrain import recipe_of
from cytobench.errors import CytoBenchError, StoreError, UsageError
from cytobench.pretraining.recipe import PRESETS

if TYPE_CHECKING:
    import torch

SMALL = [
    *("crops.global_size=32", "crops.local_size=16", "crops.local_count=2", "data.side=40", "data.batch=8"),
    *("head.out_dim=32", "head.hidden_dim=32", "head.bottleneck_dim=16"),
    *("schedule.epochs=3", "schedule.epoch_steps=2", "schedule.warmup_epochs=1"),
    *("running.checkpoint_steps=2", "running.log_steps=1", "running.precision=fp32"),
    "network.options={patch_size=8, embed_dim=32, depth=2, num_heads=2}",
]
SETTINGS = [part for one in SMALL for part in ("--set", one)]


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    folder = tmp_path / "cells"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def pretrain(*arguments: object, home: Path) -> str:
    """Run the command in this process; raises what it raises."""
    words = ["pretrain", *SETTINGS, *map(str, arguments), "--home", str(home), "--device", "cpu"]
    ran = CliRunner().invoke(app, words, catch_exceptions=True)
    if isinstance(ran.exception, CytoBenchError):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_a_folder_of_cells_becomes_a_backbone_the_benchmark_runs(cells: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = pretrain("--images", cells, "--out", run, home=tmp_path / "home")
    assert "Done: 6 of 6 steps" in said
    assert {path.name for path in run.iterdir()} == {
        *("run.json", "pool", "checkpoint.pth", "log.csv", "curves.png", "model.safetensors", "card.toml")
    }
    assert Image.open(run / "curves.png").size[0] > 600
    plugin = tmp_path / "mine"
    (plugin / "tasks").mkdir(parents=True)
    for number, path in enumerate(sorted(cells.glob("*.png"))):
        target = plugin / "cells" / "ab"[number % 2] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    (plugin / "tasks" / "mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\ndataset = { format = "folder", path = "../cells" }\n'
        'group = "none"\naccept_ungrouped = true\nview = { kind = "window", size = 40 }\n'
    )
    words = ["run", "-b", str(run / "card.toml"), "-t", "mine", "--plugin", str(plugin), "--folds", "2"]
    ran = CliRunner().invoke(app, [*words, "-p", "knn", "--home", str(tmp_path / "home"), "--device", "cpu"])
    assert ran.exit_code == 0, ran.output
    assert "mine" in ran.output


def test_a_second_call_goes_on_and_another_recipe_is_refused(cells: Path, tmp_path: Path) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    pretrain("--images", cells, "--out", run, home=home)
    before = (run / "log.csv").read_text()
    assert "Done: 6 of 6 steps" in pretrain("--images", cells, "--out", run, home=home)
    assert (run / "log.csv").read_text() == before
    with pytest.raises(UsageError, match=r"schedule\.lr differ"):
        pretrain("--images", cells, "--out", run, "--set", "schedule.lr=0.1", home=home)
    with pytest.raises(UsageError, match="holds a run already"):
        pretrain("--images", cells, "--out", run, "--no-resume", home=home)


def test_a_packed_pool_is_made_first_and_trained_from_elsewhere(cells: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = pretrain("--images", cells, "--out", tmp_path / "packed", "--pack-only", home=home)
    assert "Packed: 16 pictures of 40 px" in said
    assert not (tmp_path / "packed" / "checkpoint.pth").exists()
    pretrain("--images", tmp_path / "packed" / "pool", "--out", tmp_path / "run", home=home)
    assert not (tmp_path / "run" / "pool").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "cytofm-vitb-16"], "did you mean 'cytofm-vitb16'"),
        (["--set", "schedule.epoch=3"], "unknown key 'schedule.epoch'; did you mean 'epochs'"),
        (["--set", "schedule.epochs"], "write KEY=VALUE"),
        (["--set", "loss.centring=none"], "must be one of ema, sinkhorn"),
        (["--config", "absent.toml"], "cannot be read"),
        (["--knn", "herlev-7"], "has no sealed share"),
        (["--init", "no-such-backbone"], "There is no backbone named 'no-such-backbone'"),
    ],
)
def test_mistakes_get_one_sentence(cells: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(CytoBenchError) as caught:
        pretrain("--images", cells, "--out", tmp_path / "run", *arguments, home=tmp_path / "home")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_only_hold_together_can_be_given(cells: Path, tmp_path: Path) -> None:
    """And those of one table and the table's own keys; the last word counts."""
    pair = ["masking.ratios=[0.0, 0.3, 0.4]", "masking.variations=[0.0, 0.2, 0.1]"]
    words = [part for one in [*pair, "schedule.lr=1", "schedule.lr=0.001"] for part in ("--set", one)]
    pretrain("--images", cells, "--out", tmp_path / "run", "--pack-only", *words, home=tmp_path / "home")
    request = json.loads((tmp_path / "run" / "run.json").read_text())
    assert request["masking"]["variations"] == [0.0, 0.2, 0.1]
    assert request["schedule"]["lr"] == 0.001
    with pytest.raises(UsageError, match="another --set gives 'data' a value"):
        pretrain("--images", cells, "--out", tmp_path, "--set", "data=3", "--set", "data.x=1", home=tmp_path)


def test_a_short_trial_has_a_short_warm_up_unless_one_is_named(tmp_path: Path) -> None:
    assert recipe_of("cytofm-vitti16", None, ["schedule.epochs=1"]).schedule.warmup_epochs == 0
    assert recipe_of("cytofm-vitti16", None, ["schedule.epochs=4"]).schedule.warmup_epochs == 2
    longer = tmp_path / "longer.toml"
    longer.write_text("[schedule]\nwarmup_epochs = 9\n")
    with pytest.raises(UsageError, match="warmup_epochs must lie in"):
        recipe_of("cytofm-vitti16", longer, ["schedule.epochs=4"])


def test_the_help_names_every_preset() -> None:
    help_text = next(
        option.help
        for option in typer.main.get_command(app).commands["pretrain"].params  # type: ignore[attr-defined]
        if option.name == "preset"
    )
    assert [name for name in PRESETS if name not in help_text] == []


def test_a_run_that_never_began_is_no_obstacle_and_one_that_did_is_named(cells: Path, tmp_path: Path) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    pretrain("--images", cells, "--out", run, "--pack-only", home=home)
    pretrain("--images", cells, "--out", run, "--no-resume", "--set", "data.side=44", home=home)
    assert json.loads((run / "pool" / "pool.json").read_text())["side"] == 44
    card = (run / "card.toml").read_text()
    pretrain("--images", cells, "--out", tmp_path / "next", "--init", run / "checkpoint.pth", home=home)
    assert (
        "It began with the weights checkpoint.pth (SHA-256 " in (tmp_path / "next" / "card.toml").read_text()
    )
    assert "It began" not in card
    shutil.rmtree(run / "pool")
    for path in sorted(cells.glob("*.png"))[:4]:
        path.unlink()
    with pytest.raises(UsageError, match="has trained on other pictures"):
        pretrain("--images", cells, "--out", run, "--set", "data.side=44", home=home)


def test_without_platformdirs_things_are_kept_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CYTOBENCH_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert places(None, None).home == tmp_path / ".cytobench"


def views(*arguments: object) -> str:
    """Draw a contact sheet in this process; raises what the command raises."""
    ran = CliRunner().invoke(app, ["views", *map(str, arguments)], catch_exceptions=True)
    if isinstance(ran.exception, CytoBenchError):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_a_contact_sheet_of_views_is_drawn_of_whatever_pretraining_reads(cells: Path, tmp_path: Path) -> None:
    """A folder, a table, a packed pool, and of a data set what is open; pictures and crops side by side."""
    sheet, home = tmp_path / "sheets" / "views.png", ("--home", tmp_path / "home")
    said = views("--images", cells, "--out", sheet, "-n", 3, "--augmentation", "ibot-imagenet", *home)
    assert "3 pictures" in said
    crops = PRESETS["cytofm-vitti16"].crops
    width, height = Image.open(sheet).size
    shown = crops.global_size * (1 + crops.global_count) + crops.local_size * crops.local_count
    assert shown < width < shown + 100
    assert 3 * crops.global_size < height < 3 * crops.global_size + 100
    (cells / "two.csv").write_text("image\n00.png\n03.png\n")
    assert "2 pictures" in views("--images", cells / "two.csv", "--out", sheet, *home)
    pretrain("--images", cells, "--out", tmp_path / "run", "--pack-only", home=tmp_path / "home")
    assert "5 pictures" in views("--images", tmp_path / "run", "-n", 5, "--out", sheet, *home)
    shutil.copytree(cells, tmp_path / "data" / "pbc-unlabelled")
    named = ("--images", "pbc-unlabelled", "--data", tmp_path / "data")
    assert "8 pictures" in views(*named, "--out", sheet, *home)
    with pytest.raises(UsageError, match="never for pretraining"):
        views("--images", "herlev", "--out", sheet, *home)
    with pytest.raises(StoreError, match="--out"):
        views("--images", cells, "--out", cells / "00.png" / "sheet.png", *home)


def test_pictures_whose_licence_forbids_it_are_not_drawn(cells: Path, tmp_path: Path) -> None:
    """Of a known data set's folder, of a user's own task, and of a pool that holds such images."""
    sheet, home = tmp_path / "views.png", ("--home", tmp_path / "home")
    shutil.copytree(cells, tmp_path / "data" / "herlev" / "New database pictures" / "normal")
    with pytest.raises(UsageError, match="The licence of 'herlev' forbids showing"):
        views("--images", tmp_path / "data" / "herlev" / "New database pictures", "--out", sheet, *home)
    plugin = tmp_path / "mine"
    for name in ("a", "b"):
        shutil.copytree(cells, plugin / "cells" / name)
    (plugin / "tasks").mkdir()
    (plugin / "tasks" / "mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\ndataset = { format = "folder", path = "../cells" }\n'
        'group = "none"\naccept_ungrouped = true\nview = { kind = "window", size = 40 }\n'
        'pretrain = "sealed"\nsealed = { column = "label", values = ["a"] }\nshow_images = false\n'
    )
    for number, path in enumerate((plugin / "cells" / "a").iterdir()):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    own = ("--plugin", plugin, *home)
    with pytest.raises(UsageError, match="The licence of 'mine' forbids showing"):
        views("--images", plugin / "cells" / "a", "--out", sheet, *own)
    copy = shutil.copytree(plugin / "cells" / "a", tmp_path / "copy")
    run = tmp_path / "run"
    pretrain("--images", copy, "--out", run, "--pack-only", "--plugin", plugin, home=tmp_path / "home")
    with pytest.raises(UsageError, match="The licence of 'mine' forbids showing"):
        views("--images", run, "--out", sheet, *own)
    assert not sheet.exists()


@pytest.mark.slow
def test_killed_at_any_moment_it_loses_at_most_the_steps_since_the_last_checkpoint(
    cells: Path, tmp_path: Path
) -> None:
    """Kill -9 as soon as the log has grown, again and again: the end equals that of an undisturbed run."""
    import torch

    from cytobench.pretraining import checkpoint

    command = [sys.executable, "-m", "cytobench", "pretrain", *SETTINGS, "--set", "schedule.epochs=10"]
    command += ["--images", str(cells), "--home", str(tmp_path / "home"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, env=environment, timeout=300)
    run = tmp_path / "killed"
    kills = 0
    for enough in (1, 4, 9, 13):
        child = subprocess.Popen([*command, "--out", str(run)], env=environment, stderr=subprocess.DEVNULL)
        while child.poll() is None and _rows(run) < enough:
            time.sleep(0.02)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
    assert kills == 4
    subprocess.run([*command, "--out", str(run)], check=True, env=environment, timeout=300)
    states = [checkpoint.read(folder / checkpoint.NAME) for folder in (tmp_path / "whole", run)]
    for branch in ("student", "teacher", "ibot_loss"):
        for name, value in states[0][branch].items():
            assert torch.equal(value, states[1][branch][name]), (branch, name)
    with (run / "log.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, 21))


def _rows(run: Path) -> int:
    path = run / "log.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


@pytest.mark.slow
def test_two_processes_under_torchrun_end_where_one_does(cells: Path, tmp_path: Path) -> None:
    """Same images, draws and masks shared between two gloo processes: the same losses and weights.

    Weights move far, so that what differs shows.
    """
    import torch

    from cytobench.pretraining import checkpoint
    from cytobench.pretraining.build import make_model

    moving = ["schedule.lr=0.25", "schedule.momentum=0.5", "start.whiten_head=false"]
    shared = [*SMALL, *moving, "masking.exact=false", "network.drop_path=0.0"]
    words = [part for one in shared for part in ("--set", one)]
    words += ["--images", str(cells), "--home", str(tmp_path / "home"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "cytobench", "pretrain", *words, "--out", str(tmp_path / "one")]
    subprocess.run(one, check=True, env=environment, timeout=300)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [*launcher, "-m", "cytobench", "pretrain", *words, "--out", str(tmp_path / "two")]
    subprocess.run(two, check=True, env=environment, timeout=300)
    states = [checkpoint.read(tmp_path / name / checkpoint.NAME) for name in ("one", "two")]
    fresh = make_model(recipe_of("cytofm-vitti16", None, shared)).published_state()
    changes = [
        {branch: _changes(fresh[branch], state[branch]) for branch in ("student", "teacher")}
        for state in states
    ]
    everything = torch.cat([change.flatten() for change in changes[0]["student"].values()])
    assert float(everything.abs().median()) > 1e-2
    for branch, changed in changes[0].items():
        for name, change in changed.items():
            off = changes[1][branch][name] - change
            assert float(off.norm()) <= 1e-3 * float(change.norm()), (branch, name)
    for name, value in states[0]["ibot_loss"].items():
        torch.testing.assert_close(states[1]["ibot_loss"][name], value, rtol=1e-4, atol=1e-5)
    logs = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("one", "two")]
    for left, right in zip(*logs, strict=True):
        assert float(left["loss"]) == pytest.approx(float(right["loss"]), rel=1e-5)


def _changes(fresh: dict[str, torch.Tensor], trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return how far each weight moved; softmax is blind to biases of keys, whose gradient is noise alone."""
    changes = {}
    for name, value in fresh.items():
        moved = trained[name] - value
        if name.endswith("attn.qkv.bias"):
            moved = moved.reshape(3, -1)[::2]  # of queries and values
        changes[name] = moved
    return changes
