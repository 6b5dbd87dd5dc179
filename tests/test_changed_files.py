"""A change below a user's folders runs again what read it, and nothing else."""

import json
import os
import re
import time

import pytest
import yaml
from forked_snakemake import snakemake
from mmedit_records import record

from unike_lib.benchmark.file_state import state_of_benchmark
from unike_lib.config.benchmark import BenchmarkConfig

TARGETS = ("results/table1.csv", "results/missing_images.csv")
JUDGED = ("results/stages/judge/table1.parquet",)
FILES = {"vqa": {"train": "train.json", "eval": "eval.json"}, "caption": None}
OLD = time.time() - 10**8


def planned(folder, targets=TARGETS):
    """Return the outputs of the jobs that a dry run plans, by rule."""
    status, text = snakemake(folder, "-n", "--configfile", folder / "mine.yaml", "--", *targets)
    assert status == 0, text
    jobs = {}
    for rule, output in re.findall(r"^rule (\w+):\n(?: +input: .*\n)? +output: (.+)$", text, re.MULTILINE):
        jobs.setdefault(rule, []).append(output)
    return jobs


def put(path, text="", old=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if old:
        os.utime(path, (OLD, OLD))  # older than every result, as files that are copied with their times


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of a user in which a table and the report of missing pictures are made, though empty."""
    folder = tmp_path_factory.mktemp("user")
    for name, first in (("train", 0), ("eval", 20)):
        records = [record(number, image=f"sub/a{number}.png") for number in range(first, first + 20)]
        put(folder / "files" / f"{name}.json", json.dumps(records), old=True)
        for each in records[1:]:  # the first one's picture is missing
            put(folder / "images" / each["image"], old=True)
            put(folder / "images" / each["image_rephrase"], old=True)
    for name in ("one", "two"):
        put(folder / name / "model.safetensors", "weights", old=True)
    for name in ("config.json", "model.safetensors"):
        put(folder / "judge" / name, "judge", old=True)
    tables = {f"table{number}": {"backbones": ["one", "two"], "tasks": ["vqa"]} for number in (1, 2, 4)}
    reader = {"methods": ["base", "unike"]}  # only a table with a method that reads a memory reads the control
    settings = {
        "benchmark": {"annotations": "files", "images": "images", "missing": "skip", "files": FILES},
        "backbones": {name: {"family": "llava", "folder": name} for name in ("one", "two")},
        "judge": {"folder": "judge"},
        "tables": {**tables, "table1": tables["table1"] | reader, "table3": None, "table5": None},
        "figures": {"backbones": ["one"], "tasks": ["vqa"], "sweeps": {"frontier": {"backbones": None}}},
    }
    put(folder / "mine.yaml", yaml.safe_dump(settings))
    for output in [
        name for names in planned(folder, TARGETS + JUDGED).values() for each in names for name in each.split(", ")
    ]:
        put(folder / output)
    status, text = snakemake(
        folder, "--touch", "--forceall", "--configfile", folder / "mine.yaml", "--", *TARGETS, *JUDGED
    )
    assert status == 0, text
    return folder


def test_what_nobody_names_runs_nothing_again(finished):
    for name in ("images/other.png", "images/sub/other.png", "images/.a0.png", "one/.cache/model", "files/other.json"):
        put(finished / name)
    assert planned(finished) == {}


@pytest.mark.parametrize("name", ["images/sub/a3.png", "images/sub/a20.png", "images/b25.png", "files/train.json"])
def test_another_picture_or_file_of_the_same_name_runs_again_what_saw_it(finished, name):
    path = finished / name
    was = path.read_text() if path.exists() else None
    put(path, (was or "") + " ", old=True)
    try:
        jobs = planned(finished)
    finally:
        path.unlink()
        if was is not None:
            put(path, was, old=True)
    assert {"missing_images", "benchmark", "visual", "table"} <= jobs.keys()


def test_other_weights_run_again_all_of_their_backbone_and_nothing_of_another(finished):
    path = finished / "two" / "model.safetensors"
    put(path, "other weights", old=True)
    jobs = planned(finished)
    put(path, "weights", old=True)
    assert {"visual", "base_answers", "records", "triplets", "states", "positive_control", "table"} <= jobs.keys()
    assert not {"missing_images", "benchmark"} & jobs.keys()
    outputs = [output for outputs in jobs.values() for output in outputs if "/stages/" in output]
    assert outputs and all(any(f"/two{end}" in output for end in "/_.") for output in outputs)


def test_another_judge_judges_again_and_edits_nothing(finished):
    assert planned(finished, JUDGED) == {}
    put(finished / "judge" / "model.safetensors", "another judge", old=True)
    jobs = planned(finished, JUDGED)
    put(finished / "judge" / "model.safetensors", "judge", old=True)
    assert jobs == {"judge_answers": list(JUDGED)}


def test_a_state_goes_by_every_file_that_records_name(tmp_path):
    records = [record(number) for number in range(3)]
    for name in ("train", "eval"):
        put(tmp_path / f"{name}.json", json.dumps(records[:2] if name == "train" else records[2:]))
    config = BenchmarkConfig(annotations=str(tmp_path), images=str(tmp_path / "images"), files=FILES)
    states = [state_of_benchmark(config)]
    for name in [each[key] for each in records for key in ("image", "image_rephrase")] + ["near.png"]:
        put(tmp_path / "images" / name)
        states.append(state_of_benchmark(config))
    assert len(set(states)) == 8 and state_of_benchmark(config) == states[-1]
    put(tmp_path / "images" / "other.png")
    assert state_of_benchmark(config) == states[-1]
