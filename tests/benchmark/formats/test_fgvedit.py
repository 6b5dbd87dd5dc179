"""FGVEdit: records in the layout of zeng-zhen/FGVEdit 8cd6cd4, easyeditor/dataset/vqa.py (facts made up)."""

import json

import pytest
from mmedit_records import read

from unike_lib.types import InputError, Query


def made(number=0, **changes):
    return {
        "src": f"What does the man hold? {number}",
        "alt": " a kite ",
        "rephrase": f"What is in the man's hand? {number}",
        "image": f"val2014/{number}.jpg",
        "loc": "who invented the paper lamp",
        "loc_ans": "Pia Holm",
        "fg_gen_q": "Who holds the kite?",
        "fg_gen_a": "the man",
        "fg_loc_q": "What does the woman hold?",
        "fg_loc_a": "a basket",
    } | changes


def written(path, records):
    path.write_text(json.dumps(records))
    return path


def test_both_fine_grained_questions_are_about_the_edits_own_picture(tmp_path):
    """By hand; a record without a target is skipped, as the original reader does."""
    path = written(tmp_path / "test_data.json", [made(0, alt=""), made(1)])
    (case,) = read(path, dialect="fgvedit")
    assert (case.request.prompt, case.request.target) == ("What does the man hold? 1", "a kite")
    assert [(each.kind, each.aim, each.query) for each in case.probes] == [
        ("rel", "become", Query("val2014/1.jpg", "What does the man hold? 1", "a kite")),
        ("t_gen", "become", Query("val2014/1.jpg", "What is in the man's hand? 1", "a kite")),
        ("t_loc", "stay", Query(None, "who invented the paper lamp", "Pia Holm")),
        ("fg_gen", "become", Query("val2014/1.jpg", "Who holds the kite?", "the man")),
        ("fg_loc", "stay", Query("val2014/1.jpg", "What does the woman hold?", "a basket")),
    ]


def test_every_problem_is_named_by_record_and_field(tmp_path):
    """The target of a skipped record may be empty, its other fields not; a blank target is no empty one."""
    records = [made(), made(1, alt="", fg_loc_a=" "), made(2, alt="  ", fg_gen_q=3), "text"]
    with pytest.raises(InputError) as error:
        read(written(tmp_path / "f.json", records), dialect="fgvedit")
    for part in (
        "record 1: field 'fg_loc_a': expected non-empty text, found ' '",
        "record 2: field 'alt': expected non-empty text, found '  '",
        "record 2: field 'fg_gen_q': expected non-empty text, found 3",
        "record 3: expected an object, found str",
    ):
        assert f"f.json: {part}" in str(error.value)
    assert str(error.value).count("f.json: ") == 4
