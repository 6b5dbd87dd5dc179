"""Sessions that mix tasks: equal shares, every case at most once, the same for the same seed."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_case

from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.editor import NoEdit
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.session_layout import session_cases, shard_cases
from unike_lib.evaluation.sessions import run_edits
from unike_lib.evaluation.unedited_answers import UneditedAnswers
from unike_lib.types import InputError


def case_of(task, number):
    case = make_case(number)
    return replace(case, request=replace(case.request, id=f"{task}-{number}", task=task))


def tasks(vqa, caption):
    return [case_of("vqa", number) for number in range(vqa)], [case_of("caption", number) for number in range(caption)]


def names(cases):
    return [case.request.id for case in cases]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6), st.none() | st.integers(2, 50), st.integers(0, 9))
def test_sessions_hold_equal_shares_and_no_case_twice(vqa, caption, share, edits, seed):
    mixed = session_cases(tasks(vqa, caption), 2 * share, edits, seed)
    of_each = min(vqa, caption, 99 if edits is None else edits // 2)
    assert len(mixed) == len(set(names(mixed))) == 2 * of_each
    for start in range(0, len(mixed), 2 * share):
        session = mixed[start : start + 2 * share]
        kinds = [case.request.task for case in session]
        assert kinds.count("vqa") == kinds.count("caption") == min(share, of_each - start // 2)
        numbers = {int(case.request.id.split("-")[1]) for case in session}
        assert numbers == set(range(start // 2, start // 2 + len(session) // 2))


def test_order_is_drawn_from_the_seed_session_by_session():
    both = tasks(20, 20)
    first = names(session_cases(both, 10, None, 0))
    assert first == names(session_cases(both, 10, None, 0))
    assert first != names(session_cases(both, 10, None, 1))
    assert first[:20] == names(session_cases(both, 10, 20, 0))
    places = [[name.startswith("vqa") for name in first[start : start + 10]] for start in range(0, 40, 10)]
    assert len({tuple(row) for row in places}) > 1


def test_one_task_keeps_its_order():
    vqa, _ = tasks(7, 0)
    assert session_cases([vqa], 3, 5, 0) == vqa[:5]
    assert session_cases([vqa], 3, None, 0) == vqa


def test_shares_must_be_equal():
    with pytest.raises(InputError, match="sessions of 5 edits: expected a multiple of 2"):
        session_cases(tasks(9, 9), 5, None, 0)


@given(st.integers(1, 40), st.sets(st.integers(1, 6), min_size=1, max_size=2), st.integers(1, 12))
def test_shards_are_the_whole_in_runs_of_whole_sessions(edits, ks, shards):
    whole, _ = tasks(edits, 0)
    parts = [shard_cases(dict.fromkeys(ks, whole), number, shards) for number in range(1, shards + 1)]
    block = math.lcm(*ks)
    for k in ks:
        assert [case for part, _ in parts for case in part[k]] == whole
        earlier = [sum(len(part[k]) for part, _ in parts[:number]) for number in range(shards)]
        assert [min(first, edits) for _, first in parts] == earlier
        blocks = [-(-len(part[k]) // block) for part, _ in parts]
        assert max(blocks) - min(blocks) <= 1
        assert blocks[0] > 0
        assert all(first % k == 0 for _, first in parts)


def test_answers_before_the_edits_are_those_of_each_task(backbone, tmp_path):
    settings = EvaluationConfig(max_new_tokens=3)
    both = tasks(3, 3)
    paths = [tmp_path / "vqa.parquet", tmp_path / "caption.parquet"]
    for cases, path in zip(both, paths, strict=True):
        answer_before(backbone, cases, settings).save(path, "fingerprint")
    before = UneditedAnswers.load_all(paths)
    assert len(before.rows) == 6 * 5
    scores = run_edits(backbone, NoEdit(), {4: session_cases(both, 4, None, 0)}, before, settings)
    sessions = [{score.case for score in scores if score.session == number} for number in range(2)]
    assert [len(session) for session in sessions] == [4, 2]
    assert all(score.scores["token"] == 1 for score in scores if score.kind in {"t_loc", "m_loc"})
    with pytest.raises(InputError, match=r"vqa\.parquet: case vqa-0: the id is taken"):
        UneditedAnswers.load_all([*paths, paths[0]])
