"""Files of cases: what was written is read again, whole; what is broken is named by record and field."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedit_records import record, write_stage

from unike_lib.benchmark.cases import read_cases, read_files, write_cases
from unike_lib.types import PROBE_KINDS, EditCase, EditRequest, InputError, Probe, Query

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
QUERIES = st.builds(
    Query, st.none() | TEXT, TEXT, st.none() | TEXT, st.sampled_from(["question", "plain"]), context=TEXT
)
PROBES = st.builds(Probe, st.sampled_from([*PROBE_KINDS, "portability"]), QUERIES)


@st.composite
def files(draw):
    """A task, and cases of it with ids of their own."""
    task = draw(st.sampled_from(["vqa", "caption"]))
    requests = st.builds(EditRequest, TEXT, st.just(task), TEXT, TEXT, TEXT)
    then = st.builds(EditRequest, TEXT, st.just(task), st.none() | TEXT, TEXT, TEXT)
    lists = (st.lists(each, max_size=size).map(tuple) for each, size in ((PROBES, 3), (TEXT, 2), (then, 1)))
    case = st.builds(EditCase, requests, *lists)
    return task, draw(st.lists(case, min_size=1, max_size=3, unique_by=lambda each: each.request.id))


@settings(max_examples=60, deadline=None)
@given(files())
def test_cases_come_back_equal_and_in_order(tmp_path_factory, file):
    task, cases = file
    path = tmp_path_factory.mktemp("x") / "any name.json"
    write_cases(path, "dev", task, cases)
    assert read_cases(path) == read_cases(path, task) == cases
    content = json.loads(path.read_text())
    assert (content["split"], content["task"]) == ("dev", task)


def test_split_and_task_stand_in_the_file_and_its_name_says_nothing(tmp_path):
    path = write_stage(tmp_path / "dev_caption.json", [record(index) for index in range(60)])
    other = path.rename(tmp_path / "eval_vqa.json")
    assert {case.request.task for case in read_cases(other)} == {"caption"}
    asked = {case.query("t_loc") for case in read_cases(other, text_locality="general")}
    assert len(asked) == 50  # a quarter of 200, the share of development: the evaluation asks half
    with pytest.raises(InputError, match=r"eval_vqa\.json: field 'task': expected 'vqa', found 'caption'"):
        read_cases(other, "vqa")


def test_two_cases_of_one_id_are_not_written(tmp_path):
    with pytest.raises(InputError, match=r"eval_vqa\.json: record 1: field 'id': 'x' is taken by record 0"):
        write_stage(tmp_path / "eval_vqa.json", [record(id="x"), record(1, id="x")])
    assert not (tmp_path / "eval_vqa.json").exists()


def test_a_limit_on_edits_is_of_each_file_and_text_questions_take_the_place_of_their_own_alone(tmp_path):
    paths = [
        write_stage(tmp_path / name, [record(i) for i in range(3)]) for name in ("dev_vqa.json", "dev_caption.json")
    ]
    both = [read_cases(path) for path in paths]
    assert read_files(paths) == both[0] + both[1] and read_files(paths, None, 2) == both[0][:2] + both[1][:2]
    for case, own in zip(read_files(paths, "general"), both[0] + both[1], strict=True):
        changed = [probe.kind for probe, other in zip(case.probes, own.probes, strict=True) if probe != other]
        assert changed == ["t_loc"] and case.request == own.request


def spoiled(change):
    def spoil(content):
        change(content)
        return content

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: [], r"field '': .*, found \[\]"),
        (spoiled(lambda file: file.pop("split")), "field 'split': expected a value, found nothing"),
        (spoiled(lambda file: file.update(task="song")), "field 'task': .*, found 'song'"),
        (spoiled(lambda file: file.update(cases=[])), "no records: this split is empty"),
        (spoiled(lambda file: file.update(cases=3)), "field 'cases': .*, found 3"),
        (spoiled(lambda file: file["cases"].append(7)), "record 1: field '': .*, found 7"),
        (
            spoiled(lambda file: file["cases"][0]["request"].pop("id")),
            "record 0: field 'request.id': expected a value, found nothing",
        ),
        (
            spoiled(lambda file: file["cases"][0]["probes"][1]["query"].update(prompt=None)),
            "record 0: field 'probes.1.query.prompt': .*, found None",
        ),
        (spoiled(lambda file: file["cases"][0]["probes"][2].update(kind="x")), "record 0: field 'probes.2.kind'"),
    ],
)
def test_a_broken_file_is_named_with_record_and_field(tmp_path, spoil, message):
    path = write_stage(tmp_path / "eval_vqa.json", [record()])
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=rf"eval_vqa\.json: {message}") as caught:
        read_cases(path)
    assert len(str(caught.value).splitlines()) == 1
