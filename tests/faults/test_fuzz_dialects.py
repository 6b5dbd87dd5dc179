"""Spoiled files of every dialect that is found: whole cases, or one error that names the file; nothing half-written.

A dialect's records are those of `tests/benchmark/formats/samples`; the files of others have MMEdit's keys.
"""

import copy
import json
import random
import re
from pathlib import Path

import pytest
from mmedit_records import record

from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.benchmark.missing import images_of_case
from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.benchmark.user_files import numbered, read_user_file
from unike_lib.config.benchmark import FORMATS, BenchmarkConfig
from unike_lib.registry import find_entries
from unike_lib.types import InputError

SAMPLES = Path(__file__).parents[1] / "benchmark" / "formats" / "samples"
VALUES = (None, True, 0, 1e308, "", " ", "\ud800", "a\nb", "\0", "../../x", "1-hop", "comp", "visual_knowledge")
VALUES = (*VALUES, [], {}, [None], ["a", ""], [{}], {"a": 1}, [[]], "a text", ["a", "b"])


def places(value, path=()):
    """Return the path of every value within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, each in items for inner in places(each, (*path, key)))]


def spoiled(draw, records):
    """Return records of which one to three values are gone, something else, or another's."""
    records = copy.deepcopy(records)
    for _ in range(draw.randint(1, 3)):
        *before, last = draw.choice(places(records)[1:] or [(0,)])
        holder = records
        for key in before:
            holder = holder[key]
        if not holder:
            return records
        if draw.random() < 0.25:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(draw.choice([*VALUES, records[0]]))
    return records


def damaged(draw, text):
    """Return a file's bytes with some of them changed, or cut off."""
    content = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw.randint(1, 4)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content[: draw.choice([len(content), draw.randrange(len(content))])])


def written(records, lines, ascii_only):
    """Return records as JSON, or as JSONL."""
    return "\n".join(json.dumps(each, ensure_ascii=ascii_only) for each in (records if lines else [records]))


@pytest.mark.parametrize("count", [pytest.param(30), pytest.param(3000, marks=pytest.mark.fuzz)])
@pytest.mark.parametrize("dialect", find_entries(*FORMATS))
def test_spoiled_files_are_read_or_refused(tmp_path, dialect, count):
    sample = next(
        (SAMPLES / f"{dialect}.{kind}" for kind in ("jsonl", "json") if (SAMPLES / f"{dialect}.{kind}").exists()), None
    )
    lines = sample is not None and sample.suffix == ".jsonl"
    whole = [record(number) for number in range(3)]
    if sample is not None:
        whole = list(map(json.loads, sample.read_text().splitlines())) if lines else json.loads(sample.read_text())
    name, draw, kept = "eval.jsonl" if lines else "eval.json", random.Random(dialect), 0
    files = {"vqa": {"train": name, "eval": name}, "caption": None}
    config = BenchmarkConfig(annotations=str(tmp_path), images=str(tmp_path), format=dialect, files=files)
    for number in range(count):
        text = written(spoiled(draw, whole) if number else whole, lines, draw.random() < 0.5)
        content = damaged(draw, text) if draw.random() < 0.2 else text.encode("utf-8", "surrogatepass")
        (tmp_path / name).write_bytes(content if number else text.encode())
        kept += read_or_refused(tmp_path, name, config)
    assert kept or sample is None


def read_or_refused(folder, name, config):
    """Return whether a file is read; assert that it is whole then, or refused by one line with at most 20 problems."""
    out = folder / "out"
    with pytest.raises(InputError) as error:  # no picture is there, and too few records for every split
        prepare_user_benchmark(out, config, seed=0)
    assert len(str(error.value).splitlines()) == 1 and not out.exists()
    try:
        file = read_user_file("vqa", "eval", config)
    except InputError as error:
        assert name in str(error) and len(str(error).splitlines()) == 1, repr(str(error))
        assert len(re.findall(rf"{re.escape(name)}: record \d+: ", str(error))) <= 20
        return False
    cases = [numbered(case, "x", number) for number, case in enumerate(file.cases)]
    write_cases(folder / "cases.json", "eval", "vqa", cases)
    assert read_cases(folder / "cases.json") == cases
    for case in cases:
        try:
            images_of_case(case, name, config, file.pictures)
        except InputError as error:
            assert name in str(error)
    return True


@pytest.mark.parametrize("dialect", find_entries(*FORMATS))
def test_all_problems_of_a_file_are_listed_at_once(tmp_path, dialect):
    """Of records that are texts, each is named; of a dialect in another form, the file is."""
    (tmp_path / "eval.json").write_text(json.dumps(["text"] * 25))
    files = {"vqa": {"train": "eval.json", "eval": "eval.json"}, "caption": None}
    config = BenchmarkConfig(annotations=str(tmp_path), images=str(tmp_path), format=dialect, files=files)
    with pytest.raises(InputError, match=r"eval\.json") as error:
        read_user_file("vqa", "eval", config)
    if (SAMPLES / f"{dialect}.json").is_file():
        assert str(error.value).count(": record ") == 20 and "(and 5 more)" in str(error.value)


def test_picture_names_that_lead_out_are_all_listed_by_file_record_and_field(tmp_path):
    records = [record(number, image_rephrase="../out.png", m_loc=".") for number in range(25)]
    (tmp_path / "eval.json").write_text(json.dumps(records))
    files = {"vqa": {"train": "eval.json", "eval": "eval.json"}, "caption": None}
    config = BenchmarkConfig(annotations=str(tmp_path), images=str(tmp_path), files=files)
    with pytest.raises(InputError) as error:
        prepare_user_benchmark(tmp_path / "out", config, seed=0)
    field = r"eval\.json \(vqa, \w+\): record eval-\d+: field 'image_rephrase': image '\.\./out\.png': leads out"
    assert len(re.findall(field, str(error.value))) == 20 and str(error.value).endswith(" (and 30 more)")
