"""`cytobench cache`: look at stored features, check them, tidy them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import HomeOption, places

if TYPE_CHECKING:
    from cytobench.features.store import FeatureStore

app = typer.Typer(help="Look at stored features, check them, tidy them.", no_args_is_help=True)
