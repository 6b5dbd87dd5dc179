"""A job that was killed goes on from its finished parts, and ends with what an undisturbed one writes."""

import logging
from functools import partial

import pytest

from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criterion import find_criteria
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.resume import Chunks, kept_chunks
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.io import read_table, write_table
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.records import Score, record_schema

SETTINGS = EvaluationConfig(sessions=1, max_new_tokens=2)
LABELS = {"backbone": "tiny", "task": "vqa", "method": "m", "seed": 0, "fingerprint": "x"}


class KilledError(Exception):
    pass


class Job:
    """The body of workflow_scripts/run_edits.py, which may be killed after some parts; counts the parts it edits."""

    def __init__(self, edit, cases, folder):
        self.edit, self.cases, self.output = edit, cases, folder / "m.parquet"
        self.chunks, self.done = folder / ".m.parquet.chunks", 0

    def run(self, fingerprint="fingerprint", most=99):
        self.done = 0

        def edit(part):
            if self.done == most:
                raise KilledError
            self.done += 1
            return self.edit(part)

        with kept_chunks(self.output, fingerprint) as chunks:
            self.write(self.output, chunks.run(edit, self.cases, SETTINGS), fingerprint)
        return self.output.read_bytes()

    def write(self, path, scores, fingerprint="fingerprint"):
        for score in scores:
            score.edit_seconds, score.edit_bytes, score.peak_mb = 0.5, 1.0, 2.0  # measured: here two runs differ
        write_table(
            path, records_table(scores, LABELS, SETTINGS), fingerprint, record_schema(find_criteria(SETTINGS.criteria))
        )


def made_up_scores(part):
    """One score per case, with what the schema allows: no number, no text, several facts."""
    return [
        Score(
            case=case.request.id,
            facts=[case.request.id, "b"],
            kind="t_loc",
            scores={"token": 1 / 3, "mmedit": float("nan"), "exact": 0.0, "generated": 1.0, "normalised": 1.0},
            answer_tokens=row,
            target="",
            text_before="é",
            text_after=" ",
            alpha=float("nan"),
        )
        for row, case in enumerate(part[1])
    ]


@pytest.fixture
def job(cases, tmp_path):
    """Five parts of one session of one case."""
    return Job(made_up_scores, {1: cases}, tmp_path)


@pytest.mark.parametrize("ks", [(1,), (2,), (1, 2)])
def test_parts_make_the_same_scores_as_one_run(make_backbone, cases, tmp_path, ks):
    """Five sessions of one case, three of which the last is shorter, or both; some parts are read from their files."""
    backbone = make_backbone("blip2")
    editor = FineTune(backbone, FineTuneMethod(method="fine-tune", steps=1, learning_rate=0.03))
    before = answer_before(backbone, cases, SETTINGS)
    edit = partial(run_edits, backbone, editor, before=before, settings=SETTINGS)
    job = Job(edit, dict.fromkeys(ks, cases), tmp_path)
    job.write(tmp_path / "whole", job.edit(job.cases))
    with pytest.raises(KilledError):
        job.run(most=2)
    assert job.run() == (tmp_path / "whole").read_bytes()
    sessions = read_table(job.output).groupby("k")["session"].nunique()
    assert sessions.to_dict() == {k: -(-5 // k) for k in ks}


@pytest.mark.parametrize("finished", [0, 2])
def test_a_killed_job_goes_on_and_ends_the_same(job, finished):
    undisturbed = job.run()
    parts = job.done
    job.output.unlink()
    with pytest.raises(KilledError):
        job.run(most=finished)
    assert not job.output.exists()
    assert len(list(job.chunks.glob("*"))) == finished
    assert job.run() == undisturbed
    assert job.done == parts - finished
    assert not job.chunks.exists()


def test_parts_of_other_inputs_are_removed(job):
    undisturbed = job.run("new")
    with pytest.raises(KilledError):
        job.run("old", most=1)
    old = list(job.chunks.iterdir())
    with pytest.raises(KilledError):
        job.run("new", most=1)
    assert not any(file.exists() for file in old) and len(list(job.chunks.iterdir())) == 1
    assert job.run("new") == undisturbed


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "of another part"])
def test_a_damaged_part_is_computed_again_with_a_warning(job, damage, caplog):
    undisturbed = job.run()
    parts = job.done
    with pytest.raises(KilledError):
        job.run(most=2)
    one, two = sorted(job.chunks.iterdir())
    content = one.read_bytes()
    flipped = content[:200] + bytes([content[200] ^ 1]) + content[201:]
    one.write_bytes({"cut": content[:-9], "empty": b"", "flipped": flipped}.get(damage, two.read_bytes()))
    (job.chunks / ".half.parquet.tmp").write_bytes(b"half")
    with caplog.at_level(logging.WARNING, "unike_lib"):
        assert job.run() == undisturbed
    assert [one.name in record.getMessage() for record in caplog.records] == [True]
    assert job.done == parts - 1


@pytest.mark.parametrize(("sessions", "sizes"), [(1, [6, 6, 1]), (2, [6, 6, 1]), (4, [12, 1])])
def test_parts_are_whole_sessions_of_every_k(cases, tmp_path, sessions, sizes):
    """Sessions of two and of three end together after six cases; parts are so many sessions of three, if these fit."""
    seen = []

    def edit(part):
        seen.append({k: len(every) for k, every in part.items()})
        return made_up_scores({1: part[3]})

    thirteen = [*cases, *cases, *cases[:3]]
    Chunks(tmp_path, "fingerprint").run(edit, {2: thirteen, 3: thirteen}, EvaluationConfig(sessions=sessions))
    assert seen == [{2: size, 3: size} for size in sizes]


def test_batches_of_another_size_do_not_share_parts(cases, tmp_path):
    chunks = Chunks(tmp_path, "fingerprint")
    assert chunks._file({1: cases}, 4) != chunks._file({1: cases}, 8)
    assert chunks._file({1: cases}, 4) != chunks._file({1: cases[:4]}, 4)
    assert chunks._file({1: cases}, 4) != chunks._file({2: cases}, 4)
