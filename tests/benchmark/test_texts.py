"""Texts with words that a tokenizer does not know, or with its special tokens, are refused by record, or left out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from mmedit_records import cases_of, record
from tiny_families import tokenizer_of
from tiny_models import tiny_tokenizer

from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.benchmark.texts import strange_parts, texts_notes, write_askable
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.types import InputError

KNOWN = {key: "what is this ?" for key in ("src", "rephrase", "loc", "m_loc_q")}
KNOWN |= {key: "red cat" for key in ("alt", "loc_ans", "m_loc_a")}


def cases(**changes):
    return cases_of([record(0, **KNOWN), record(1, **KNOWN | changes)])


def askable(folder, cases, skip=False, questions=None, name="eval_vqa"):
    """Write cases as a stage's file, then those that the tiny tokenizer can take; return their ids."""
    write_cases(folder / f"{name}.json", *name.split("_"), cases)
    files = [folder / f"{name}.json", *folder.glob("*.jsonl")]
    write_askable(tiny_tokenizer(), files, folder / "one", "here", questions, skip)
    return [case.request.id for case in read_cases(folder / "one" / f"{name}.json")]


def test_records_with_known_texts_stay_as_they_are(tmp_path):
    for skip in (False, True):
        assert askable(tmp_path, cases(), skip) == ["eval_vqa-0", "eval_vqa-1"]
        assert read_cases(tmp_path / "one" / "eval_vqa.json") == cases()
        assert texts_notes([tmp_path / "one" / "counts.json"]) == []


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("alt", "blue circle", r"request: answer 'blue circle': words that the tokenizer does not know \('circle'\)"),
        ("rephrase", "what is gray ?", r"t_gen: question 'what is gray \?': words .* \('gray'\)"),
        ("loc_ans", "circle gray", r"t_loc: answer 'circle gray': words .* \('circle', 'gray'\)"),
        ("src", "<s> what is this ?", r"request: question '<s> what is this \?': '<s>' is a special token"),
        ("m_loc_q", "what is <unk> ?", r"m_loc: question 'what is <unk> \?': '<unk>' is a special token"),
    ],
)
def test_records_with_other_texts_are_refused_or_left_out(tmp_path, field, text, message):
    strange = cases(**{field: text})
    with pytest.raises(InputError, match=rf"^here: .* of 1 records .*eval_vqa\.json: record eval_vqa-1: {message}"):
        askable(tmp_path, strange)
    assert not (tmp_path / "one").exists()
    assert askable(tmp_path, strange, skip=True) == ["eval_vqa-0"]
    (left_out,) = json.loads((tmp_path / "one" / "counts.json").read_text())["eval_vqa.json"]["left_out"][:1]
    assert left_out["record"] == "eval_vqa-1" and left_out["text"] == text and re.match(message[:8], left_out["field"])


def test_what_is_left_out_is_counted_once_each_and_said_by_reason(tmp_path, caplog):
    texts = ({}, {"alt": "circle", "src": "gray ?"}, {"loc": "<s> what"}, {"loc": "<s> what", "alt": "circle"}, {})
    many = cases_of([record(i, **KNOWN | changes) for i, changes in enumerate(texts)])
    (tmp_path / "pool_sources.jsonl").write_text(
        "".join(json.dumps({"image": "a", "question": "what ?", "answer": each}) + "\n" for each in ("cat", "circle"))
    )
    assert askable(tmp_path, many, skip=True) == ["eval_vqa-0", "eval_vqa-4"]
    (kept,) = read_triplet_source(tmp_path / "one" / "pool_sources.jsonl")
    assert kept.request.target == "cat" and kept.request.id == "pool_sources-1"
    assert texts_notes([Path(tmp_path, "one", "counts.json")]) == [
        "**Left out for one: 2 of the 5 records of eval_vqa.json (their texts hold words that its tokenizer does not "
        "know), 1 of the 5 records of eval_vqa.json (their texts hold special tokens of its tokenizer), 1 of the 2 "
        "records of pool_sources.jsonl (their texts hold words that its tokenizer does not know).**"
    ]
    assert "left out: eval_vqa.json: record eval_vqa-1: request: question 'gray ?': words" in caplog.text


def test_a_split_of_which_nothing_is_left_is_refused(tmp_path):
    message = r"^here: the tokenizer cannot take any record of .*dev_vqa\.json as it is; .*: record dev_vqa-0: request"
    with pytest.raises(
        InputError,
        match=message,
    ):
        askable(tmp_path, cases_of([record(0)], "dev_vqa"), skip=True, name="dev_vqa")


def test_questions_from_elsewhere_are_no_records_and_always_refused(tmp_path):
    """And the record's own, which is not asked, does not count."""
    own = cases_of([record(i, **KNOWN | {"loc": "circle"}) for i in range(3)])
    source = tmp_path / "text.json"
    known, one_unknown = (
        [{"loc": "what " * (i + 1), "loc_ans": "circle" if i == at else "cat"} for i in range(8)] for at in (-1, 2)
    )
    source.write_text(json.dumps(known))
    assert len(askable(tmp_path, own, questions=str(source))) == 3
    assert read_cases(tmp_path / "one" / "eval_vqa.json") == own
    source.write_text(json.dumps(one_unknown))
    for skip in (False, True):
        message = r"^here: .* text-only questions of .*text\.json .*: t_loc: answer 'circle': words"
        with pytest.raises(InputError, match=message):
            askable(tmp_path, own, skip, str(source))


def test_questions_of_second_edits_are_checked_and_twenty_problems_shown(tmp_path):
    (case,) = cases_of([record(0, **KNOWN)])
    second = replace(case, then=(replace(case.request, id="x+1", image=None, target="circle"),))
    with pytest.raises(InputError, match="record eval_vqa-0: request: answer 'circle'"):
        askable(tmp_path, [second])
    many = cases_of([record(i, **KNOWN | {"loc": "circle"}) for i in range(30)])
    with pytest.raises(InputError, match=r"30 records .* \(and 10 more\)$") as caught:
        askable(tmp_path, many)
    assert len(re.findall(r"eval_vqa\.json: record", str(caught.value))) == 20


@pytest.mark.parametrize(("family", "mark"), [("llava", "<image>"), ("smolvlm", "<end_of_utterance>")])
def test_marks_of_chat_families_in_a_users_text_are_found(family, mark):
    """And what only looks like one is text."""
    tokenizer = tokenizer_of(family)
    texts = [f"{mark}\nwhat is this?", "what is this?"]
    texts += ["###Human: what is this?", "a < image >", "<img>"] * (family != "llava")  # whose tiny one has no signs
    assert strange_parts(tokenizer, texts) == {texts[0]: (f"'{mark}' is a special token of the tokenizer", "special")}


def test_a_tokenizer_of_bytes_knows_every_script():
    tokenizer = tokenizer_of("smolvlm")
    texts = ["猫は何色？", "מה זה?", "ما هذا؟", "$5 and $6", "a\u2028b\u2029c\u0085d", "🦉", json.dumps({"a": 1})]
    assert strange_parts(tokenizer, texts) == {}
