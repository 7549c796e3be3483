"""`cytobench embed` and `cytobench errors` as a user meets them: outputs, defaults, refusals in words."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from cytobench.evaluation.ledger import load_run, stored_runs
from tests.cli.shell import HOSTILE, TOY_CARD, Command
from tests.evaluation.toy_benchmark import write_cells


@pytest.fixture
def cytobench(cytobench: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run a command in a folder of its own, with the toy tasks known."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: cytobench(*arguments, "--plugin", "my")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A plugin folder with toy cells as cells, as bags, as cells that may not be shown, and of one class."""
    root = tmp_path / "my"
    write_cells(root, classes=("blast", "lymphocyte", HOSTILE))
    table = pl.read_csv(root / "cells.csv").with_columns(pl.lit("same").alias("constant"))
    table.write_csv(root / "cells.csv")
    (root / "tasks").mkdir()
    bags = 'unit = "bag"\nbag = "patient"\nprobes = ["mean-linear", "abmil"]'
    for name, label, more in (
        ("toy", "cell_type", ""),
        ("secret", "cell_type", "show_images = false"),
        ("toy-bags", "diagnosis", bags),
        ("lone", "constant", ""),
    ):
        (root / "tasks" / f"{name}.toml").write_text(
            TOY_CARD.format(name=name, label=label, folds=3, more=more)
        )
    return root


@pytest.fixture
def ran(cytobench: Command, toy: Path) -> Command:
    """The command line after a run of two backbones on the toy cells."""
    assert (
        cytobench("run", "-t", "toy", "-b", "colour-statistics", "-b", "morphology", "-p", "linear").code == 0
    )
    return cytobench


BOTH = ("-b", "colour-statistics", "-b", "morphology")


def test_a_map_is_written_named_and_measured(cytobench: Command, toy: Path) -> None:
    shown = cytobench("embed", "toy", *BOTH)
    assert shown.code == 0, shown.err
    assert "Written: embed-toy-pca.png" in shown.err
    assert Image.open("embed-toy-pca.png").size[0] > 1000
    assert "silhouette by patient" in shown.out
    assert "Looks are not evidence" in shown.out


def test_all_outputs_hold_the_same_map(cytobench: Command, toy: Path) -> None:
    files = ("--png", "a/m.png", "--svg", "a/m.svg", "--html", "a/m.html", "--parquet", "a/m.parquet")
    shown = cytobench("embed", "toy", *BOTH, "--json", "--limit", "30", *files)
    assert shown.code == 0, shown.err
    records = json.loads(shown.out)
    assert [one["backbone"] for one in records] == ["colour-statistics", "morphology"]
    assert {(one["points"], one["of"]) for one in records} == {(30, 48)}
    table = pl.read_parquet("a/m.parquet")
    assert table.columns == ["backbone", "sample", "label", "group", "confounder", "x", "y"]
    assert len(table) == 60
    assert table.select("x", "y").to_numpy().size
    page = Path("a/m.html").read_text(encoding="utf-8")
    assert "Looks are not evidence" in page
    assert "data:image/webp" in page
    assert not Path("embed-toy-pca.png").exists()


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_other_methods_say_their_seed(cytobench: Command, toy: Path, method: str) -> None:
    if method == "umap":
        pytest.importorskip("umap")
    shown = cytobench("embed", "toy", "-b", "colour-statistics", "--method", method, "--seed", 7)
    assert shown.code == 0, shown.err
    assert "seed 7" in shown.out
    assert Path(f"embed-toy-{method}.png").is_file()


def test_bags_are_points_and_instances_when_asked(cytobench: Command, toy: Path) -> None:
    bags = cytobench("embed", "toy-bags", "-b", "colour-statistics", "--json")
    assert bags.code == 0, bags.err
    assert json.loads(bags.out)[0]["unit"] == "bag"
    instances = cytobench("embed", "toy-bags", "-b", "colour-statistics", "--json", "--instances")
    assert json.loads(instances.out)[0]["points"] == 48


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("embed", "toi", "-b", "morphology"), "did you mean 'toy'"),
        (("embed", "toy", "-b", "morphologie"), "did you mean 'morphology'"),
        (("embed", "toy", "-b", "majority"), "sees no image"),
        (("embed", "toy", "-b", "morphology", "--colour", "stain"), "there are label, group"),
        (("embed", "toy", "-b", "morphology", "--instances"), "are cells already"),
        (("embed", "toy", "-b", "morphology", "--png", "a.jpg"), "should end in .png"),
        (("errors", "toi", "-b", "morphology"), "did you mean 'toy'"),
        (("errors", "toy", "-b", "morphologie"), "did you mean 'morphology'"),
        (("errors", "toy", "-b", "morphology"), "cytobench run -b morphology -t toy -p linear"),
        (("errors", "toy", "-b", "morphology", "-p", "abmil"), "scores bags"),
        (("errors", "secret", "-b", "morphology", "--png", "a.png"), "does not let its pictures be shown"),
    ],
)
def test_what_was_asked_wrongly_is_answered_in_a_sentence(
    cytobench: Command, toy: Path, arguments: tuple[str, ...], words: str
) -> None:
    shown = cytobench(*arguments)
    assert shown.code == 2
    assert words in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert not list(Path().glob("*.png"))


def test_a_set_of_one_class_is_refused_in_a_sentence(cytobench: Command, toy: Path) -> None:
    shown = cytobench("embed", "lone", "-b", "morphology")
    assert shown.code == 1
    assert "class" in shown.err
    assert "Traceback" not in shown.err


def test_more_neighbours_than_cells_give_numbers(cytobench: Command, toy: Path) -> None:
    shown = cytobench("embed", "toy", "-b", "colour-statistics", "--neighbours", 5000, "--json")
    assert shown.code == 0, shown.err
    assert 0 <= json.loads(shown.out)[0]["mixing"]["same"] <= 1


def test_mistakes_are_those_of_the_stored_predictions(ran: Command, home: Path) -> None:
    shown = ran("errors", "toy", *BOTH, "--json", "-n", 100, "--csv", "wrong.csv")
    assert shown.code == 0, shown.err
    record = json.loads(shown.out)
    runs = {one.result.backbone: one for one in map(load_run, stored_runs(home)) if one.result.tuned}
    for name, run in runs.items():
        wrong = run.predictions.filter(pl.col("label") != pl.col("predicted"))
        shown_wrong = [
            example["sample"]
            for gallery in record["galleries"]
            if gallery["backbone"] == name
            for example in gallery["examples"]
        ]
        assert record["wrong"][name] == len(wrong)
        assert sorted(shown_wrong) == sorted(wrong["sample"])
        assert record["runs"][name] == run.result.run_id
        assert sum(pair[name] for pair in record["confusions"]) == len(wrong)
    table = pl.read_csv("wrong.csv")
    either = {
        sample
        for run in runs.values()
        for sample in run.predictions.filter(pl.col("label") != pl.col("predicted"))["sample"]
    }
    assert set(table["sample"]) == either
    assert all(name.startswith("p") and name.endswith(".png") for name in table["file"])


def test_a_montage_is_written_and_named(ran: Command) -> None:
    shown = ran("errors", "toy", *BOTH)
    assert shown.code == 0, shown.err
    assert "Written: errors-toy.png" in shown.err
    assert Image.open("errors-toy.png").size[1] > 500
    assert "What is taken for what" in shown.out
    assert "second look by a person" in shown.out


def test_labels_are_text_in_page_and_terminal(ran: Command) -> None:
    shown = ran("errors", "toy", *BOTH, "--html", "e.html")
    assert shown.code == 0, shown.err
    page = Path("e.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror" in page
    assert str(Path.cwd()) not in page
    assert HOSTILE in shown.out
    mapped = ran("embed", "toy", "-b", "colour-statistics", "--html", "m.html", "--svg", "m.svg")
    assert mapped.code == 0, mapped.err
    assert "<img src=x" not in Path("m.html").read_text(encoding="utf-8")
    assert "<img src=x" not in Path("m.svg").read_text(encoding="utf-8")


def test_a_probe_that_has_not_run_is_named_beside_those_that_have(ran: Command) -> None:
    shown = ran("errors", "toy", "-b", "morphology", "-p", "knn")
    assert shown.code == 2
    assert "stored: linear tuned, linear untuned" in shown.err
    assert ran("errors", "toy", "-b", "morphology", "--untuned", "--json").code == 0


def test_a_set_that_may_not_be_shown_still_has_its_tables(cytobench: Command, toy: Path) -> None:
    assert cytobench("run", "-t", "secret", "-b", "morphology", "-p", "linear").code == 0
    shown = cytobench("errors", "secret", "-b", "morphology")
    assert shown.code == 0
    assert "What is taken for what" in shown.out
    assert "No picture is written: The licence of secret" in shown.err
    assert not list(Path().glob("*.png"))
    assert cytobench("errors", "secret", "-b", "morphology", "--csv", "a.csv").code == 0
    assert Path("a.csv").is_file()


def test_changed_data_are_never_shown_as_those_that_were_judged(ran: Command, toy: Path) -> None:
    table = pl.read_csv(toy / "cells.csv")
    Image.new("RGB", (24, 24)).save(toy / table["image"][0])
    shown = ran("errors", "toy", "-b", "morphology")
    assert shown.code == 1
    assert "are not those of the stored run" in shown.err
    tables = ran("errors", "toy", "-b", "morphology", "--json")
    assert tables.code == 0
    assert "Without file names" in tables.err
    assert json.loads(tables.out)["galleries"][0]["examples"][0]["file"] is None


def test_bags_are_shown_by_the_instances_attended_to(cytobench: Command, toy: Path) -> None:
    arguments = ("-t", "toy-bags", "-b", "colour-statistics", "-p", "abmil", "--trials", 1)
    assert cytobench("run", *arguments).code == 0
    shown = cytobench("errors", "toy-bags", "-b", "colour-statistics", "--html", "b.html", "--png", "b.png")
    assert shown.code == 0, shown.err
    assert "of 8 bags wrong" in shown.out
    page = Path("b.html").read_text(encoding="utf-8")
    assert "x even share" in page
    assert "those of most attention" in page


def test_bags_without_attention_show_some_instances(cytobench: Command, toy: Path) -> None:
    assert cytobench("run", "-t", "toy-bags", "-b", "colour-statistics", "-p", "mean-linear").code == 0
    shown = cytobench(
        "errors", "toy-bags", "-b", "colour-statistics", "-p", "mean-linear", "--html", "b.html"
    )
    assert shown.code == 0, shown.err
    page = Path("b.html").read_text(encoding="utf-8")
    assert "some, spread over the bag" in page
    assert "x even share" not in page
