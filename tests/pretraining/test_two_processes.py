"""Two processes with half a batch each do what one does with all of it, however their masks differ."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_ibot
import torch
import torch.multiprocessing
import two_processes


@pytest.mark.filterwarnings("ignore:.*broadcast_buffers:FutureWarning")
def test_two_processes_equal_one_with_the_double_batch(tmp_path: Path) -> None:
    """Losses, centres, entropies and the weights of student and teacher after two steps, float64."""
    other = torch.multiprocessing.start_processes(
        two_processes.second, args=(str(tmp_path),), nprocs=1, join=False, start_method="spawn"
    )
    alone = {}
    for name, objective in two_processes.OBJECTIVES.items():
        model = tiny_ibot.make(objective)
        alone[name] = (two_processes.train(model, slice(None)), model.state_dict())
    first = two_processes.run(0, str(tmp_path))
    while not other.join(timeout=60):
        pass
    second = torch.load(tmp_path / "second.pt", weights_only=True)
    masked = [two_processes.halves(0)[2][:, half].sum() for half in (slice(0, 2), slice(2, 4))]
    assert masked[1] > 3 * masked[0] > 0
    for name, (losses, state) in alone.items():
        for step, wanted in enumerate(losses):
            ours, theirs = first[name]["losses"][step], second[name]["losses"][step]
            for key in ("cls", "patch", "total"):
                assert (ours[key] + theirs[key]) / 2 == pytest.approx(wanted[key], abs=1e-10), (name, key)
            for key in ("teacher_entropy", "marginal_entropy"):
                assert ours[key] == theirs[key] == pytest.approx(wanted[key], abs=1e-10), (name, key)
        for key, value in state.items():
            torch.testing.assert_close(first[name]["state"][key], value, rtol=1e-9, atol=1e-10)
            assert torch.equal(first[name]["state"][key], second[name]["state"][key]), (name, key)
