"""Texts of any script, with separators, dollar signs and BOM, go through files as they are."""

import json

import pytest
from mmedit_records import read, record

from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.benchmark.text_questions import read_text_questions
from unike_lib.benchmark.triplet_sources import read_triplet_source, write_triplet_source
from unike_lib.types import InputError

TEXTS = ["a\u2028b", "a\u2029b", "a\u0085b", "$x$ \\frac{", "猫は何色？", "שלום", "e\u0301", "🦉", "<b>&"]
BOM = b"\xef\xbb\xbf"


def raw(values):
    return json.dumps(values, ensure_ascii=False).encode()


@pytest.mark.parametrize("start", [b"", BOM])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_triplet_sources_keep_every_text(tmp_path, start, end):
    path = tmp_path / "mine.jsonl"
    lines = [raw({"image": f"{text}.jpg", "question": f"{text}?", "answer": f"{text}!"}) for text in TEXTS]
    path.write_bytes(start + end.join(lines))
    cases = read_triplet_source(path)
    assert [case.request.prompt for case in cases] == [f"{text}?" for text in TEXTS]
    write_triplet_source(tmp_path / "pool_sources.jsonl", cases)
    assert read_triplet_source(tmp_path / "pool_sources.jsonl") == cases
    assert (tmp_path / "pool_sources.jsonl").read_bytes().count(b"\n") == len(TEXTS)


@pytest.mark.parametrize("start", [b"", BOM])
@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
def test_annotations_keep_every_text(tmp_path, start, name):
    records = [record(i, id=str(i), src=text, alt=text, loc=f"{i}{text}", loc_ans=text) for i, text in enumerate(TEXTS)]
    content = b"\n".join(map(raw, records)) if name.endswith("l") else raw(records)
    (tmp_path / name).write_bytes(start + content)
    cases = read(tmp_path / name)
    assert [(case.request.prompt, case.request.target) for case in cases] == [(text, text) for text in TEXTS]
    write_cases(tmp_path / "eval_vqa.json", "eval", "vqa", cases)
    assert read_cases(tmp_path / "eval_vqa.json") == cases
    assert len(read_text_questions(str(tmp_path / name))) == len(TEXTS)


def test_half_a_character_in_a_triplet_source_is_named(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"image": "a.jpg", "question": "a\\ud800?", "answer": "b"}\n')
    with pytest.raises(InputError, match="line 1: field 'question'"):
        read_triplet_source(tmp_path / "mine.jsonl")
