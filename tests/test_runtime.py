"""The frame of a workflow script: its log, its threads, one line for an error in the input."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from declared_jobs import made_up_job
from tqdm import tqdm

from unike_lib.runtime import THREAD_VARIABLES, Job, PlainLines, Stage
from unike_lib.types import InputError

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_JOB_ID")
TERMINAL = ("TQDM_BAR_FORMAT", "TQDM_DYNAMIC_NCOLS")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Undo what a stage sets in the environment."""
    for name in (*THREAD_VARIABLES, "TOKENIZERS_PARALLELISM", "TQDM_MININTERVAL", "TQDM_MAXINTERVAL", *TERMINAL):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    for name in GPU_VARIABLES:
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)


@pytest.fixture
def job(tmp_path):
    log = [str(tmp_path / "logs" / "states.log")]
    return made_up_job(log=log, threads=3, wildcards={"backbone": "blip2-nano"}, resources={"gpu": 0})


def log_of(job):
    return Path(job.log[0]).read_text()


def test_threads_and_log(job, capsys):
    with Stage(job) as seen:
        logging.getLogger("unike_lib.knowledge").info("%d triplets", 12)
        assert seen.threads == 3 and seen.wildcards.backbone == "blip2-nano"
        assert all(os.environ[name] == "3" for name in THREAD_VARIABLES)
    assert log_of(job).endswith("INFO 12 triplets\n")
    assert capsys.readouterr().err.endswith("INFO 12 triplets\n")
    assert not logging.getLogger("unike_lib").handlers


def test_input_error_is_one_line_and_exit_status_one(job, capsys):
    with pytest.raises(SystemExit) as stop, Stage(job):
        raise InputError("vqa.json: record 3: field 'alt': expected text")
    assert stop.value.code == 1
    for text in (log_of(job), capsys.readouterr().err):
        assert text.count("\n") == 1
        assert text.endswith("ERROR vqa.json: record 3: field 'alt': expected text\n")


def test_a_job_that_works_side_by_side_has_as_many_torch_threads_as_others(job):
    job.resources = {"torch_threads": 1}
    with Stage(job) as seen:
        assert seen.threads == 3 and all(os.environ[name] == "1" for name in THREAD_VARIABLES)


def test_only_a_job_that_needs_a_gpu_takes_one(job, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with Stage(job):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
    job.resources = {"gpu": 1}
    with Stage(job):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    assert "on GPU 5\n" in log_of(job)


def test_a_missing_gpu_is_one_line(job, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    job.resources = {"gpu": 1}
    with pytest.raises(SystemExit), Stage(job):
        pytest.fail("the stage must not start")
    assert log_of(job).count("\n") == 1
    assert "there is none" in log_of(job)


def test_a_fault_of_ours_keeps_its_traceback(job, capsys):
    with pytest.raises(SystemExit) as stop, Stage(job):
        _ = 1 / 0
    assert stop.value.code == 1
    for text in (log_of(job), capsys.readouterr().err):
        assert "ERROR states failed\n" in text
        assert text.count("ZeroDivisionError: division by zero\n") == 1


def test_progress_bars_become_plain_lines(job):
    standard = sys.stderr
    with Stage(job):
        for _ in tqdm(range(3), desc="edits", mininterval=0):
            pass
    lines = log_of(job).splitlines()
    assert lines[-1].startswith("edits: 100%")
    assert "\r" not in log_of(job)
    assert sys.stderr is standard


def test_plain_lines_drops_blanks_and_joins_pieces():
    out = io.StringIO()
    stream = PlainLines({out: ""})
    for piece in ("\r 1%", "\r 2%  ", "\n", "\n", "a", "b\nunfinished"):
        stream.write(piece)
    assert out.getvalue() == " 1%\n 2%\nab\n"


def test_lines_hold_nothing_that_a_terminal_obeys():
    """A column of a user's file, a word of a model's answer may."""
    out = io.StringIO()
    PlainLines({out: ""}).write("columns that are not read: a\x1b[2Jb\0\n")
    assert out.getvalue() == "columns that are not read: a\ufffd[2Jb\ufffd\n"


def test_lines_of_jobs_side_by_side_say_whose_they_are(job, capsys):
    with Stage(job):
        logging.getLogger("unike_lib").info("12 triplets")
    assert capsys.readouterr().err.startswith("[states blip2-nano] ")
    assert "[" not in log_of(job)


def test_a_terminal_gets_bars_and_the_log_plain_lines(job):
    """Run in a process of its own on a pseudo-terminal: tqdm reads its settings when it is imported."""
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    program = """
import logging, sys
sys.path.insert(0, sys.argv[1])
from declared_jobs import made_up_job
from unike_lib.runtime import Stage
with Stage(made_up_job(log=[sys.argv[2]], wildcards={"backbone": "blip2-nano"})):
    from tqdm import tqdm
    for _ in tqdm(range(3), desc="edits", mininterval=0):
        logging.getLogger("unike_lib").info("one more")
"""
    subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent), job.log[0]], stderr=terminal, check=True)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while piece := os.read(controller, 65536):
            shown += piece
    os.close(controller)
    assert "[states blip2-nano] edits: 100%|█" in shown.decode() and shown.count(b"\r") > 3
    assert shown.count(b"\r\x1b[K[states blip2-nano] ") == log_of(job).count("one more\n") == 3
    assert "edits" not in log_of(job) and "\r" not in log_of(job)


def test_settings_of_a_point_lie_over_those_of_its_method():
    job = Job(made_up_job(params={"method": {"method": "fine-tune", "steps": 5, "learning_rate": 0.1}}))
    assert [(job.method(point).steps, job.method(point).learning_rate) for point in (None, {"steps": 9})] == [
        (5, 0.1),
        (9, 0.1),
    ]


def test_mark_covers_parameters_and_inputs_but_pictures(tmp_path):
    cases, images = tmp_path / "cases.json", tmp_path / "images"
    images.mkdir()

    def fingerprint(text="[]", rule="visual", **params):
        cases.write_text(text)
        (images / f"{len(list(images.iterdir()))}.png").write_text("new")
        inputs = {"cases": str(cases), "images": str(images)}
        return Job(made_up_job(rule, params=params, input=inputs)).fingerprint

    same = fingerprint(code="0", dtype="float32")
    assert fingerprint(code="0", dtype="float32") == same
    changed = [
        fingerprint("[1]", code="0", dtype="float32"),
        fingerprint(code="1", dtype="float32"),
        fingerprint(code="0", dtype="bfloat16"),
    ]
    changed.append(fingerprint(rule="states", code="0", dtype="float32"))
    assert len({same, *changed}) == 5


A_STAGE = """
from declared_jobs import made_up_job
from unike_lib.runtime import Stage
Stage(made_up_job(log=[], threads=1, wildcards={}, resources={"gpu": 0})).__enter__()
"""
A_COMMAND = """
from unike_lib.front.cli import main
sys.argv = ["unike", "doctor", "no such folder"]
main()
"""


@pytest.mark.parametrize("start", [A_STAGE, A_COMMAND], ids=["stage", "command"])
def test_what_imports_made_is_gone_through_seldom_and_not_at_the_end(start):
    script = f"""
import atexit, gc, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
atexit.register(lambda: print(gc.get_freeze_count() > 0))  # functions run in the other order
{start}
collections = []
gc.collect()
gc.callbacks.append(lambda phase, info: collections.append(phase))
kept = [[number] for number in range(90_000)]
print(len(collections))
more = [[number] for number in range(20_000)]
print(len(collections) > 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-3:] == ["0", "True", "True"]
