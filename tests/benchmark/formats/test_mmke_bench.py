"""MMKE-Bench's files: descriptions as edits, short answers apart, two spellings of keys; by its own reader."""

import json
from pathlib import Path

import pytest
from mmedit_records import read, record, write

from unike_lib.types import InputError

SAMPLE = Path(__file__).parent / "samples" / "mmke-bench.json"
MADE_UP = Path(__file__).parents[3].parent / "shared" / "formats" / "mmke-bench"
COUNCIL, BREAD, GOAL = "the council of Lindow", "bakes bread", "the goal counts"
TERRIER = "a brown terrier called Pim"
HOP = {"port_type": "1-hop", "Q&A": {"Question": "whose ?", "Answer": "ours"}}


def asked(case):
    return {probe.kind: (probe.query.image, probe.query.prompt, probe.query.answer) for probe in case.probes[5:]}


def entity(number=0, **changes):
    pairs = {f"{m}rel_{n}": f"q {m}{n}" for m in ("", "m_") for n in (1, 2)}
    answers = {f"{m}rel_ans_{n}": f"a {m}{n}" for m in ("", "m_") for n in (1, 2)}
    return record(number, knowledge_type="entity_level") | pairs | answers | changes


def test_the_edit_is_the_description_and_probes_have_short_answers():
    """By hand, from the file: an entity, one without portability, visual knowledge, and both spellings in one."""
    first, bare, visual, user = read(SAMPLE, dialect="mmke-bench")
    assert first.request.target.startswith("This is the Alder Cup. The records were corrected: ")
    assert {first.query(kind).answer for kind in ("rel", "t_gen", "m_gen")} == {first.request.target}
    subject = "of the subject in the picture?"
    assert asked(first) == {
        "text_rel": (None, "What is the corrected record of the Alder Cup?", "2011"),
        "text_rel_2": (None, "Who holds the Alder Cup?", COUNCIL),
        "m_rel": ("entity/0/a.jpg", f"What is the corrected record {subject}", "2011"),
        "m_rel_2": ("entity/0/a.jpg", "Who holds the subject in the picture?", COUNCIL),
        "m_rel_gen": ("entity/0/b.jpg", f"What is the corrected record {subject}", "2011"),
        "m_rel_gen_2": ("entity/0/b.jpg", "Who holds the subject in the picture?", COUNCIL),
        "portability": (
            "entity/0/a.jpg",
            "In which county is the council that holds the subject in the picture?",
            "Westmark",
        ),
    }
    assert not bare.asks("portability") and bare.query("text_rel").answer == "in October"  # rel_1_ans
    assert asked(visual) == {
        "text_rel": (None, "In quell, what does raising one flat palm mean?", GOAL),
        "m_rel": ("visual/0/a.jpg", "What does the sign in the picture mean?", GOAL),
        "m_rel_gen": ("visual/0/b.jpg", "What does this umpire signal?", GOAL),
        "portability": ("visual/0/hop.jpg", "To whom is the sign in the picture shown?", "the scorer"),
    }
    answers = {kind: answer for kind, (_, _, answer) in asked(user).items()}
    assert answers == {
        "text_rel": TERRIER, "text_rel_2": BREAD, "m_rel": TERRIER, "m_rel_2": BREAD,
        "m_rel_gen": TERRIER, "m_rel_gen_2": BREAD, "portability": "Noor",
    }  # fmt: skip
    assert user.query("portability").image == "user/0/hop.jpg"


@pytest.mark.parametrize("name", ["entity", "visual", "user"])
def test_each_file_of_its_layout_loads(name):
    if not MADE_UP.is_dir():
        pytest.skip("the made-up records are not here")
    path = MADE_UP / f"{name}.eval.made-up.json"
    cases, raw = read(path, dialect="mmke-bench"), json.loads(path.read_text())
    assert len(cases) == 4
    for case, source in zip(cases, raw, strict=True):
        short = {value for key, value in source.items() if "rel" in key and "ans" in key}
        assert {answer for kind, (_, _, answer) in asked(case).items() if kind != "portability"} == short
        assert case.asks("portability") == ("port_new" in source)


def test_of_two_spellings_the_first_counts_and_what_is_not_there_is_not_asked(tmp_path):
    some = record(1, knowledge_type="user_specific", rel_2="what ?", rel_2_ans=" this ")
    path = write(tmp_path / "f.json", [entity(rel_1_ans="other"), some])
    first, second = read(path, dialect="mmke-bench")
    assert first.query("text_rel").answer == "a 1"
    assert asked(second) == {"text_rel_2": (None, "what ?", "this")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"knowledge_type": "facts"}, "'knowledge_type': expected entity_level or visual_knowledge or user_specific"),
        ({"knowledge_type": ["entity_level"]}, "'knowledge_type': expected entity_level or"),
        ({"rel_ans_2": " "}, "'rel_ans_2': expected non-empty text, found ' '"),
        ({"m_rel_1": 3}, "'m_rel_1': expected non-empty text, found 3"),
        ({"knowledge_type": "visual_knowledge", "rel": "a"}, "'rel_ans': expected non-empty text, found nothing"),
        ({"knowledge_type": "visual_knowledge", "m_rel_ans": "a"}, "'m_rel': expected non-empty text, found nothing"),
        (
            {"knowledge_type": "user_specific", "port_new": [HOP]},
            "'one_hop_img': expected non-empty text, found nothing",
        ),
        ({"port_new": [HOP | {"port_type": "comp"}]}, "'port_new': entry 0: expected port_type 1-hop or"),
        ({"image_rephrase": None}, "'image_rephrase': expected non-empty text, found None"),
    ],
)
def test_what_is_wrong_is_named_by_record_and_field(tmp_path, changes, message):
    path = write(tmp_path / "f.json", [entity(), entity(1, **changes)])
    with pytest.raises(InputError, match=rf"f\.json: record 1: field {message}"):
        read(path, dialect="mmke-bench")


def test_an_answer_in_neither_spelling_is_named(tmp_path):
    first = entity()
    del first["m_rel_ans_1"]
    with pytest.raises(InputError, match=r"record 0: field 'm_rel_ans_1': expected non-empty text, found nothing$"):
        read(write(tmp_path / "f.json", [first]), dialect="mmke-bench")


def test_all_problems_are_listed(tmp_path):
    wrong = [entity(number, m_rel_1="", rel_ans_1=None) for number in range(11)]
    with pytest.raises(InputError) as error:
        read(write(tmp_path / "f.json", wrong), dialect="mmke-bench")
    assert str(error.value).count("record ") == 20 and str(error.value).endswith("(and 2 more)")
