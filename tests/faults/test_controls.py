"""Control characters of a user's files and of a model's answers: refused by record and field, or shown as U+FFFD."""

import copy
import csv
import json
import re
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmedit_records import record
from PIL import Image
from test_fuzz_joined import FILES

from unike_lib.benchmark.missing import images_of_case
from unike_lib.benchmark.text_questions import read_text_questions
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.benchmark.user_files import read_user_file
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.front.one_edit import Line, as_text
from unike_lib.front.questions import Answer as Said
from unike_lib.front.questions import query_of, request_of
from unike_lib.io import write_csv, write_text
from unike_lib.reporting.qualitative import Answer, Asked, Example, write_qualitative_page
from unike_lib.types import EditRequest, InputError, Query

SAMPLES = Path(__file__).parents[1] / "benchmark" / "formats" / "samples"
HIDDEN = {"\0": "U+0000", "\x1c": "U+001C", "\x1b": "U+001B", "\x7f": "U+007F", "\x9b": "U+009B", "\ud800": "U+D800"}
PLAIN = {"image": "a.png", "question": "what?", "answer": "owl", "rephrase": ["which?", "who?"], "alias": "bird"}
PLAIN |= {"id": "one", "facts": "f", "neighbour": "where?", "neighbour_answer": "here"}
PLAIN |= {"neighbour_image": "b.png", "image_shows": "an owl"}
ALL = {
    **{file.stem: {file.name: file} for file in sorted(SAMPLES.glob("*.json*"))},
    **{name: {file: records for file, records in files.items() if isinstance(records, list)}
       for name, files in FILES.items()},
    "mmedit": {"eval.json": [record(0, id="a", facts=["f"], aliases=["g"])]},
    "plain": {"eval.jsonl": [PLAIN]},
}  # fmt: skip


def records_of(content):
    if isinstance(content, list):
        return content
    text = content.read_text()
    return list(map(json.loads, text.splitlines())) if content.suffix == ".jsonl" else json.loads(text)


def texts_in(value, path=()):
    """Return the path of every text within a value."""
    if isinstance(value, str):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [inner for key, each in items for inner in texts_in(each, (*path, key))]


def changed(records, path, change):
    """Return records of which one text is changed."""
    records = copy.deepcopy(records)
    holder = records
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = change(holder[path[-1]])
    return records


def written(folder, name, records):
    lines = records if name.endswith(".jsonl") else [records]
    (folder / name).write_text("\n".join(map(json.dumps, lines)))


def strings(value):
    if isinstance(value, str):
        return [value]
    return [text for each in value for text in strings(each)] if isinstance(value, tuple | list) else []


def read(folder, name, dialect):
    files = {"vqa": {"train": name, "eval": name}, "caption": None}
    config = BenchmarkConfig(annotations=str(folder), images=str(folder / "pictures"), format=dialect, files=files)
    return read_user_file("vqa", "eval", config), config


@pytest.mark.parametrize("dialect", ALL)
def test_no_text_of_a_dialect_brings_a_control_character_in(tmp_path, dialect):
    """It is refused by file, record and character, wherever it stands; or it stands where nothing is read."""
    files = {name: records_of(content) for name, content in ALL[dialect].items()}
    main, refused = next(iter(files)), set()
    for name, records in files.items():
        written(tmp_path, name, records)
    read(tmp_path, main, dialect)
    for name, records in files.items():
        for number, path in enumerate(texts_in(records[:1])):
            char = list(HIDDEN)[number % len(HIDDEN)]
            written(tmp_path, name, changed(records, path, lambda text, char=char: f"{text[:1]}{char}{text[1:]}"))
            try:
                cases = read(tmp_path, main, dialect)[0].cases
            except InputError as error:
                refused.add(path[1])
                assert "record 0" in str(error) and len(str(error).splitlines()) == 1
                if HIDDEN[char] not in str(error):  # where a text must be one of a few words, or name another record
                    assert re.search("expected (one of|the pid|.* or )", str(error)), str(error)
            else:
                assert not any(char in text for case in cases for text in strings(astuple(case)))
        written(tmp_path, name, records)
    assert len(refused) > 2


def test_tabs_and_ends_of_lines_are_no_control_characters(tmp_path):
    written(tmp_path, "eval.json", [record(0, src="a\tb\nc\r\nd\x85e")])
    (case,) = read(tmp_path, "eval.json", "mmedit")[0].cases
    assert case.request.prompt == "a\tb\nc\r\nd\x85e"


def test_the_message_names_file_record_field_and_character(tmp_path):
    written(tmp_path, "eval.json", [record(0), record(1, alt="ow\x1bl")])
    with pytest.raises(InputError) as error:
        read(tmp_path, "eval.json", "mmedit")
    said = "record 1: field 'alt': expected text without U+001B, a control character, found 'ow\\x1bl'"
    assert str(error.value) == f"{tmp_path / 'eval.json'}: {said}"
    written(tmp_path, "eval.json", [record(0, src="ow\udc00l")])
    with pytest.raises(
        InputError, match=r"field 'src': expected text without U\+DC00, half of a surrogate pair, found"
    ):
        read(tmp_path, "eval.json", "mmedit")


@pytest.mark.parametrize("char", list(HIDDEN)[:5])
def test_rows_that_are_no_json_refuse_them(tmp_path, char):
    """CSV and Parquet hold them bare."""
    (tmp_path / "eval.csv").write_text(f"image,question,answer\na.png,what?,ow{char}l\n", newline="")
    with pytest.raises(InputError, match=re.escape(f"field 'answer': expected text without {HIDDEN[char]}, a control")):
        read(tmp_path, "eval.csv", "plain")
    rows = [{"image": "a.png", "question": f"wh{char}at?", "answer": "owl"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "eval.parquet")
    with pytest.raises(InputError, match=re.escape(f"'question': expected text without {HIDDEN[char]}, a control")):
        read(tmp_path, "eval.parquet", "datasets")


def test_a_text_of_a_list_is_refused_and_not_left_out(tmp_path):
    """A blank entry is left out; one that somebody wrote is not."""
    for name, records in FILES["mc-mke"].items():
        written(tmp_path, name, records)
    main, records = next(iter(FILES["mc-mke"].items()))
    for entry, good in ((" ", True), ("Dor\x1bnia", False)):
        written(tmp_path, main, [each | {"new_e_ent_alias": ["Dornia", entry]} for each in records])
        if good:
            assert [case.probes[0].aliases for case in read(tmp_path, main, "mc-mke")[0].cases] == [("Dornia",)] * 2
        else:
            with pytest.raises(
                InputError, match=r"record 0: field 'new_e_ent_alias': expected text without U\+001B, a"
            ):
                read(tmp_path, main, "mc-mke")


OWN = """
from unike_lib.benchmark.dialect import Dialect
from unike_lib.types import EditCase, EditRequest, Probe
def read(source):
    request = EditRequest("one", "vqa", "a.png", "what?", "owl")
    yield EditCase(request, (Probe("rel", request.query, None, ("an owl",)),), ("a fact",))
DIALECT = Dialect("own", read, {}, frozenset(["t_gen", "m_gen", "t_loc", "m_loc"]))
"""


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("what?", "request"),
        ("owl", "request"),
        ("a.png", "request"),
        ("one", "id"),
        ("a fact", "facts"),
        ("an owl", "aliases"),
    ],
)
def test_a_dialect_of_a_users_own_cannot_bring_them_in(tmp_path, text, field):
    files = {"vqa": {"train": "x", "eval": "x"}, "caption": None}
    named = {}
    for name, content in (("good", OWN), ("bad", OWN.replace(f'"{text}"', f'"{text}\\x1b"'))):
        (tmp_path / f"{name}.py").write_text(content)
        settings = {"annotations": str(tmp_path), "images": str(tmp_path), "format": f"{tmp_path}/{name}.py:DIALECT"}
        named[name] = BenchmarkConfig(files=files, **settings)
    assert len(read_user_file("vqa", "eval", named["good"]).cases) == 1
    with pytest.raises(InputError, match=rf"record 0: field '{field}': expected text without U\+001B, a control char"):
        read_user_file("vqa", "eval", named["bad"])


def test_other_questions_refuse_them(tmp_path):
    written(tmp_path, "q.json", [{"loc": "a\0", "loc_ans": "b"}] * 8)
    with pytest.raises(InputError, match=r"q\.json: record 0: field 'loc': expected text without U\+0000, a control"):
        read_text_questions(str(tmp_path / "q.json"))
    written(tmp_path, "s.jsonl", [{"image": "a.png", "question": "b", "answer": "\x1bc"}])
    with pytest.raises(InputError, match=r"s\.jsonl: line 1: field 'answer': expected text without U\+001B, a control"):
        read_triplet_source(tmp_path / "s.jsonl")


def test_requests_and_questions_in_python_refuse_them():
    good = EditRequest("one", "vqa", None, "what?", "owl")
    for call in (
        lambda: request_of(None, {"question": "wh\x1bat?", "answer": "owl"}),
        lambda: request_of(EditRequest("one", "vqa", None, "wh\x1bat?", "owl"), {}),
        lambda: query_of("wh\x1bat?", good),
        lambda: query_of({"question": "what?", "answer": "\x1bowl"}, good),
        lambda: query_of(Query(None, "wh\x1bat?", None), good),
    ):
        with pytest.raises(InputError, match=r"expected text without U\+001B, a control character, found"):
            call()


WRITTEN = {"a\0b": "a\ufffdb", "\x1b[31mred": "\ufffd[31mred", "one\rtwo": "one\ntwo", "one\r\ntwo": "one\ntwo"}
WRITTEN |= {
    "n\x84l": "n\ufffdl",
    "n\x85l": "n\x85l",
    "\ud800": "\ufffd",
    "a\tb": "a\tb",
    'say "x", y': 'say "x", y',
    "é 字": "é 字",
}


def test_what_a_model_writes_does_not_break_a_csv_file(tmp_path):
    write_csv(
        tmp_path / "t.csv", pd.DataFrame({"text": pd.Series([*WRITTEN], dtype=object), "number": range(len(WRITTEN))})
    )
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, strict=True))
    assert rows == [["text", "number"], *([text, str(n)] for n, text in enumerate(WRITTEN.values()))]
    assert pd.read_csv(tmp_path / "t.csv")["text"].tolist() == list(WRITTEN.values())


def test_what_a_model_writes_does_not_break_a_page(tmp_path):
    answers = {"before": Answer("a\0b", False), "unike": Answer("\x1b[31m<b>", True)}
    asked = Asked("rel", None, "what?", "owl", answers)
    write_qualitative_page(
        [Example("b", "vqa", "one", (asked,))], lambda name: Image.new("RGB", (1, 1)), tmp_path / "p"
    )
    page = (tmp_path / "p").read_text(encoding="utf-8")
    assert (
        "a\ufffdb" in page and "\ufffd[31m&lt;b&gt;" in page and not re.search("[\0-\x08\x0b\x0c\x0e-\x1f\x7f]", page)
    )
    write_text(tmp_path / "t.tex", "a\0b\n")
    assert (tmp_path / "t.tex").read_bytes() == "a\ufffdb\n".encode()


def test_a_terminal_gets_none_from_an_answer_or_from_a_name():
    request = EditRequest("one", "vqa", "a\x1b.png", "what?", "owl")
    edit = SimpleNamespace(request=request, failures=[], model=SimpleNamespace(name="b"), method="unike", seconds=1)
    line = Line("the edit", Said("what?", "a\x1b.png", "a\x1b[2Jb", "\x07owl", "owl"))
    text = as_text(edit, [line])
    assert "a\ufffd[2Jb" in text and "\ufffdowl" in text and "\x1b" not in text and "\x07" not in text
    assert str(InputError("a\x1b[2J: no such file")) == "a\ufffd[2J: no such file"


NO_NAMES = ["", " ", ".", "./", "a/..", "..", "/"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_none_is_refused_by_record_and_field(tmp_path, name):
    """A blank one is no text."""
    written(tmp_path, "eval.json", [record(0), record(1, image_rephrase=name)])
    said = "expected non-empty text, found" if not name.strip() else f"image {name!r}: no picture's name; expected a"
    with pytest.raises(InputError) as error:
        file, config = read(tmp_path, "eval.json", "mmedit")
        [images_of_case(case, file.name, config, file.pictures) for case in file.cases]
    assert re.search(rf"eval\.json.*: record (eval-)?1: field 'image_rephrase': {re.escape(said)}", str(error.value))


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("key", ["images", "consistency_iro_image", "generality_images"])
def test_mc_mke_takes_none_for_a_name(tmp_path, name, key):
    """Of MC-MKE's names only the last part is read; there, "." has none."""
    for file, records in FILES["mc-mke"].items():
        changed = [{k: v if k != key else [name] if isinstance(v, list) else name for k, v in each.items()}
                   if isinstance(each, dict) else each for each in records]  # fmt: skip
        written(tmp_path, file, changed)
    main = next(iter(FILES["mc-mke"]))
    with pytest.raises(InputError, match=r"no picture's name|expected (non-empty text|1 or more texts)"):
        file, config = read(tmp_path, main, "mc-mke")
        [images_of_case(case, file.name, config, file.pictures) for case in file.cases]
