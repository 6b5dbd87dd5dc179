"""Texts with words that a tokenizer does not know, or with its special tokens, are refused by record."""

import json
import re
from dataclasses import replace

import pytest
from mmedit_records import cases_of, record
from tiny_families import tokenizer_of
from tiny_models import tiny_tokenizer

from unike_lib.backbones.texts import check_texts, strange_parts
from unike_lib.types import InputError

KNOWN = {key: "what is this ?" for key in ("src", "rephrase", "loc", "m_loc_q")}
KNOWN |= {key: "red cat" for key in ("alt", "loc_ans", "m_loc_a")}


def cases(**changes):
    return cases_of([record(0, **KNOWN), record(1, **KNOWN | changes)])


def test_known_texts_are_counted():
    assert check_texts(tiny_tokenizer(), {"eval_vqa.json": cases()}, "here") == {"cases": 2, "texts": 2}


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
def test_records_with_other_texts_are_refused(field, text, message):
    with pytest.raises(InputError, match=rf"^here: .* of 1 records .*eval_vqa\.json: record eval_vqa-1: {message}"):
        check_texts(tiny_tokenizer(), {"eval_vqa.json": cases(**{field: text})}, "here")


def test_questions_of_second_edits_are_checked_and_twenty_problems_shown():
    (case,) = cases_of([record(0, **KNOWN)])
    second = replace(case, then=(replace(case.request, id="x+1", image=None, target="circle"),))
    with pytest.raises(InputError, match="record eval_vqa-0: request: answer 'circle'"):
        check_texts(tiny_tokenizer(), {"f.json": [second]}, "here")
    many = cases_of([record(i, **KNOWN | {"loc": "circle"}) for i in range(30)])
    with pytest.raises(InputError, match=r"30 records .* \(and 10 more\)$") as caught:
        check_texts(tiny_tokenizer(), {"f.json": many}, "here")
    assert len(re.findall(r"f\.json: record", str(caught.value))) == 20


@pytest.mark.parametrize(("family", "mark"), [("llava", "<image>"), ("smolvlm", "<end_of_utterance>")])
def test_marks_of_chat_families_in_a_users_text_are_found(family, mark):
    """And what only looks like one is text."""
    tokenizer = tokenizer_of(family)
    texts = [f"{mark}\nwhat is this?", "what is this?"]
    texts += ["###Human: what is this?", "a < image >", "<img>"] * (family != "llava")  # whose tiny one has no signs
    assert strange_parts(tokenizer, texts) == {texts[0]: f"'{mark}' is a special token of the tokenizer"}


def test_a_tokenizer_of_bytes_knows_every_script():
    tokenizer = tokenizer_of("smolvlm")
    texts = ["猫は何色？", "מה זה?", "ما هذا؟", "$5 and $6", "a\u2028b\u2029c\u0085d", "🦉", json.dumps({"a": 1})]
    assert strange_parts(tokenizer, texts) == {}
