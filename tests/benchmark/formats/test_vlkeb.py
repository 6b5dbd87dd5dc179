"""VLKEB's files: MMEdit's keys with questions of one to four hops, and no others."""

import pytest
from mmedit_records import read, record, write

from unike_lib.types import InputError


def port(hops, kind=None):
    return {"port_type": kind or f"{hops}-hop", "Q&A": {"Question": f"q{hops}", "Answer": f"a{hops}"}}


def test_the_question_of_the_wanted_hops_is_asked_about_the_edited_picture(tmp_path):
    path = write(tmp_path / "eval_multihop.json", [record(port_new=[port(hops) for hops in (1, 2, 3, 4)]), record(1)])
    for hops in (1, 2, 3, 4):
        first, second = read(path, dialect="vlkeb", hops=hops)
        query = first.query("portability")
        assert (query.image, query.prompt, query.answer) == ("a0.png", f"q{hops}", f"a{hops}")
        assert not second.asks("portability")
        assert [first.probes[:5], second] == [read(path)[0].probes[:5], read(path)[1]]


@pytest.mark.parametrize("entry", [port(1, "comp"), {"port_q": "a", "port_a": "b"}])
def test_questions_of_other_files_are_refused_by_name(tmp_path, entry):
    path = write(tmp_path / "f.json", [record(), record(1, port_new=[port(1), entry])])
    message = r"f\.json: record 1: field 'port_new': entry 1: expected port_type 1-hop or 2-hop or 3-hop or 4-hop, and"
    with pytest.raises(InputError, match=message):
        read(path, dialect="vlkeb")
