"""The reader on MMEdit's real files, and every way in which a record can be wrong."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unike_lib.benchmark.leaks import check_leaks, find_leaks
from unike_lib.benchmark.mmedit import FIELDS, image_path, load_image, read_cases
from unike_lib.types import InputError

REAL = Path(__file__).parents[2].parent / "shared" / "mmedit"
COUNTS = {
    "vqa_train.json": 6345, "vqa_eval.json": 2093, "caption_train_edit.json": 2849, "caption_eval_edit.json": 1000,
}  # fmt: skip


def record(index=0, **changes):
    values = {field: f"{field} {index}" for field in FIELDS}
    return (
        values
        | {"pred": "", "image": f"a{index}.png", "image_rephrase": f"b{index}.png", "m_loc": "near.png"}
        | changes
    )


def write(path, records):
    path.write_text(json.dumps(records))
    return path


@pytest.mark.parametrize("name", COUNTS)
def test_real_files_load(name):
    if not (REAL / name).is_file():
        pytest.skip("the real MMEdit annotations are not here")
    cases = read_cases(REAL / name)
    raw = json.loads((REAL / name).read_text())
    assert len(cases) == COUNTS[name] == len(raw)
    for case, source in zip(cases[::97], raw[::97], strict=True):
        probes = {probe.kind: probe.query for probe in case.probes}
        assert case.request.task == ("caption" if "caption" in name else "vqa")
        assert (probes["rel"].image, probes["rel"].prompt) == (source["image"], source["src"].strip())
        assert probes["rel"].answer == probes["t_gen"].answer == probes["m_gen"].answer == source["alt"].strip()
        assert (probes["t_gen"].prompt, probes["m_gen"].image) == (source["rephrase"].strip(), source["image_rephrase"])
        assert (probes["t_loc"].image, probes["t_loc"].style) == (None, "plain")
        assert (probes["m_loc"].image, probes["m_loc"].style) == (source["m_loc"], "question")


def test_styles_follow_the_task(tmp_path):
    vqa = read_cases(write(tmp_path / "eval_vqa.json", [record(loc="what is gold ?")]))[0]
    caption = read_cases(write(tmp_path / "eval_caption.json", [record(src="a photo of", m_loc_q="a photo of")]))[0]
    assert [probe.query.style for probe in vqa.probes] == ["question"] * 5
    assert [probe.query.style for probe in caption.probes] == ["plain", "plain", "plain", "question", "plain"]


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
        read_cases(path)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_valid_or_a_named_error(tmp_path_factory, value):
    path = write(tmp_path_factory.mktemp("x") / "any.json", value)
    with pytest.raises(InputError, match=r"any\.json"):
        read_cases(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[{", "not valid JSON"), ("[]", "this split is empty"), ("{}", "expected a list"), ("[3]", "expected an object")],
)
def test_malformed_files(tmp_path, text, message):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_cases(tmp_path / "f.json")
    with pytest.raises(InputError, match="no such file"):
        read_cases(tmp_path / "absent.json")


def test_duplicate_ids_and_bad_facts(tmp_path):
    with pytest.raises(InputError, match="record 1: field 'id': 'x' is taken by record 0"):
        read_cases(write(tmp_path / "f.json", [record(id="x"), record(1, id="x")]))
    with pytest.raises(InputError, match="record 0: field 'facts'"):
        read_cases(write(tmp_path / "f.json", [record(facts=[])]))


def test_images_are_checked_before_use(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a0.png")
    (tmp_path / "b0.png").write_bytes(b"\x89PNG broken")
    assert load_image([tmp_path], "a0.png").size == (4, 4)
    for name, message in (("b0.png", "not a readable image"), ("c.png", "no such image"), ("../x.png", "leads out")):
        with pytest.raises(InputError, match=message):
            load_image([tmp_path], name)
    (tmp_path / "rephrased").mkdir()
    Image.new("RGB", (6, 6)).save(tmp_path / "rephrased" / "r.png")
    roots = [tmp_path, tmp_path / "rephrased"]
    assert load_image(roots, "r.png").size == (6, 6)
    assert image_path(roots, "absent.png") == tmp_path / "absent.png"


def split(tmp_path, name, **changes):
    return read_cases(write(tmp_path / f"{name}.json", [record(changes.pop("index"), **changes)]))


def test_leaks_of_each_kind_are_found(tmp_path):
    pool = split(tmp_path, "pool", index=0, facts=["cat/name"])
    clean = split(tmp_path, "clean", index=1, facts=["dog/name"])
    assert find_leaks({"pool": pool, "eval": clean}) == []
    check_leaks({"pool": pool, "eval": clean})
    for index, changes, found in (
        (2, {"facts": ["cat/name"]}, "fact 'cat/name'"),
        (3, {"image": "a0.png", "facts": ["x"]}, "image 'a0.png'"),
        (4, {"image_rephrase": "a0.png", "facts": ["y"]}, "image 'a0.png'"),
    ):
        with pytest.raises(InputError, match=rf"{found} is in eval \(record e-0\), pool \(record pool-0\)"):
            check_leaks({"pool": pool, "eval": split(tmp_path, "e", index=index, **changes)})


def test_a_portability_question_is_the_first_one_and_is_asked_of_the_edited_picture(tmp_path):
    ports = [
        {"port_type": "1-hop", "Q&A": {"Question": "where is it ? ", "Answer": " rome"}},
        {"port_type": "1-hop", "Q&A": {"Question": "since when ?", "Answer": "1880"}},
    ]
    with_port, without = read_cases(write(tmp_path / "f.json", [record(port_new=ports), record(1)]))
    query = with_port.query("portability")
    assert (query.image, query.prompt, query.answer, query.style) == ("a0.png", "where is it ?", "rome", "question")
    assert with_port.asks("portability") and not without.asks("portability")
    for bad in ("x", [3], [{"port_type": "1-hop"}], [{"port_type": "1-hop", "Q&A": {"Question": "a", "Answer": " "}}]):
        with pytest.raises(InputError, match=r"f\.json: record 0: field 'port_new'"):
            read_cases(write(tmp_path / "f.json", [record(port_new=bad)]))
