"""`cytobench pretrain` and `cytobench views` as a user meets them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cytobench.cli import app
from cytobench.errors import CytoBenchError, UsageError

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


def test_a_contact_sheet_of_views_is_drawn(cells: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "views.png"
    words = [
        "views",
        "--images",
        str(cells),
        "--out",
        str(sheet),
        "-n",
        "3",
        "--augmentation",
        "ibot-imagenet",
    ]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert "3 pictures" in ran.output
    width, height = Image.open(sheet).size
    assert width > 3 * 112 + 4 * 48
    assert height > 3 * 112


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
    """Same images, draws and masks shared between two gloo processes: the same losses and teacher."""
    import torch

    from cytobench.pretraining import checkpoint

    shared = [*SETTINGS, "--set", "masking.exact=false", "--set", "network.drop_path=0.0"]
    shared += ["--images", str(cells), "--home", str(tmp_path / "home"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "cytobench", "pretrain", *shared, "--out", str(tmp_path / "one")]
    subprocess.run(one, check=True, env=environment, timeout=300)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [*launcher, "-m", "cytobench", "pretrain", *shared, "--out", str(tmp_path / "two")]
    subprocess.run(two, check=True, env=environment, timeout=300)
    states = [checkpoint.read(tmp_path / name / checkpoint.NAME) for name in ("one", "two")]
    for branch in ("student", "teacher", "ibot_loss"):
        for name, value in states[0][branch].items():
            torch.testing.assert_close(states[1][branch][name], value, rtol=1e-3, atol=2e-4)
    logs = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("one", "two")]
    for left, right in zip(*logs, strict=True):
        assert float(left["loss"]) == pytest.approx(float(right["loss"]), rel=1e-4)
