"""The reader on MMEdit's real files, and every way in which a record can be wrong."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedit_records import FIELDS, read, record, write

from unike_lib.types import InputError

REAL = Path(__file__).parents[3].parent / "shared" / "mmedit"
COUNTS = {
    "vqa_train.json": 6345, "vqa_eval.json": 2093, "caption_train_edit.json": 2849, "caption_eval_edit.json": 1000,
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_real_files_load(name):
    if not (REAL / name).is_file():
        pytest.skip("the real MMEdit annotations are not here")
    task = "caption" if "caption" in name else "vqa"
    cases = read(REAL / name, task)
    raw = json.loads((REAL / name).read_text())
    assert len(cases) == COUNTS[name] == len(raw)
    for case, source in zip(cases[::97], raw[::97], strict=True):
        probes = {probe.kind: probe.query for probe in case.probes}
        assert case.request.task == task and not case.request.id
        assert (probes["rel"].image, probes["rel"].prompt) == (source["image"], source["src"].strip())
        assert probes["rel"].answer == probes["t_gen"].answer == probes["m_gen"].answer == source["alt"].strip()
        assert (probes["t_gen"].prompt, probes["m_gen"].image) == (source["rephrase"].strip(), source["image_rephrase"])
        assert (probes["t_loc"].image, probes["t_loc"].style) == (None, "plain")
        assert (probes["m_loc"].image, probes["m_loc"].style) == (source["m_loc"], "question")


def test_styles_follow_the_task(tmp_path):
    vqa = read(write(tmp_path / "f.json", [record(loc="what is gold ?")]))[0]
    caption = read(write(tmp_path / "f.json", [record(src="a photo of", m_loc_q="a photo of")]), "caption")[0]
    assert [probe.query.style for probe in vqa.probes] == ["question"] * 5
    assert [probe.query.style for probe in caption.probes] == ["plain", "plain", "plain", "question", "plain"]
    asked = read(write(tmp_path / "f.json", [record(src="a photo of", loc="NQ Question: who ?")]), "caption")[0]
    assert [probe.query.style for probe in asked.probes] == ["plain", "plain", "plain", "plain", "question"]


def test_blanks_around_texts_are_dropped_and_a_fact_is_a_question_about_a_picture(tmp_path):
    one, other = read(
        write(tmp_path / "f.json", [record(src=" what ? ", alt="owl\n"), record(1, src="what ?", id="x")])
    )
    assert (one.request.prompt, one.request.target) == ("what ?", "owl") and (one.request.id, other.request.id) == (
        "",
        "x",
    )
    assert one.facts == ("a0.png what ?",) and other.facts == ("a1.png what ?",)
    assert read(write(tmp_path / "f.json", [record(facts=["a", "b"])]))[0].facts == ("a", "b")


def test_lines_of_jsonl_are_records_and_are_named_by_their_number(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(f"\n{json.dumps(record())}\n  \n{json.dumps(record(1))}\n")
    assert [case.request.image for case in read(path)] == ["a0.png", "a1.png"]
    path.write_text(path.read_text() + "{")
    with pytest.raises(InputError, match=r"f\.jsonl: line 5: not valid JSON"):
        read(path)


def test_the_first_twenty_problems_of_a_file_are_named_and_the_others_counted(tmp_path):
    with pytest.raises(InputError, match=r"record 19: [^;]* \(and 3 more\)$") as caught:
        read(write(tmp_path / "f.json", [record(alt=3)] * 23))
    assert str(caught.value).count("; ") == 19


@settings(max_examples=60, deadline=None)
@given(
    field=st.sampled_from(FIELDS),
    bad=st.one_of(st.none(), st.just(""), st.just("  "), st.integers(), st.lists(st.text()), st.just(...)),
    index=st.integers(0, 3),
)
def test_any_spoiled_field_is_named_with_file_and_record(tmp_path_factory, field, bad, index):
    records = [record(i) for i in range(4)]
    if bad is ...:
        del records[index][field]
    else:
        records[index][field] = bad
    path = write(tmp_path_factory.mktemp("x") / "eval_vqa.json", records)
    with pytest.raises(InputError, match=rf"eval_vqa.json: record {index}: field '{field}'"):
        read(path)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_valid_or_a_named_error(tmp_path_factory, value):
    path = write(tmp_path_factory.mktemp("x") / "any.json", value)
    with pytest.raises(InputError, match=r"any\.json"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[{", "not valid JSON"), ("[]", "this split is empty"), ("{}", "expected a list"), ("[3]", "expected an object")],
)
def test_malformed_files(tmp_path, text, message):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "f.json")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "absent.json")


def test_bad_ids_and_facts(tmp_path):
    with pytest.raises(InputError, match="record 0: field 'id': expected non-empty text, found 3"):
        read(write(tmp_path / "f.json", [record(id=3)]))
    with pytest.raises(InputError, match="record 0: field 'facts'"):
        read(write(tmp_path / "f.json", [record(facts=[])]))


def test_portability_questions_are_the_first_of_their_hops_and_are_asked_of_the_edited_picture(tmp_path):
    ports = [
        {"port_type": "2-hop", "Q&A": {"Question": "who rules there ?", "Answer": "nobody"}},
        {"port_type": "1-hop", "Q&A": {"Question": "where is it ? ", "Answer": " rome"}},
        {"port_type": "1-hop", "Q&A": {"Question": "since when ?", "Answer": "1880"}},
    ]
    with_port, without = read(write(tmp_path / "f.json", [record(port_new=ports), record(1)]))
    query = with_port.query("portability")
    assert (query.image, query.prompt, query.answer, query.style) == ("a0.png", "where is it ?", "rome", "question")
    assert with_port.asks("portability") and not without.asks("portability")
    farther = with_port.query("portability_2")
    assert (farther.image, farther.prompt, farther.answer) == ("a0.png", "who rules there ?", "nobody")
    assert [probe.kind for probe in with_port.probes[5:]] == ["portability", "portability_2"]
    others = [{"port_type": "comp", "Q&A": {"Question": "a", "Answer": "b"}}]
    assert len(read(write(tmp_path / "f.json", [record(port_new=others)]))[0].probes) == 5
    for bad in ("x", [3], [{"port_type": "1-hop"}], [{"port_type": "1-hop", "Q&A": {"Question": "a", "Answer": " "}}]):
        with pytest.raises(InputError, match=r"f\.json: record 0: field 'port_new'"):
            read(write(tmp_path / "f.json", [record(port_new=bad)]))


@pytest.mark.parametrize("dialect", ["mmedit", "vlkeb", "vlkeb_onehop"])
def test_aliases_are_of_the_probes_whose_answer_is_the_edits(tmp_path, dialect):
    path = write(tmp_path / "f.json", [record(aliases=[" hound", "a dog"]), record(1), record(2, aliases=[])])
    first, *others = read(path, dialect=dialect)
    own = ("hound", "a dog")
    assert [probe.aliases for probe in first.probes] == [own, own, own, (), ()]
    assert {probe.aliases for case in others for probe in case.probes} == {()}
    for bad in ("hound", [""], [3], None):
        with pytest.raises(InputError, match=r"f\.json: record 1: field 'aliases': expected a list of non-empty texts"):
            read(write(path, [record(), record(1, aliases=bad)]), dialect=dialect)
