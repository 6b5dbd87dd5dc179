"""VLKEB's files: MMEdit's keys with questions of one to four hops, and no others."""

from dataclasses import replace

import pytest
from mmedit_records import read, record, write

from unike_lib.types import InputError


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
