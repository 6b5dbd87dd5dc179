"""The benchmarks work, at tiny sizes; their times are not judged. Their arithmetic is checked against a counter."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench import edit_loop, flops, memory_search, scaling, scoring, states, subjects, timing
from unike_lib.backbones.no_cache import NoCache
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.editor import request_trunk
from unike_lib.editing.patch import Patch
from unike_lib.methods.shared.neuron_training import NeuronSource

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def subject():
    return subjects.random(layers=5, width=32, edits=3, states=40, words=20)


def test_ratios_are_taken_round_by_round():
    row = timing.compare(
        "x", {"slow": [4.0, 8.0, 9.0], "between": [0, 0, 0], "fast": [1.0, 4.0, 3.0]}, ">= 2x", units=2
    )
    assert (row.baseline, row.ours, row.baseline_seconds, row.seconds) == ("slow", "fast", 4.0, 1.5)
    assert (row.ratio, row.spread) == (3.0, (2.0, 4.0))
    assert timing.markdown([row]).splitlines()[-1] == "| x | slow | fast | 4 | 1.5 | 3.00x (2.00 to 4.00) | >= 2x |"


def test_editing_and_scoring_are_measured(subject):
    make = edit_loop.t_patcher(subject, steps=2)
    rows = edit_loop.measure(subject, make, "T-Patcher", sessions=2, rounds=1, aim=">= 8x")
    rows.append(edit_loop.measure_batches(subject, make, "T-Patcher", sessions=2, rounds=1, aim=""))
    rows += scoring.measure(subject, make, sessions=3, rounds=1, settings=EvaluationConfig(max_new_tokens=1))
    rows += scoring.measure_kept(subject, edit_loop.fine_tune(2), "FT", 3, 1, EvaluationConfig(max_new_tokens=1))
    assert [row.aim for row in rows] == ["", ">= 8x", "", "", "", ""] and all(row.ratio > 0 for row in rows)
    assert type(subject.backbone.cache) is NoCache


def test_ways_that_do_not_do_the_same_are_not_compared(subject):
    def lazier(backbone):
        return edit_loop.t_patcher(subject, steps=1 if backbone is subject.naive else 5)(backbone)

    with pytest.raises(RuntimeError, match="losses differ"):
        edit_loop.measure(subject, lazier, "T-Patcher", sessions=2, rounds=1, aim="")


def test_states_and_searches_are_measured(subject):
    rows = states.measure(subject, count=5, rounds=1) + memory_search.measure(entries=300, rounds=1, width=8)
    assert [row.ours for row in rows] == ["extract_states", "FAISS", "FAISS"]


def test_growth_is_measured_and_drawn(subject, tmp_path):
    measured = {
        "edits per session": scaling.over_k(subject, (1, 2), sessions=2),
        "sessions": scaling.over_sessions(subject, (1, 3), rounds=1),
        "triplets": scaling.over_triplets(subject, (2, 4), rounds=1),
        "search": scaling.over_memory((50, 100), 8, rounds=1),
    }
    scaling.draw(measured, tmp_path / "scaling.png")
    assert [list(seconds) for seconds in measured.values()] == [[1, 2], [1, 3], [2, 4], [50, 100]]
    assert len((tmp_path / "scaling.csv").read_text().splitlines()) == 9
    assert math.isclose(scaling.exponent({1: 9.0, 10: 2.0, 100: 20.0, 1000: 200.0}), 1.0)


def test_the_floor_of_a_step_is_what_a_counter_counts_less_what_a_step_can_do_without(subject):
    """One row, so no padding; PyTorch counts the products that run."""
    trainer = edit_loop.t_patcher(subject)(subject.backbone).trainer
    requests = [subject.cases[0].request]
    trunk, previous = request_trunk(subject.backbone, requests), Patch(1)
    source = NeuronSource(trainer.new_neurons(requests, trunk, previous))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        trainer.losses(trunk, previous, source()).sum().backward()
    tokens, width, read = int(trunk.batch.lengths[0]), 32, 2
    first = tokens * 24 * width**2 + 4 * tokens**2 * width  # forward of the first edited layer
    last = 2 * (tokens - read) * (4 + 16) * width**2  # last layer's queries and FFN where nothing is read, and back
    masked = 4 * (tokens**2 - tokens * (tokens + 1) / 2) * width * (3 + 2 * 3)  # pairs that the mask hides
    keys = tokens * 2 * width * trainer.settings.neurons
    again = 4 * keys + 4 * keys + 3 * keys - keys  # activations for the losses, and back; none below the first layer
    floor = flops.step_floor(subject, trunk, trainer.settings.neurons)
    assert floor + first + last + masked + again == counter.get_total_flops()


def test_the_clock_runs_in_a_job(tmp_path):
    """As Snakemake starts a job: a copy of its script in .snakemake/scripts."""
    script = tmp_path / ".snakemake" / "scripts" / "tmpabc.py"
    script.parent.mkdir(parents=True)
    script.write_text("import json, types\nsnakemake = types.SimpleNamespace(rule='x')\n")
    shutil.copy(ROOT / "bench" / "job_clock.py", tmp_path / "sitecustomize.py")
    places = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": places, "JOB_CLOCK": str(tmp_path)}
    subprocess.run([sys.executable, script], check=True, env=environment)
    (line,) = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    assert line["rule"] == "x" and 0 < line["imports"] <= line["all"]
