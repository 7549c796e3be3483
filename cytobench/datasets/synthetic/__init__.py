"""Synthetic stained cells: pictures of known truth whose colours say nothing about their class.

Two parts, drawn from one fixed seed: cell types told apart by morphology alone (`part="cell-type"`) and
breast fine-needle aspirates as bags with a known share of malignant cells (`part="breast-fna"`).
"""

from __future__ import annotations

from cytobench.datasets.synthetic.files import PARTS, VERSION, generate, is_complete, read
from cytobench.datasets.synthetic.sheet import classes_sheet

__all__ = ["PARTS", "VERSION", "classes_sheet", "generate", "is_complete", "read"]
