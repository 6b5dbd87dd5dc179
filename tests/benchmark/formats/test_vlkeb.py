"""VLKEB's files: MMEdit's keys with questions of one to four hops, and no others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mmedit_records import read, record, write

from unike_lib.types import InputError

SAMPLE = Path(__file__).parent / "samples" / "vlkeb.json"
REAL = Path(__file__).parents[3].parent / "shared" / "formats" / "vlkeb"
FILES = {
    "vlkeb": [f"{part}.{some}.json" for part in ("train", "eval") for some in ("first40", "shared_rephrase")],
    "vlkeb_onehop": [f"eval_edit_onehop.{some}.json" for some in ("first40", "shared_rephrase")],
}


def port(hops, kind=None):
    return {"port_type": kind or f"{hops}-hop", "Q&A": {"Question": f"q{hops}", "Answer": f"a{hops}"}}


def test_questions_of_all_hops_are_asked_about_the_edited_picture(tmp_path):
    ports = [port(hops) for hops in (3, 1, 2, 4, 1)]
    path = write(tmp_path / "eval_multihop.json", [record(port_new=ports), record(1), record(2, port_new=[port(4)])])
    first, second, third = read(path, dialect="vlkeb")
    asked = [(probe.kind, probe.query.image, probe.query.prompt, probe.query.answer) for probe in first.probes[5:]]
    assert asked == [
        ("portability", "a0.png", "q1", "a1"),
        ("portability_2", "a0.png", "q2", "a2"),
        ("portability_3", "a0.png", "q3", "a3"),
        ("portability_4", "a0.png", "q4", "a4"),
    ]
    assert len(second.probes) == 5 and [probe.kind for probe in third.probes[5:]] == ["portability_4"]
    assert (first.facts, third.facts) == (("src 0 alt 0",), ("src 2 alt 2",))  # whatever picture shows it
    assert [replace(each, facts=()) for each in (first, second, third)] == [replace(e, facts=()) for e in read(path)]


@pytest.mark.parametrize("entry", [port(1, "comp"), {"port_q": "a", "port_a": "b"}])
def test_questions_of_other_files_are_refused_by_name(tmp_path, entry):
    path = write(tmp_path / "f.json", [record(), record(1, port_new=[port(1), entry])])
    message = r"f\.json: record 1: field 'port_new': entry 1: expected port_type 1-hop or 2-hop or 3-hop or 4-hop, and"
    with pytest.raises(InputError, match=message):
        read(path, dialect="vlkeb")


def test_one_step_and_all_hops_stand_in_one_run():
    """A real record of `eval.json`, and two in the layout of `eval_multihop.json`, four hops and two."""
    plain, four, two = read(SAMPLE, dialect="vlkeb")
    assert (plain.request.image, plain.request.target) == ("m.010bnr/google_13.jpg", "Kankakee")
    assert (plain.query("m_gen").image, plain.query("t_loc").answer) == ("m.010bnr/yahoo_4.jpg", "September 1, 2008")
    answers = [[(probe.kind, probe.query.answer) for probe in case.probes[5:]] for case in (plain, four, two)]
    hops = ["portability", *(f"portability_{hop}" for hop in (2, 3, 4))]
    assert answers[0] == [] and answers[2] == [("portability", "crane flies"), ("portability_2", "Diptera")]
    assert answers[1] == list(zip(hops, ("Westmark", "Arden", "Ouse Water", "Sleet Sea"), strict=True))
    assert {probe.query.image for probe in four.probes[5:]} == {"m.0made1/google_1.jpg"}


@pytest.mark.parametrize(("dialect", "name"), [(dialect, name) for dialect in FILES for name in FILES[dialect]])
def test_the_real_excerpts_load(dialect, name):
    if not REAL.is_dir():
        pytest.skip("the excerpts of VLKEB are not here")
    cases, raw = read(REAL / name, dialect=dialect), json.loads((REAL / name).read_text())
    assert len(cases) == len(raw) == 40
    for case, source in zip(cases, raw, strict=True):
        assert case.query("rel").prompt == source["src"] and case.query("t_gen").prompt == source["rephrase"]
        assert case.request.target == source["alt"] and case.query("m_loc").image == source["m_loc"]
        assert len(case.then) == len(case.probes[5:]) == (dialect == "vlkeb_onehop")
