"""Text-only questions from elsewhere: the packaged facts, MMEdit's own, and what is wrong with a file of them."""

import json
from pathlib import Path

import pytest
from mmedit_records import FIELDS, write_stage

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.text_questions import GENERAL_QUESTIONS, read_text_questions
from unike_lib.types import InputError

REAL = Path(__file__).parents[2].parent / "shared" / "mmedit"
SPLITS = ("taught", "pool", "method", "dev", "eval")


@pytest.fixture
def files(tmp_path):
    """Each split as a file of 300 records with toy text-only questions, a fact of the records' own."""
    records = [{field: f"{field} {index}" for field in FIELDS} for index in range(300)]
    for split in SPLITS:
        for task in ("vqa", "caption"):
            write_stage(tmp_path / f"{split}_{task}.json", records)
    return tmp_path


def asked(cases):
    return [probe.query for case in cases for probe in case.probes if probe.kind == "t_loc"]


def others(cases):
    return [(case.request, case.facts, [probe for probe in case.probes if probe.kind != "t_loc"]) for case in cases]


def test_only_the_text_only_questions_change(files):
    own = read_cases(files / "eval_vqa.json")
    general = read_cases(files / "eval_vqa.json", text_locality="general")
    assert others(general) == others(own)
    assert [probe.kind for probe in general[0].probes] == [probe.kind for probe in own[0].probes]
    assert asked(own)[7].prompt == "loc 7"
    assert all(query.image is None and query.style == "question" and query.answer for query in asked(general))


def test_splits_share_no_question_and_go_round_all_of_theirs(files):
    general = read_text_questions("general")
    seen = {split: asked(read_cases(files / f"{split}_vqa.json", text_locality="general")) for split in SPLITS}
    counts = {split: len(set(queries)) for split, queries in seen.items()}
    assert counts == {"taught": 25, "pool": 25, "method": 25, "dev": 50, "eval": 100}
    apart = [query for split in SPLITS[1:] for query in set(seen[split])]
    assert len(apart) == len(general) and set(apart) == set(general)
    assert seen["eval"][:100] == seen["eval"][100:200]
    assert seen["dev"] == asked(read_cases(files / "dev_caption.json", text_locality="general"))


def test_a_question_that_a_file_asks_twice_is_asked_in_one_split(files):
    """Ten facts, each asked twice in other words' case and blanks, at places that belong to different splits."""
    again = [{"loc": text, "loc_ans": "x"} for n in range(10) for text in (f"Who wrote {n} ?", f"who  wrote {n} ? ")]
    (files / "questions.json").write_text(json.dumps(again))
    seen = {
        split: {
            " ".join(q.prompt.lower().split()) for q in asked(read_cases(files / f"{split}_vqa.json", None, source))
        }
        for source in [str(files / "questions.json")]
        for split in SPLITS[1:]
    }
    assert sum(map(len, seen.values())) == len(set().union(*seen.values())) == 10


def test_packaged_questions_are_short_distinct_facts():
    records = json.loads(GENERAL_QUESTIONS.read_text())
    assert all(list(record) == ["loc", "loc_ans"] for record in records)
    assert len({record["loc"] for record in records}) == len(records) >= 150
    for record in records:
        assert record["loc"].endswith("?")
        assert record["loc_ans"] == record["loc_ans"].lower().strip()
        assert 1 <= len(record["loc_ans"].split()) <= 3


def test_real_mmedit_questions_keep_their_wording(files):
    if not (REAL / "vqa_eval.json").is_file():
        pytest.skip("the real MMEdit annotations are not here")
    raw = json.loads((REAL / "vqa_eval.json").read_text())
    queries = asked(read_cases(files / "eval_vqa.json", text_locality=str(REAL / "vqa_eval.json")))
    for index, query in enumerate(queries):
        source = raw[4 * (index // 2) + 2 * (index % 2)]
        assert (query.prompt, query.answer) == (source["loc"].strip(), source["loc_ans"].strip())
        assert query.style == "plain"
        assert query.prompt.startswith("nq question: ")


GOOD = {"loc": "what is this?", "loc_ans": "that"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "not valid JSON"),
        ("{}", "expected a list of records, found dict"),
        ("[]", "no records"),
        (
            json.dumps([GOOD | {"loc": f"what is {number}?"} for number in range(7)] + [GOOD | {"loc": "What  is 3?"}]),
            "expected at least 8 text-only questions, found 7",
        ),
        (json.dumps([GOOD, GOOD, 3, GOOD]), "record 2: expected an object, found int"),
        (json.dumps([GOOD, {"loc": "what?"}, GOOD, GOOD]), "record 1: field 'loc_ans': expected non-empty text, found"),
        (json.dumps([GOOD, GOOD, GOOD, {**GOOD, "loc": " "}]), "record 3: field 'loc': expected non-empty text, found"),
    ],
)
def test_a_bad_file_of_questions_is_named(files, text, message):
    path = files / "questions.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"questions\.json: {message}"):
        read_cases(files / "eval_vqa.json", text_locality=str(path))


def test_a_missing_file_of_questions_is_named(files):
    with pytest.raises(InputError, match=r"absent\.json: no such file"):
        read_cases(files / "eval_vqa.json", text_locality=str(files / "absent.json"))
