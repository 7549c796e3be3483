"""What `doctor` makes of facts about a machine: each state of it is told, with a cure where one is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cytobench.cards import BackboneCard
from cytobench.checks.device import TorchFacts, judge_threads, judge_torch
from cytobench.checks.holdings import judge_token
from cytobench.checks.home import judge_memory, judge_room
from cytobench.checks.packages import judge_faiss, judge_versions
from cytobench.findings import Finding

GOOD = TorchFacts("2.9.0+cu128", cuda="12.8", rocm=None, usable=True, nvidia=True)


def _told(found: Finding) -> tuple[str, str]:
    return found.mark, f"{found.says} {found.cure}"


@pytest.mark.parametrize(
    ("changes", "mark", "words"),
    [
        ({}, "pass", "built for CUDA 12.8"),
        ({"usable": False}, "warn", "Update the NVIDIA driver to one that knows CUDA 12.8"),
        ({"usable": False, "cuda": None}, "warn", "Install a torch that is built for CUDA"),
        ({"usable": False, "nvidia": False}, "pass", "no GPU is here: the processor computes"),
        ({"usable": False, "nvidia": False, "cuda": None}, "pass", "built for processors"),
        ({"cuda": None, "rocm": "6.4", "nvidia": False}, "pass", "built for ROCm 6.4"),
    ],
)
def test_torch_fits_the_gpu_or_it_is_said_what_does(
    changes: dict[str, object], mark: str, words: str
) -> None:
    found, said = _told(judge_torch(replace(GOOD, **changes)))
    assert found == mark
    assert words in said


@pytest.mark.parametrize(
    ("used", "here", "mark", "words"),
    [
        (8, 2, "warn", "Set OMP_NUM_THREADS=2"),
        (1, 8, "warn", "Unset OMP_NUM_THREADS"),
        (1, 1, "pass", "1 of 1 cores"),
        (8, 8, "pass", "8 of 8 cores"),
    ],
)
def test_threads_are_compared_with_cores(used: int, here: int, mark: str, words: str) -> None:
    found, said = _told(judge_threads(used, here, ""))
    assert found == mark
    assert words in said


@pytest.mark.parametrize(
    ("installed", "gpus", "nvidia", "mark", "words"),
    [
        (("faiss-gpu",), 2, True, "pass", "2 GPUs seen"),
        (("faiss-cpu",), 0, False, "pass", "on the processor"),
        (("faiss-cpu",), 0, True, "warn", "pip install faiss-gpu"),
        (("faiss-gpu",), 0, True, "warn", "Update the NVIDIA driver"),
        (("faiss-cpu", "faiss-gpu"), 1, True, "warn", "faiss-cpu and faiss-gpu are both installed"),
    ],
)
def test_a_faiss_that_leaves_a_gpu_idle_is_told(
    installed: tuple[str, ...], gpus: int, nvidia: bool, mark: str, words: str
) -> None:
    found, said = _told(judge_faiss("1.15.1", installed, gpus, nvidia=nvidia))
    assert found == mark
    assert words in said


def _gated(name: str) -> BackboneCard:
    return BackboneCard(
        name=name,
        title=name,
        loader="timm",
        arch="vit_tiny_patch16_224",
        weights=f"hf-hub:lab/{name}",
        dim=192,
        pooling="cls",
        preprocess={"size": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        domain="histology",
        licence="gated",
        citation="a lab",
        gated=True,
        licence_url=f"https://example.org/{name}",
    )


def test_a_token_is_asked_for_only_where_gated_weights_wait() -> None:
    assert judge_token([], here=False).mark == "pass"
    lacking = judge_token([_gated("uni"), _gated("conch")], here=False)
    assert (lacking.mark, lacking.cases[0]) == ("warn", "uni: https://example.org/uni")
    assert "uni, conch" in lacking.says
    assert "HF_TOKEN" in lacking.cure
    assert judge_token([_gated("uni")], here=True).mark == "pass"


def test_versions_off_the_constraints_are_named_if_cytobench_asks_for_them() -> None:
    tested = {"torch": "2.9.0", "timm": "1.0.20", "rich": "14.0"}
    here = {"torch": "2.9.0+cu128", "timm": "1.0.15", "rich": "13.0"}
    found = judge_versions(tested, here, {"torch", "timm"})
    assert found.mark == "warn"
    assert found.cases == ("timm 1.0.15 (tested with 1.0.20)",)
    assert judge_versions(tested, here, {"torch"}).mark == "pass"


@pytest.mark.parametrize(("free", "mark"), [(0.0, "fail"), (9e8, "fail"), (5e9, "warn"), (2e10, "pass")])
def test_a_full_disk_fails_and_a_small_one_is_told(free: float, mark: str) -> None:
    found = judge_room(free, "/home/me/cytobench")
    assert found.mark == mark
    assert "/home/me/cytobench" in found.says
    assert bool(found.cure) == (mark != "pass")


@pytest.mark.parametrize(
    ("total", "free", "mark"), [(0.0, 0.0, "skip"), (8e9, 1e9, "warn"), (8e9, 6e9, "pass")]
)
def test_little_memory_is_told(total: float, free: float, mark: str) -> None:
    assert judge_memory(total, free).mark == mark
