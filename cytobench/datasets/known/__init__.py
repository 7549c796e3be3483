"""What is known about the public data sets: one module an organ, declarations only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cytobench.datasets.info import DatasetInfo
from cytobench.datasets.known import blood, breast, cervix, effusion, marrow, oral, synthetic, white_cells

DATASETS: Mapping[str, DatasetInfo] = MappingProxyType(
    {
        info.name: info
        for info in sorted(
            (
                *blood.DATASETS,
                *breast.DATASETS,
                *cervix.DATASETS,
                *effusion.DATASETS,
                *marrow.DATASETS,
                *oral.DATASETS,
                *synthetic.DATASETS,
                *white_cells.DATASETS,
            ),
            key=lambda info: info.name,
        )
    }
)
"""Every data set with a reader of its own, by name."""
