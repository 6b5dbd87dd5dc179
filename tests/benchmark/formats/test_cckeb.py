"""CCKEB's files: a picture's edit, a text edit on top of it, and what takes both; by MemEIC's own reader."""

import json
from pathlib import Path

import pytest
from mmedit_records import read, record, write

from unike_lib.benchmark.user_files import read_user_file
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.types import InputError

SAMPLE = Path(__file__).parent / "samples" / "cckeb.json"
REAL = Path(__file__).parents[3].parent / "shared" / "formats" / "cckeb"
FIVE = ["rel", "t_gen", "m_gen", "t_loc", "m_loc"]


def comp(kind="comp", question=" which both ? ", answer="both."):
    return {"port_type": kind, "Q&A": {"Question": question, "Answer": answer, "Query": "Image Level: ..."}}


def text_edit(**changes):
    edit = {"src": " where ? ", "pred": ["x"], "alt": ["Rome", " Italy"], "rephrase": "in which place ?"}
    return edit | {"loc": "loc 0", "loc_ans": "loc_ans 0"} | changes


def two_edits(number=0, **changes):
    return record(number, textual_edit=text_edit(), port_new=[comp()]) | changes


def asked(case):
    return [(probe.kind, probe.query.image, probe.query.prompt, probe.query.answer) for probe in case.probes[5:]]


def test_a_real_record_is_two_edits_and_a_question_that_takes_both():
    """By hand, from the file: `alt` is joined with blanks, as MemEIC's reader does."""
    first, _, several = read(SAMPLE, dialect="cckeb")
    picture = "m.010bxh/bing_0.jpg"
    assert (first.request.image, first.request.target) == (picture, "Fort Smith, Arkansas")
    (second,) = first.then
    question, answer = "What time zone is Fort Smith, Arkansas in?", "Eastern Time Zone"
    assert (second.image, second.task, second.prompt, second.target) == (None, "vqa", question, answer)
    assert asked(first) == [
        ("comp", picture, "What is the time zone of the location shown in the picture?", answer),
        ("text_rel", None, question, answer),
        ("text_gen", None, "In which time zone is Fort Smith, Arkansas located?", answer),
    ]
    assert first.facts == ("what city is featured in the image? fort smith, arkansas", question)
    assert several.then[0].target == several.query("comp").answer == "Baltimore Maryland"
    assert {probe.aim for probe in several.probes[5:]} == {"become"}


@pytest.mark.parametrize("name", ["CCKEB_eval.first40.json", "CCKEB_eval.long_lists.json"])
def test_the_real_excerpts_load(name):
    if not REAL.is_dir():
        pytest.skip("the excerpts of CCKEB are not here")
    cases, raw = read(REAL / name, dialect="cckeb"), json.loads((REAL / name).read_text())
    assert len(cases) == len(raw) == 40
    for case, source in zip(cases, raw, strict=True):
        target = " ".join(source["textual_edit"]["alt"])
        assert case.then[0].target == target == case.query("comp").answer == case.query("text_rel").answer
        assert case.query("comp").prompt == source["port_new"][0]["Q&A"]["Question"]
        assert not case.asks("text_loc")  # the record's own
    config = BenchmarkConfig(
        annotations=str(REAL), images="x", format="cckeb", files={"vqa": {"train": name, "eval": name}, "caption": None}
    )
    assert len(read_user_file("vqa", "eval", config).cases) == 40


def test_what_the_reader_takes_and_the_released_file_never_has(tmp_path):
    """Targets as text, hops beside "comp", probes of the text edit's own; and what is not there is not asked."""
    own = text_edit(alt=" Rome ", loc="who ?", loc_ans="nobody", port_new=[comp("1-hop", "whose ?", "ours")])
    hops = [comp("2-hop", "q2", "a2"), comp(), comp("comp", "again ?"), comp("1-hop", "q1", "a1")]
    bare = {"src": "where ?", "alt": "Rome"}
    path = write(tmp_path / "f.json", [two_edits(textual_edit=own, port_new=hops), two_edits(1, textual_edit=bare)])
    full, small = read(path, dialect="cckeb")
    assert full.then[0].target == "Rome" and full.probe("text_loc").aim == "stay"
    assert asked(full) == [
        ("comp", "a0.png", "which both ?", "both."),
        ("portability", "a0.png", "q1", "a1"),
        ("portability_2", "a0.png", "q2", "a2"),
        ("text_rel", None, "where ?", "Rome"),
        ("text_gen", None, "in which place ?", "Rome"),
        ("text_loc", None, "who ?", "nobody"),
        ("text_port", None, "whose ?", "ours"),
    ]
    assert [kind for kind, *_ in asked(small)] == ["comp", "text_rel"]
    plain, told = read(write(path, [record(), two_edits(1, facts=["mine"])]), dialect="cckeb")
    assert (plain.then, [each.kind for each in plain.probes]) == ((), FIVE)
    assert told.facts == ("mine",) and told.then


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"textual_edit": 3}, "'textual_edit': expected an object, found 3"),
        ({"textual_edit": text_edit(alt=[])}, r"'textual_edit\.alt': expected non-empty text, found \[\]"),
        (
            {"textual_edit": text_edit(alt=["a", " "])},
            r"'textual_edit\.alt': expected non-empty text, found \['a', ' '",
        ),
        ({"textual_edit": text_edit(src=" ")}, r"'textual_edit\.src': expected"),
        ({"textual_edit": text_edit(rephrase=None)}, r"'textual_edit\.rephrase': expected"),
        ({"textual_edit": {"src": "a", "alt": "b", "loc": "c"}}, r"'textual_edit\.loc_ans': expected .* found nothing"),
        ({"textual_edit": text_edit(port_new=[3])}, r"'textual_edit\.port_new': entry 0: expected"),
        ({"port_new": [comp("five")]}, "'port_new': entry 0: expected port_type comp or 1-hop or"),
    ],
)
def test_what_is_wrong_is_named_by_record_and_field(tmp_path, changes, message):
    path = write(tmp_path / "f.json", [two_edits(), two_edits(1, **changes)])
    with pytest.raises(InputError, match=rf"f\.json: record 1: field {message}"):
        read(path, dialect="cckeb")


def test_a_question_for_both_edits_needs_both_and_all_problems_are_listed(tmp_path):
    alone = [record(number, port_new=[comp()]) for number in range(22)]
    alone[3] |= {"src": 3}
    with pytest.raises(InputError, match=r"record 0: field 'textual_edit': expected an object, as port_new") as error:
        read(write(tmp_path / "f.json", alone), dialect="cckeb")
    assert str(error.value).count("record ") == 20 and str(error.value).endswith("(and 3 more)")
    assert "record 3: field 'src'" in str(error.value)
