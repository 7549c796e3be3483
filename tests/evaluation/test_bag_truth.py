"""Where every cell's truth is known: attention must find the malignant ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cytobench.datasets.task import load_task
from cytobench.evaluation import ledger
from cytobench.evaluation.dilution import telling_instances
from cytobench.evaluation.metrics import auroc_binary
from cytobench.evaluation.run import RunRequest, benchmark
from cytobench.registry import Registry


@pytest.mark.slow
def test_attention_finds_malignant_cells_of_synthetic_aspirates(tmp_path: Path) -> None:
    registry = Registry.load()
    task = registry.task("synthetic-breast-fna")
    request = RunRequest(
        tasks=[task],
        backbones=[registry.backbone("morphology")],
        home=tmp_path,
        probes=["abmil", "mean-linear"],
        tuned=(False,),
        device="cpu",
    )
    by_probe = {one.probe: one.result for one in benchmark(request)}
    result, null = by_probe["abmil"], by_probe["mean-linear"]
    assert result is not None
    assert null is not None
    assert result.value > null.value + 0.1
    table = load_task(task, data_dirs=[], home=tmp_path).table
    truth = telling_instances(table, task.classes or ())
    assert truth is not None
    folder = ledger.run_folder(tmp_path, task.name, "morphology", "abmil", result.run_id)
    attention = pl.read_parquet(folder / "attention.parquet")
    both = attention.join(
        table.select("sample", "label", pl.Series("telling", truth)), on="sample", how="inner", validate="1:1"
    )
    assert len(both) == len(table)
    areas = [
        auroc_binary(bag["telling"].to_numpy(), bag["weight"].to_numpy().astype(np.float64))
        for _, bag in both.filter(pl.col("label") == "malignant").group_by("bag")
    ]
    assert np.nanmean(areas) >= 0.9
