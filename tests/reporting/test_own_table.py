"""The example of a table in a user's file: planned, and written from made-up records."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from forked_snakemake import snakemake
from made_up_records import make_records

from unike_lib.config.run import load_config
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import table_parts
from unike_lib.types import InputError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_table"


def configuration():
    """Return the example's configuration; its backbone is one that the positive control here knows."""
    values = yaml.safe_load((EXAMPLE / "config.yaml").read_text())
    for table in values["tables"].values():
        if table and "backbones" in table:
            table["backbones"] = ["right"]
    values["tables"]["table1"] = {"backbones": ["right"], "tasks": ["vqa"], "methods": ["fine-tune", "unike"]}
    return load_config(values | {"backbones": {"right": {"family": "minigpt4"}}})


@pytest.fixture(scope="module")
def config():
    return configuration()


def records(folder, methods, k, edits=24):
    """Write records of each method."""
    paths = [folder / f"k{k}-{method}.parquet" for method in methods]
    for path, method in zip(paths, methods, strict=True):
        make_records(("right", "vqa", method), edits=edits, k=k).to_parquet(path)
    return paths


@pytest.fixture(scope="module")
def written(config, control, tmp_path_factory):
    """The files of both tables, by table and kind."""
    folder = tmp_path_factory.mktemp("own_table")
    of_table = {"table1": records(folder, ("fine-tune", "unike"), 1)}
    of_table["three-edits"] = records(folder, ("fine-tune", "unike"), 3)
    files = {}
    for name in ("three-edits", "both"):
        run = table_parts(config, name)
        files[name] = {key: folder / f"{name}_{key}" for key in ("token", "differences", "markdown")}
        write_result_table({each: of_table[each] for each in run.tables}, control, files[name], run)
    return files


def test_the_readmes_command_is_planned(tmp_path):
    command = re.search(
        r"--directory (\S+) --configfile (\S+) (\S+) -- (\S+) (\S+)", (EXAMPLE / "README.md").read_text()
    )
    assert command[1] == "examples/own_table" and command[3] == "examples/own_table/config.yaml"
    overlays = ("--configfile", ROOT / command[2], ROOT / command[3])
    status, text = snakemake(tmp_path, "-n", *overlays, "--", command[4], command[5])
    assert status == 0, text
    (cells,) = re.findall(r"input: (.+)\n +output: results/three-edits.csv,", text)
    read = {file.split("/records/")[1] for file in cells.split(", ") if "/records/" in file}
    assert read == {f"minigpt4-nano/eval_vqa/k3/{method}.parquet" for method in ("fine-tune", "unike")}
    (averaged,) = re.findall(r"input: (.+)\n +output: results/both.csv,", text)
    assert read < {file.split("/records/")[1] for file in averaged.split(", ") if "/records/" in file}


def test_its_cells_are_means_and_nothing_of_the_paper_stands_beside(written):
    table = pd.read_csv(written["three-edits"]["token"])
    assert not [name for name in table if name.startswith("paper")]
    assert table[["backbone", "task", "k", "method"]].to_numpy().tolist() == [
        ["right", "vqa", 3, "fine-tune"],
        ["right", "vqa", 3, "unike"],
    ]
    for row in table.to_dict("records"):
        rel = make_records(("right", "vqa", row["method"]), edits=24, k=3).query("kind == 'rel'")
        assert row["rel"] == pytest.approx(100 * rel["token"].mean(), abs=1e-4)
    text = written["three-edits"]["markdown"].read_text()
    assert text.startswith("# Three edits, one after another\n") and "### right, K = 3, did not pass" in text
    assert "paper:" not in text and "italics" not in text and "| FT |" in text
    differences = pd.read_csv(written["three-edits"]["differences"])
    assert differences[["criterion", "second"]].to_numpy().tolist() == [["token", "fine-tune"], ["mmedit", "fine-tune"]]


def test_averages_of_any_tables_say_which(written):
    table = pd.read_csv(written["both"]["token"]).set_index(["setting", "method"])
    assert list(table.index) == [(s, m) for s in ("alone", "in a row") for m in ("fine-tune", "unike")]
    assert not [name for name in table if name.startswith("paper")]
    text = written["both"]["markdown"].read_text()
    assert "- in a row (Three edits, one after another): right; vqa".lower() in text.lower()
    assert "| in a row, FT | 1 | 24 |" in text and "paper" not in text.split("## Criterion")[0]


def test_an_edit_that_the_longest_sessions_lack_is_named(config, control, tmp_path):
    table = config.tables["three-edits"].model_copy(update={"ks": (3, 4)})
    config = config.model_copy(update={"tables": config.tables | {"three-edits": table}})
    more, methods = tmp_path / "more", ("fine-tune", "unike")
    more.mkdir()
    found = {"table1": records(tmp_path, methods, 1)}
    found["three-edits"] = records(more, methods, 3) + records(tmp_path, methods, 4, edits=20)
    with pytest.raises(
        InputError, match=r"k3-fine-tune\.parquet: case vqa-20, task vqa: edited with K = 3 and not with"
    ):
        write_result_table(found, control, {"token": tmp_path / "x"}, table_parts(config, "both"))
