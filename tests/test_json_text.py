"""A key that a JSON object has twice is refused, by file, record and key, wherever a user's JSON is read."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unike_lib.benchmark.dialect import Source, find_dialect
from unike_lib.benchmark.text_questions import read_text_questions
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.io import read_json
from unike_lib.json_text import RepeatedKeyError, floats_as_text, parse_json
from unike_lib.types import InputError

SAMPLES = Path(__file__).parent / "benchmark" / "formats" / "samples"
SAMPLE_FILES = sorted(file for kind in ("json", "jsonl") for file in SAMPLES.glob(f"*.{kind}"))
ONCE = "there twice; expected each key once"
TEXTS = {
    '{"src": "a", "src": "b"}': f"field 'src': {ONCE}",
    '{"src": "a", "src": "a"}': f"field 'src': {ONCE}",
    '{"a": 1, "b": 2, "\\u0061": 3}': f"field 'a': {ONCE}",
    '[{"a": 1}, {"b": {"c": [0, {"d": 1, "d": 2}]}}]': f"record 1: field 'b.c.1.d': {ONCE}",
    '[{"a": 1, "a": 1, "a": 1, "b": 1, "b": 1}]': f"record 0: field 'a': {ONCE}; record 0: field 'b': {ONCE}",
    '{"text_config": {"x": 1, "x": 2}}': f"field 'text_config.x': {ONCE}",
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(("text", "said"), TEXTS.items())
@pytest.mark.parametrize("parse", [parse_json, floats_as_text])
def test_a_key_twice_is_said_with_its_place(parse, text, said):
    with pytest.raises(RepeatedKeyError) as error:
        parse(text)
    assert str(error.value) == said


def test_the_first_twenty_are_said():
    text = "[" + ", ".join(['{"a": 1, "a": 2}'] * 25) + "]"
    with pytest.raises(RepeatedKeyError) as error:
        parse_json(text)
    assert str(error.value).count("there twice") == 20 and str(error.value).endswith("(and 5 more)")


@given(VALUES)
def test_other_json_is_what_python_reads(value):
    text = json.dumps(value)
    assert parse_json(text) == json.loads(text)
    assert floats_as_text(text) == json.loads(text, parse_float=str)


@pytest.mark.parametrize("sample", SAMPLE_FILES, ids=lambda file: file.name)
def test_every_dialect_refuses_it(tmp_path, sample):
    text = sample.read_text()
    record = json.loads(text.split("\n")[0]) if sample.suffix == ".jsonl" else json.loads(text)[0]
    key = list(record)[-1]
    path = tmp_path / sample.name
    path.write_text(text.replace("{", f'{{"{key}": "another", ', 1))
    place = "line 1" if sample.suffix == ".jsonl" else "record 0"
    with pytest.raises(InputError) as error:
        list(find_dialect(sample.stem).read(Source(path, "vqa", "eval")))
    assert str(error.value) == f"{path}: {place}: field '{key}': {ONCE}"


def test_other_files_of_a_benchmark_refuse_it(tmp_path):
    path = tmp_path / "questions.json"
    path.write_text('[{"loc": "a", "loc_ans": "b", "loc": "c"}]')
    with pytest.raises(InputError, match=rf"^{path}: record 0: field 'loc': {ONCE}$"):
        read_text_questions(str(path))
    path = tmp_path / "source.jsonl"
    path.write_text('\n{"image": "a.png", "question": "q", "answer": "a", "image": "b.png"}\n')
    with pytest.raises(InputError, match=rf"^{path}: line 2: field 'image': {ONCE}$"):
        read_triplet_source(path)
    path = tmp_path / "any.json"
    path.write_text('{"cases": [{"id": 1, "id": 2}]}')
    with pytest.raises(InputError, match=rf"^{path}: field 'cases.0.id': {ONCE}$"):
        read_json(path)
