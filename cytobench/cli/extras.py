"""What `cytobench run` adds with --stress and --shots: tables on the screen, files and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.cli.options import writing
from cytobench.errors import UsageError

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from cytobench.cli.console import ConsoleReporter
    from cytobench.evaluation.run import RunOutcome, RunRequest


def shots_of(text: str | None) -> tuple[int, ...]:
    """Return the numbers of `--shots`, "1,2,4"; raises UsageError."""
    if not text:
        return ()
    try:
        shots = tuple(int(part) for part in text.split(","))
    except ValueError:
        shots = ()
    if not shots or min(shots) < 1:
        raise UsageError(f"--shots '{text}' is not a list of numbers from 1 on; write --shots 1,2,4,8,16.")
    return shots


def run_extras(
    request: RunRequest,
    outcomes: Sequence[RunOutcome],
    reporter: ConsoleReporter,
    *,
    stress: bool,
    shots: Sequence[int],
    shot_seeds: int,
) -> None:
    """Compute, print, store and draw stress tables and few-shot curves of what has a result."""
    from cytobench.evaluation.extras import extras

    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    found = extras(request, results, reporter, stress=stress, shots=shots, shot_seeds=shot_seeds)
    for problem in found.problems:
        reporter.warn(problem)
    from cytobench.leaderboard.curves import dilution_figure, shots_figure, stress_figure

    folder = request.home / "extras"
    made: list[Path] = []
    for name, table, columns, draw in (
        ("stress", found.stress, _stress_columns, stress_figure),
        ("dilution", found.dilution, _dilution_columns, dilution_figure),
        ("shots", found.shots, _shots_columns, shots_figure),
    ):
        if not table.is_empty():
            _print(name, table, columns)
            with writing(folder):
                made += _write(name, table, folder, draw)
    if made:
        reporter.say("Written: " + ", ".join(str(path) for path in made))


def _write(
    name: str, table: pl.DataFrame, folder: Path, draw: Callable[[pl.DataFrame, Path], Path]
) -> list[Path]:
    """Write a table and its pictures for each task; what others left there of the same rows stays."""
    from cytobench.evaluation.ledger import folder_name

    made = []
    for task in table["task"].unique(maintain_order=True):
        place = folder / folder_name(task)
        place.mkdir(parents=True, exist_ok=True)
        mine = _with_earlier(table.filter(table["task"] == task), place / f"{name}.parquet")
        mine.write_parquet(place / f"{name}.parquet")
        made.append(place / f"{name}.parquet")
        if name == "stress":
            probes = mine["probe"].unique(maintain_order=True)
            made += [
                draw(mine.filter(mine["probe"] == one), place / f"{name}-{folder_name(one)}.png")
                for one in probes
            ]
        else:
            made.append(draw(mine, place / f"{name}.png"))
    return made


def _with_earlier(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    import polars as pl

    keys = ["backbone", "probe"]
    try:
        earlier = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return table
    if earlier.schema != table.schema:
        return table
    earlier = earlier.filter(pl.col("subset") == table["subset"][0])
    return pl.concat([earlier.join(table.select(keys).unique(), on=keys, how="anti"), table])


def _stress_columns(table: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return table.with_columns(
        pl.when(pl.col("kind") == "none")
        .then(pl.lit("clean"))
        .otherwise(pl.col("kind") + " " + pl.col("level").cast(pl.String))
        .alias("column"),
        _percent("value").alias("text"),
    )


def _dilution_columns(table: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return table.with_columns(
        (pl.col("fraction") * 100).cast(pl.String).str.strip_suffix(".0").alias("column") + " %",
        pl.concat_str(_percent("value"), pl.lit(" ("), pl.col("bags"), pl.lit(")")).alias("text"),
    )


def _shots_columns(table: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    means = table.group_by("task", "backbone", "probe", "shots", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("value").std().fill_null(0.0).alias("sd")
    )
    return means.with_columns(
        pl.col("shots").cast(pl.String).alias("column"),
        pl.concat_str(_percent("value"), pl.lit(" ± "), _percent("sd")).alias("text"),
    )


def _percent(column: str) -> pl.Expr:
    import polars as pl

    return (pl.col(column) * 100).round(1).cast(pl.String).replace("NaN", "-")


_TITLES = {
    "stress": "under stress: models fitted on clean cells, scores of the same cells changed",
    "dilution": "diluted bags: AUROC against the share of telling instances (positive bags so thinned)",
    "shots": "few labelled cells of each class: mean ± standard deviation over draws",
}


def _print(name: str, table: pl.DataFrame, columns: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    from cytobench.cli.console import output

    shown = columns(table)
    for task in shown["task"].unique(maintain_order=True):
        mine = shown.filter(shown["task"] == task)
        title = f"{task}  {_TITLES[name]}"
        # All changes side by side are wider than a screen: a table for each kind.
        kinds = mine["kind"].unique(maintain_order=True).to_list() if name == "stress" else []
        changed = [kind for kind in kinds if kind != "none"]
        parts = [mine.filter(mine["kind"].is_in(["none", kind])) for kind in changed] or [mine]
        for place, part in enumerate(parts):
            output().print(_screen(part, "" if place else title))


def _screen(table: pl.DataFrame, title: str) -> Table:
    """Return a table of the screen: a row a backbone and probe, a column for each value of `column`."""
    from rich import box
    from rich.table import Table

    heads = table["column"].unique(maintain_order=True).to_list()
    screen = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left")
    for head in ("backbone", "probe", *heads):
        named = head in ("backbone", "probe")
        screen.add_column(head, justify="left" if named else "right", no_wrap=named)
    for (backbone, probe), rows in table.group_by("backbone", "probe", maintain_order=True):
        by_head = dict(zip(rows["column"], rows["text"], strict=True))
        screen.add_row(str(backbone), str(probe), *(by_head.get(head) or "-" for head in heads))
    return screen
