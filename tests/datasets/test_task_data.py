"""From a task card and a folder of data to the rows that are evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cytobench.card_files import parse_card, read_card
from cytobench.cards import TaskCard
from cytobench.datasets import DATASETS, import_function
from cytobench.datasets.task import TaskData, available_tasks, load_task
from cytobench.errors import CardError, DataError

Draw = Callable[..., Path]
WINDOW = {"kind": "window", "size": 8}


@pytest.fixture
def cells(tmp_path: Path, draw: Draw) -> Path:
    """Twelve cells of six patients in three class folders, beside where cards are written."""
    for index in range(12):
        label = ("a", "b", "c")[index % 3]
        draw(tmp_path / "plugin" / "cells" / label / f"p{index // 2}_{index}.png")
    (tmp_path / "plugin" / "tasks").mkdir()
    return tmp_path / "plugin"


def card(home: Path, **changes: Any) -> TaskCard:
    """A card as if read from tasks/ of a plugin folder `home`; a key set to None is left out."""
    raw = {
        "name": "mine",
        "title": "My cells",
        "dataset": {"format": "folder", "path": "../cells"},
        "options": {"group_pattern": r"p(\d+)_"},
        "group": "group",
        "view": WINDOW,
    } | changes
    return parse_card(
        TaskCard, {k: v for k, v in raw.items() if v is not None}, source=home / "tasks" / "mine.toml"
    )


def load(home: Path, **changes: Any) -> TaskData:
    return load_task(card(home, **changes), data_dirs=[], home=home / "home")


def test_a_folder_of_cells_and_a_card_of_ten_lines_are_a_task(cells: Path) -> None:
    path = cells / "tasks" / "mine.toml"
    path.write_text(
        "\n".join(
            (
                'name = "mine"',
                'title = "My cells"',
                'dataset = { format = "folder", path = "../cells" }',
                r"options = { group_pattern = 'p(\d+)_' }",
                'group = "group"',
                "split = { folds = 3 }",
                'view = { kind = "window", size = 8 }',
            )
        )
    )

    data = load_task(read_card(TaskCard, path), data_dirs=[], home=cells)

    assert data.classes == ("a", "b", "c")
    assert data.table.columns[:5] == ["sample", "image", "box", "label", "group"]
    assert data.table["sample"].to_list() == sorted(data.table["sample"])
    assert data.table["group"].n_unique() == 6
    assert data.sealed.is_empty()
    assert "class 'a' has only 4 cells in 4 groups" in data.warnings[0]


def test_a_table_of_cells_is_a_task_with_its_own_column_names(cells: Path) -> None:
    images = sorted((cells / "cells").glob("*/*.png"))
    lines = [f"{image.relative_to(cells)};{image.parent.name};{image.name[:2]}" for image in images]
    (cells / "cells.csv").write_text("\n".join(("file;type;who", *lines)))
    data = load(
        cells,
        dataset={"format": "table", "path": "../cells.csv", "columns": {"image": "file"}},
        options={},
        label="type",
        group="who",
    )
    assert dict(data.table["label"].value_counts().rows()) == {"a": 4, "b": 4, "c": 4}
    assert data.table["group"].n_unique() == 6


def test_classes_choose_and_order_and_exclude_drops(cells: Path) -> None:
    chosen = load(cells, classes=["c", "a"])
    assert chosen.classes == ("c", "a")
    assert set(chosen.table["label"]) == {"a", "c"}
    rest = load(cells, exclude=["b"])
    assert rest.classes == ("a", "c")
    assert rest.table.equals(chosen.table)
    with pytest.raises(
        CardError, match=r"no row is labelled x or z; correct classes or exclude \(labels: a, b, c\)"
    ):
        load(cells, classes=["a", "z"], exclude=["x"])


def test_ungrouped_cells_are_their_own_groups_and_the_user_is_told(cells: Path) -> None:
    data = load(cells, group="none", accept_ungrouped=True, options={})
    assert data.table["group"].equals(data.table["sample"].alias("group"))
    assert any("cells, not patients" in text for text in data.warnings)


def test_unknown_columns_and_options_name_the_card_and_the_choices(cells: Path) -> None:
    with pytest.raises(CardError, match=r"mine\.toml: group = \"gruop\" .*did you mean 'group'\?"):
        load(cells, group="gruop")
    with pytest.raises(CardError, match=r"label = \"grade\" names no column"):
        load(cells, label="grade")
    with pytest.raises(CardError, match="no option groups; its options: group_pattern"):
        load(cells, options={"groups": "x"})
    with pytest.raises(CardError, match=r'columns belong to .*"table"'):
        load(cells, dataset={"format": "folder", "path": "../cells", "columns": {"image": "x"}})


def test_sealed_groups_leave_evaluation_and_are_handed_out_apart(cells: Path) -> None:
    whole = load(cells)
    sealed = load(cells, pretrain="sealed", sealed={"column": "group", "values": ["0", "3"]})
    assert set(sealed.sealed["group"]) == {"0", "3"}
    assert pl.concat([sealed.table, sealed.sealed]).sort("sample").equals(whole.table)
    with pytest.raises(DataError, match="all rows of a are sealed"):
        load(
            cells,
            pretrain="sealed",
            sealed={"column": "subfolder", "values": ["x"]},
            **_only_a_below_x(cells),
        )


def _only_a_below_x(cells: Path) -> dict[str, Any]:
    (cells / "cells" / "a" / "x").mkdir()
    for image in sorted((cells / "cells" / "a").glob("*.png")):
        image.rename(cells / "cells" / "a" / "x" / image.name)
    return {"group": "none", "accept_ungrouped": True, "options": {}}


def test_rows_that_lack_what_the_card_asks_for_are_named(cells: Path) -> None:
    (cells / "t.csv").write_text(
        "image,label,who,split\ncells/a/p0_0.png,a,p0,train\ncells/b/p0_1.png,,,test\n"
    )
    source = {"format": "table", "path": "../t.csv"}
    with pytest.raises(DataError, match=r"1 row has no who to group by: cells/b/p0_1\.png"):
        load(cells, dataset=source, options={}, group="who")
    with pytest.raises(DataError, match=r"1 row has no label: cells/b/p0_1\.png"):
        load(cells, dataset=source, options={}, group="image")
    with pytest.raises(DataError, match=r'"um", but 2 rows have no micrometres'):
        load(cells, dataset=source, options={}, group="image", view=WINDOW | {"unit": "um"})


def test_images_that_are_not_there_are_all_named(cells: Path) -> None:
    lines = [f"cells/a/lost{n}.png,{'ab'[n % 2]},{n}" for n in range(3)]
    (cells / "t.csv").write_text("\n".join(("image,label,who", *lines)))
    with pytest.raises(
        DataError, match=r"3 image files do not exist: .*lost0\.png, .*lost1\.png, .*lost2\.png"
    ):
        load(cells, dataset={"format": "table", "path": "../t.csv"}, options={}, group="who")


def test_the_split_column_is_kept_and_checked_only_for_an_official_split(cells: Path) -> None:
    images = sorted((cells / "cells").glob("*/*.png"))
    lines = [
        f"{image.relative_to(cells)},{image.parent.name},{image.name[:2]},{('train', 'test')[index % 2]}"
        for index, image in enumerate(images)
    ]
    (cells / "t.csv").write_text("\n".join(("image,label,who,split", *lines)))
    source = {"dataset": {"format": "table", "path": "../t.csv"}, "options": {}, "group": "who"}
    assert "split" not in load(cells, **source).table.columns
    with pytest.raises(DataError, match="groups lie in more than one split"):
        load(cells, **source, split={"kind": "official"})


def test_fields_become_tiles_that_share_the_fields_group(cells: Path) -> None:
    data = load(cells, view={"kind": "tile", "size": 5})  # fields of 12x10 px
    assert len(data.table) == 12 * 4
    field = data.table.filter(pl.col("sample").str.starts_with("a/p0_0.png@"))
    assert field["sample"].to_list() == [f"a/p0_0.png@{x},{y},5" for x, y in ((0, 0), (0, 5), (5, 0), (5, 5))]
    assert field["box"].to_list() == [[0, 0, 5, 5], [0, 5, 5, 5], [5, 0, 5, 5], [5, 5, 5, 5]]
    assert field["group"].n_unique() == 1
    alone = load(cells, view={"kind": "tile", "size": 5}, group="none", accept_ungrouped=True)
    assert alone.table["group"].n_unique() == 12


def test_tiles_without_tissue_are_left_out_but_no_field_vanishes(cells: Path) -> None:
    white = np.full((10, 10, 3), 250, dtype=np.uint8)
    Image.fromarray(white).save(cells / "cells" / "a" / "p0_0.png")
    half = white.copy()
    half[:, 5:] = (200, 90, 160)
    Image.fromarray(half).save(cells / "cells" / "b" / "p0_1.png")
    data = load(cells, view={"kind": "tile", "size": 5, "min_tissue": 0.5})
    per_field = data.table.group_by(pl.col("sample").str.split("@").list.first()).len()
    counts = dict(per_field.rows())
    assert (counts["a/p0_0.png"], counts["b/p0_1.png"]) == (1, 2)
    assert any(text == "left out: 5 tiles with less than 50% tissue" for text in data.warnings)


def test_bags_keep_their_group_when_cut_and_torn_bags_are_refused(cells: Path) -> None:
    both = {"unit": "bag", "classes": ["a", "b"], "probes": ["mean-linear"]}
    patients = [
        (f"cells/{'abc'[n % 3]}/p{n // 2}_{n}.png", "ab"[n // 6], f"s{n // 6}", f"g{n // 6}")
        for n in range(12)
    ]
    (cells / "t.csv").write_text("\n".join(("image,label,slide,who", *(",".join(row) for row in patients))))
    source = {
        "dataset": {"format": "table", "path": "../t.csv"},
        "options": {},
        "bag": "slide",
        "group": "who",
    }
    data = load(cells, **both, **source, sub_bags={"size": 2})
    assert data.table["bag"].n_unique() == 6
    assert data.table.select("bag", "group", "label").unique().height == 6
    assert set(data.table["bag"].str.split("/").list.first()) == {"s0", "s1"}
    with pytest.raises(DataError, match="2 bags have more than one group"):
        load(cells, **both, **(source | {"group": "image"}))
    ungrouped = load(cells, **both, **(source | {"group": "none", "accept_ungrouped": True}))
    assert ungrouped.table["group"].equals(ungrouped.table["bag"].alias("group"))


def test_missing_data_say_what_was_looked_for_where_and_where_to_get_it(tmp_path: Path) -> None:
    wanted = parse_card(
        TaskCard,
        {"name": "t", "title": "T", "dataset": "herlev", "group": "group", "view": WINDOW},
        source=None,
    )
    with pytest.raises(DataError) as caught:
        load_task(wanted, data_dirs=[tmp_path / "one", tmp_path / "two"], home=tmp_path)
    message = str(caught.value)
    for part in (
        "herlev or smear2005",
        str(tmp_path / "one"),
        str(tmp_path / "two"),
        DATASETS["herlev"].url,
        "--data",
    ):
        assert part in message
    with pytest.raises(DataError, match="no data folder was given"):
        load_task(wanted, data_dirs=[], home=tmp_path)


def test_an_unknown_data_set_suggests_the_nearest(cells: Path) -> None:
    with pytest.raises(CardError, match="no data set named 'herlve'; did you mean 'herlev'"):
        load(cells, dataset="herlve")


def test_a_plugin_may_bring_its_own_reader(cells: Path, tmp_path: Path) -> None:
    (cells / "their_reader.py").write_text(
        "from cytobench.datasets import folder\n"
        "def read(root, part='cells'):\n"
        "    return folder.read(root / part)\n"
    )
    foreign = card(
        cells, dataset="their_reader:read", options={}, group="none", accept_ungrouped=True, name="plugin"
    )
    data = load_task(foreign, data_dirs=[tmp_path], home=tmp_path)
    assert len(data.table) == 12
    assert available_tasks({"plugin": foreign}, [tmp_path]) == (foreign,)
    with pytest.raises(CardError, match="'their_reader:nothing' cannot be imported"):
        load(cells, dataset="their_reader:nothing", options={})


@pytest.mark.parametrize("path", ["../../elsewhere", "../cells/../../elsewhere"])
def test_a_card_that_points_outside_its_folder_must_say_so(cells: Path, draw: Draw, path: str) -> None:
    draw(cells.parent / "elsewhere" / "a" / "p1_1.png")
    draw(cells.parent / "elsewhere" / "b" / "p2_1.png")
    with pytest.raises(CardError, match=r"mine\.toml: dataset path .* leaves .*outside = true"):
        load(cells, dataset={"format": "folder", "path": path})
    outside = load(cells, dataset={"format": "folder", "path": path, "outside": True})
    in_full = load(cells, dataset={"format": "folder", "path": str(cells.parent / "elsewhere")})
    assert outside.table.drop("image").equals(in_full.table.drop("image"))


def test_tasks_at_hand_are_those_with_data(cells: Path, tmp_path: Path) -> None:
    (tmp_path / "smear2005").mkdir()
    tasks = {
        "mine": card(cells),
        "gone": card(cells, name="gone", dataset={"format": "folder", "path": "../none"}),
        "herlev": card(cells, name="herlev", dataset="herlev"),
        "pbc": card(cells, name="pbc", dataset="pbc"),
        "made": card(cells, name="made", dataset="synthetic"),
    }
    names = [one.name for one in available_tasks(tasks, [tmp_path])]
    assert names == ["mine", "herlev", "made"]


def test_every_known_data_set_has_a_reader_and_says_whose_it_is() -> None:
    for name, info in DATASETS.items():
        assert callable(import_function(info.reader)), name
        assert info.licence
        assert info.citation
        assert info.generated or re.match("https://", info.url)
