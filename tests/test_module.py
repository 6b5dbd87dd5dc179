"""This workflow as a module of another one: planned as by itself, settings laid over the same files, and really run."""

import json
import re

import pytest
from forked_snakemake import ROOT, snakemake

from unike_lib.io import read_json

MODULE = """
configfile: "mine.yaml"


module unike:
    snakefile:
        "{root}/Snakefile"
    config:
        config["unike"]
    {more}


use rule * from unike as unike_*


rule ours:
    input:
        {target!r},
    output:
        "ours.txt",
    shell:
        "cp {{input}} {{output}}"
"""
SETTINGS = {"preset": "smoke", "seed": 7}


def imported(folder, target, *arguments, settings=SETTINGS, more=""):
    """Run a workflow that imports this one and asks for the rule `ours`, which needs `target`."""
    folder.mkdir(exist_ok=True)
    (folder / "Snakefile").write_text(MODULE.format(root=ROOT, target=target, more=more))
    # The second setting is not ours.
    (folder / "mine.yaml").write_text(json.dumps({"unike": settings, "samples": 3}))
    return snakemake(folder, "--snakefile", folder / "Snakefile", *arguments, "ours")


def jobs(text):
    """Read the table of jobs: rule -> number of jobs."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def test_the_module_plans_the_jobs_that_the_workflow_plans_by_itself(tmp_path):
    status, alone = snakemake(tmp_path, "--config", "preset=smoke", "--dry-run", "--", "results/diagnostics.csv")
    assert status == 0, alone
    status, text = imported(tmp_path / "other", "results/diagnostics.csv", "--dry-run")
    assert status == 0, text
    assert jobs(text) == {f"unike_{rule}": count for rule, count in jobs(alone).items()} | {"ours": 1}


@pytest.mark.parametrize(
    ("settings", "more", "expected"),
    [
        ({"preset": "smoke", "seed": "x"}, "", "config of the module + presets/smoke.yaml + config.yaml: seed: "),
        ({"preset": "none"}, "", "preset: unknown preset 'none'; known: ablations, "),
        (SETTINGS, "prefix: 'sub'", "module: expected neither prefix nor replace_prefix"),
    ],
)
def test_what_the_importing_workflow_gets_wrong_is_one_line(tmp_path, settings, more, expected):
    status, text = imported(tmp_path, "results/diagnostics.csv", "--dry-run", settings=settings, more=more)
    assert status == 1 and expected in text, text


def test_a_real_run_writes_below_the_importing_workflow(tmp_path):
    status, text = imported(tmp_path, "results/stages/benchmark/eval_vqa.json")
    assert status == 0, text
    cases = read_json(tmp_path / "ours.txt")
    assert cases["split"] == "eval" and cases["task"] == "vqa"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [
        *("Snakefile", "logs", "mine.yaml", "ours.txt", "results")
    ]
