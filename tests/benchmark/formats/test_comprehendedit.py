"""ComprehendEdit: records in the layout of yaohui120/ComprehendEdit a88be09, easyeditor/dataset/ComprehendEdit.py.

Facts are made up; the keys, the order of neighbours (first of `_topk`, last of `_last_topk`) and the frames of
sources are the reader's.
"""

import json

import pytest
from mmedit_records import read

from unike_lib.types import InputError, Query

NEAR = {"img_topk": [1, 2], "txt_topk": [2, 1], "img_last_topk": [2, 1], "txt_last_topk": [1, 2]}
RIGHT = {"ori_rt_img_topk": [901, 900], "ori_rt_txt_topk": [900], "ori_rt_img_last_topk": [901, 900]}
RIGHT |= {"ori_rt_txt_last_topk": [900, 901]}


def asked(pid, source="GQA", **changes):
    own = {"image": f"{source}/{pid}.jpg", "question": f"Question {pid}?", "answer": f"answer {pid}"}
    return own | {"rephrase": f"Again {pid}?", "source": source, "Category": "existence", "pid": pid} | changes


def made(pid, source="GQA", **changes):
    locality = {"locality_prompt": f"who {pid}", "locality_ground_truth": "Jon Aske"}
    near = {"image": "val2014/9.jpg", "prompt": "What room is this?", "ground_truth": "kitchen"}
    locality |= {f"multimodal_locality_{key}": value for key, value in near.items()}
    return asked(pid, source) | locality | changes


@pytest.fixture
def folder(tmp_path):
    records = [made(0, **NEAR, **RIGHT), made(1, "TallyQA", answer="4"), made(2, "VSR", question="The mug is red.")]
    (tmp_path / "ComprehendEdit_test.json").write_text(json.dumps(records))
    right = [asked(900, ori_pred_blip2=[5, 17]), asked(901, "TextVQA", rephrase=None)]
    (tmp_path / "ComprehendEdit_ori_right.json").write_text(json.dumps(right))
    return tmp_path


def test_neighbours_are_found_by_pid_and_put_as_their_source_asks(folder):
    """By hand from the reader: lists cut to one, the first of the nearest, the last of the farthest."""
    first, second, third = read(folder / "ComprehendEdit_test.json", dialect="comprehendedit")
    count = Query("TallyQA/1.jpg", "Question 1? Answer with a number.", "4")
    true = Query("VSR/2.jpg", "Is this description true or false? Description: The mug is red.", "answer 2")
    kept, read_ = (
        Query("GQA/900.jpg", "Question 900?", "answer 900"),
        Query("TextVQA/901.jpg", "Question 901?", "answer 901"),
    )
    assert [(each.kind, each.aim, each.query) for each in first.probes[4:]] == [
        ("kgi_img", "become", count),
        ("kgi_txt", "become", true),
        ("kgi_img_last", "become", count),
        ("kgi_txt_last", "become", true),
        ("kpi_img", "stay", read_),
        ("kpi_txt", "stay", kept),
        ("kpi_img_last", "stay", kept),
        ("kpi_txt_last", "stay", read_),
    ]
    assert [each.kind for each in first.probes[:4]] == ["rel", "t_gen", "t_loc", "m_loc"]
    assert first.query("t_loc") == Query(None, "who 0", "Jon Aske")  # the file's answer, not the prompt
    assert first.query("m_loc") == Query("val2014/9.jpg", "What room is this?", "kitchen")
    assert second.query("t_gen").prompt == "Again 1? Answer with a number." and second.request.query == count
    assert third.request.query == true and len(third.probes) == 4


def test_a_training_file_has_no_neighbours_and_needs_no_other(tmp_path):
    path = tmp_path / "ComprehendEdit_train.json"
    path.write_text(json.dumps([made(0, answer=""), made(5, "MathVista")]))
    (case,) = read(path, dialect="comprehendedit")
    assert case.request.query == Query("MathVista/5.jpg", "Question 5?", "answer 5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "OKVQA"}, "field 'source': expected one of gqa, textvqa, mathvista, tallyqa, vsr, found 'OKVQA'"),
        ({"img_topk": [7]}, "field 'img_topk': expected the pid of a record with .*, found 7"),
        ({"txt_last_topk": [1, 900]}, "field 'txt_last_topk': expected the pid of a record with .*, found 900"),
        ({"ori_rt_img_topk": [1]}, "field 'ori_rt_img_topk': expected the pid of a record with .*, found 1"),
        ({"img_topk": []}, r"field 'img_topk': expected a list of pids, found \[\]"),
        ({"img_topk": "1"}, "field 'img_topk': expected a list of pids, found '1'"),
        ({"ori_rt_txt_topk": [[900]]}, r"field 'ori_rt_txt_topk': expected a list of pids, found \[\[900\]\]"),
        ({"rephrase": None}, "field 'rephrase': expected non-empty text, found None"),
    ],
)
def test_a_broken_field_is_named(folder, changes, message):
    path = folder / "ComprehendEdit_test.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps([records[0] | changes, *records[1:]]))
    with pytest.raises(InputError, match=rf"ComprehendEdit_test\.json: record 0: {message}"):
        read(path, dialect="comprehendedit")


def test_the_file_of_right_answers_is_checked_and_must_be_there(folder):
    right = folder / "ComprehendEdit_ori_right.json"
    right.write_text(json.dumps([asked(900, answer=" "), asked(901, question=None)]))
    with pytest.raises(InputError, match=r"ori_right\.json: record 0: field 'answer'.*; .*record 1: field 'question'"):
        read(folder / "ComprehendEdit_test.json", dialect="comprehendedit")
    right.unlink()
    with pytest.raises(InputError, match=r"ori_right\.json: no such file"):
        read(folder / "ComprehendEdit_test.json", dialect="comprehendedit")
