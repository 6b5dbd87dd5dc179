"""The example of a benchmark in a form of its own: its dialect reads it, the workflow plans it, its code counts."""

import json
import re
from pathlib import Path

import pytest
import yaml
from forked_snakemake import snakemake

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.code_digest import entry_digest
from unike_lib.config.benchmark import BenchmarkConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_benchmark"
SETTINGS = EXAMPLE / "config.yaml"


@pytest.fixture
def folder(in_example):
    return in_example(EXAMPLE)


def test_every_record_comes_into_the_split_of_its_part(folder):
    prepare_user_benchmark(Path("out"), BenchmarkConfig(**yaml.safe_load(SETTINGS.read_text())["benchmark"]), seed=0)
    records = [json.loads(line) for line in Path("cards.jsonl").read_text().splitlines()]
    evaluated = read_cases("out/eval_vqa.json")
    assert [case.request.prompt for case in evaluated] == [r["question"] for r in records if r["use"] == "eval"]
    cases = [case for split in ("pool", "method", "dev") for case in read_cases(f"out/{split}_vqa.json")]
    asked = {(case.request.image, case.request.target): case for case in [*cases, *evaluated]}
    assert len(asked) == len(records) == 10
    for record in records:
        case = asked[record["picture"], record["answer"]]
        texts = [case.query(kind).prompt for kind in ("t_gen", "t_loc", "m_loc")]
        assert texts == [record[f"{key}"] for key in ("in other words", "text question", "near question")]
        pictures = [case.query(kind).image for kind in ("m_gen", "m_loc")]
        assert pictures == [record["other picture"], record["near picture"]]


def test_the_readmes_command_and_a_table_are_planned(folder):
    command = re.search(r"--directory (\S+) --configfile (\S+) -- (\S+)", (EXAMPLE / "README.md").read_text())
    assert command.groups()[:2] == ("examples/own_benchmark", "examples/own_benchmark/config.yaml")
    status, text = snakemake(folder, "-n", "--configfile", SETTINGS, "--", command[3], "results/table1.csv")
    assert status == 0, text
    assert {"benchmark", "records", "table"} <= set(re.findall(r"^rule (\w+):", text, re.MULTILINE))


def test_the_code_of_a_dialect_counts_and_its_comments_do_not(folder):
    dialect = folder / "dialect.py"
    text, first = dialect.read_text(), entry_digest(dialect)
    dialect.write_text(f"# explained\n{text}")
    assert entry_digest(dialect) == first
    dialect.write_text(text.replace("near picture", "far picture"))
    assert entry_digest(dialect) != first
