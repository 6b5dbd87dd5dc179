"""GPUs are shared out among processes: never one to two, freed however a process ends, left alone under SLURM."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unike_lib.gpu_slot import hold_gpu, usable_gpus
from unike_lib.types import InputError

ROOT = Path(__file__).parents[1]
VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_JOB_ID")
# Takes a GPU, says which, and keeps it until it is told to end.
HOLDER = """
import os, sys
from pathlib import Path
from unike_lib.gpu_slot import hold_gpu
print(hold_gpu(Path(sys.argv[1])), os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)


@pytest.fixture
def start(tmp_path):
    """Start processes that each hold a GPU; end them afterwards."""
    started = []

    def one(gpus):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, tmp_path / "slots"],
            env=os.environ | {"CUDA_VISIBLE_DEVICES": gpus, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate()


def gpu_of(process):
    held, visible = process.stdout.readline().split()
    assert held == visible
    return held


def test_processes_at_the_same_time_get_different_gpus(start):
    processes = [start("4,GPU-8f6e,6") for _ in range(3)]
    assert {gpu_of(process) for process in processes} == {"4", "GPU-8f6e", "6"}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_who_finds_all_taken_waits_for_the_next_to_end(start, end):
    first, second = start("0,1"), start("0,1")
    held = {gpu_of(first): first, gpu_of(second): second}
    third = start("0,1")
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(1.5)
    held["1"].send_signal(end)
    assert gpu_of(third) == "1"
    assert held["0"].poll() is None


def test_the_gpu_of_a_process_is_held_after_the_call(tmp_path, monkeypatch, start):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert hold_gpu(tmp_path / "slots") == "0"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert gpu_of(start("0,1")) == "1"


@pytest.mark.parametrize("visible", [None, "", "0", "GPU-8f6e"])
def test_one_gpu_given_by_slurm_is_left_alone(tmp_path, monkeypatch, visible):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hold_gpu(tmp_path / "slots") is None
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible
    assert not (tmp_path / "slots").exists()


def test_several_gpus_of_one_slurm_job_are_shared_out_within_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for job in ("17", "18"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        for gpu in ("0", "1"):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
            assert hold_gpu() == gpu


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("2, 3", ["2", "3"]), ("", []), ("-1", []), ("1,-1,0", ["1"]), ("MIG-1/2/0", ["MIG-1/2/0"])],
)
def test_ids_are_read_as_cuda_reads_them(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert usable_gpus() == expected


@pytest.mark.parametrize(("answer", "expected"), [("printf '0\\n1\\n'", ["0", "1"]), ("echo No devices found", [])])
def test_the_driver_is_asked_where_nothing_is_named(tmp_path, monkeypatch, answer, expected):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{answer}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert usable_gpus() == expected


def test_no_gpu_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is none"):
        hold_gpu(tmp_path / "slots")
