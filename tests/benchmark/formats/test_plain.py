"""A person's spreadsheet: CSV as Excel writes it, and JSONL."""

import json
import logging
import re

import pytest
from mmedit_records import read

from unike_lib.types import InputError, Query

# Excel (German): BOM, semicolons, CRLF, quotes over lines, doubled quotes, blank rows, spaces around names.
EXCEL = (
    '\ufeffImage ;Question;answer;rephrase;rephrase_2;neighbour;neighbour_answer;neighbour_image;alias;Note\r\n'
    'a.png;"What is this;\r\nexactly?";glim;Which thing?;;What colour?;red;b.png;a glim;mine\r\n'
    ';;;;;;;;;\r\n'
    'c.png;"What is ""this""?";"Stiel; lang";Which?;Name it.;How many?;2;d.png;;\r\n'
)  # fmt: skip


def csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_excels_csv_is_read_cell_by_cell(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        first, second = read(csv(tmp_path / "ten.csv", EXCEL), dialect="plain")
    assert first.request.query == Query("a.png", "What is this;\r\nexactly?", "glim")
    assert [(each.kind, each.aim, each.query, each.aliases) for each in first.probes] == [
        ("rel", "become", first.request.query, ("a glim",)),
        ("t_gen", "become", Query("a.png", "Which thing?", "glim"), ("a glim",)),
        ("m_loc", "stay", Query("b.png", "What colour?", "red"), ()),
    ]
    assert second.request.query == Query("c.png", 'What is "this"?', "Stiel; lang")
    assert second.query("rephrase_2") == Query("c.png", "Name it.", "Stiel; lang")
    assert "columns that are not read: note" in caplog.text


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), ("\t", "utf-16"), (";", "utf-8-sig")])
def test_delimiters_and_encodings_of_spreadsheets(tmp_path, delimiter, encoding):
    text = f"sep={delimiter}\r\n" * (delimiter == ";") + "image|question|answer\na.png|Wie heißt es?|Ähre\n"
    (case,) = read(csv(tmp_path / "t.csv", text.replace("|", delimiter), encoding), dialect="plain")
    assert case.request.query == Query("a.png", "Wie heißt es?", "Ähre")


def test_jsonl_holds_lists(tmp_path):
    record = {"image": "a.png", "question": "What?", "answer": "glim", "id": "x", "alias": ["a glim", "the glim"]}
    record |= {"rephrase": ["One?", "Two?"], "rephrase_image": ["b.png", "c.png"], "note": {"by": 3}}
    record |= {"text_neighbour": ["nq question: who", "Who?"], "text_neighbour_answer": ["Jon", "Pia"]}
    (tmp_path / "t.jsonl").write_text(json.dumps(record) + "\n\n")
    (case,) = read(tmp_path / "t.jsonl", dialect="plain")
    assert case.request.id == "x" and case.probe("rel").aliases == ("a glim", "the glim")
    assert {each.kind: each.query for each in case.probes[1:]} == {
        "t_gen": Query("a.png", "One?", "glim"),
        "rephrase_2": Query("a.png", "Two?", "glim"),
        "m_gen": Query("b.png", "What?", "glim"),
        "rephrase_image_2": Query("c.png", "What?", "glim"),
        "t_loc": Query(None, "nq question: who", "Jon", "plain"),
        "text_neighbour_2": Query(None, "Who?", "Pia"),
    }
    (caption,) = read(tmp_path / "t.jsonl", "caption", "plain")
    assert caption.query("t_gen").style == caption.query("rel").style == "plain"


def test_a_column_says_the_part(tmp_path):
    path = csv(tmp_path / "t.csv", "image,question,answer,part\na,q,x,train\nb,q,x,eval\nc,q,x,\n")
    assert [case.request.image for case in read(path, dialect="plain", part="train")] == ["a"]
    assert [case.request.image for case in read(path, dialect="plain", part="eval")] == ["b", "c"]


def test_every_problem_is_named_by_record_row_and_column(tmp_path):
    text = (
        "image,question,answer,rephrase,neighbour,neighbour_answer,neighbour_image,neighbour_2,part\n"
        "a,q,x,r,n,y,b,,\n,,,,,,,,\nb,,x,,n,,b,,test\nc,q,x,r,,,,m,\n"
    )
    with pytest.raises(InputError) as error:
        read(csv(tmp_path / "t.csv", text), dialect="plain")
    problems = [
        "record 1 (row 4): field 'question': expected text, found nothing",
        "record 1 (row 4): field 'part': expected train or eval, found 'test'",
        "record 1 (row 4): field 'neighbour_answer': expected text beside 'neighbour', found nothing",
        "record 2 (row 5): field 'neighbour_answer_2': expected text beside 'neighbour_2', found nothing",
        "record 2 (row 5): field 'neighbour_image_2': expected text beside 'neighbour_2', found nothing",
        "record 1 (row 4): field 'rephrase': expected text in every row or in none, found nothing",
        "record 2 (row 5): field 'neighbour': expected text in every row or in none, found nothing",
    ]
    assert str(error.value).split("; ") == [f"{tmp_path / 't.csv'}: {problem}" for problem in problems]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,question\na,q\n", "row 1: expected columns image, question, answer, found "),
        (b"image,question,answer,Image\na,q,x,b\n", "row 1: column image is there twice"),
        (b"image,question,answer\na,q,x,y\n", r"record 0 \(row 2\): expected 3 cells, found 4"),
        (b'image,question,answer\na,"q,x\n', "not a CSV table"),
        ("image,question,answer\na,q,Ähre\n".encode("cp1252"), "not UTF-8 text, save it as 'CSV UTF-8'"),
        (b"", "row 1: expected columns"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"t\.csv: {message}"):
        read(tmp_path / "t.csv", dialect="plain")
    with pytest.raises(InputError, match=r"no\.csv: no such file"):
        read(tmp_path / "no.csv", dialect="plain")


def test_numbers_are_their_texts_as_they_are_written(tmp_path):
    """The same cells in CSV, lines and a list: as they stand in the file, not as Python writes them."""
    numbers = ["7", "-3", "1.50", "1e3", "2000000000000000000001", "0.10000000000000000001"]
    rows = [f'{{"image": 4, "question": "q", "answer": {number}, "alias": [{number}, "so"]}}' for number in numbers]
    (tmp_path / "t.csv").write_text(
        "image,question,answer,alias,alias_2\n" + "".join(f"4,q,{n},{n},so\n" for n in numbers)
    )
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    (tmp_path / "t.json").write_text(f"[{', '.join(rows)}]")
    cells, lines, records = (read(tmp_path / name, dialect="plain") for name in ("t.csv", "t.jsonl", "t.json"))
    assert [case.request.target for case in cells] == numbers and cells[0].request.image == "4"
    for cell, line, record in zip(cells, lines, records, strict=True):
        assert cell.request.query == line.request.query == record.request.query
        assert cell.probe("rel").aliases == line.probe("rel").aliases == record.probe("rel").aliases


def test_names_are_in_any_case_and_there_once(tmp_path):
    path = tmp_path / "t.json"
    record = {"Image": "a.png", "QUESTION": "q", "answer ": "x", "Rephrase": ["One?", "Two?"], "note": 1, "Note": 2}
    path.write_text(json.dumps([record]))
    (case,) = read(path, dialect="plain")
    assert case.request.query == Query("a.png", "q", "x")
    assert case.query("t_gen").prompt == "One?" and case.query("rephrase_2").prompt == "Two?"
    twice = [record | {"image": "b.png"}, record | {"rephrase_2": "Three?"}, record | {"Answer": None}]
    path.write_text(json.dumps(twice))
    with pytest.raises(InputError) as error:
        read(path, dialect="plain")
    wrong = ["record 0: field 'image'", "record 1: field 'rephrase_2'"]
    assert str(error.value).split("; ") == [f"{path}: {each}: expected one of this name, found two" for each in wrong]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"image": "a"}', r"t\.json: expected a list of records, found dict"),
        ("[{]", r"t\.json: not valid JSON"),
        ("[3]", r"t\.json: record 0: expected an object, found int"),
        ('[{"image": "a", "question": "q"}]', r"t\.json: record 0: field 'answer': expected text, found nothing"),
    ],
)
def test_lists_that_are_no_records_are_refused(tmp_path, content, message):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "t.json", dialect="plain")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *((value, "text") for value in (True, False, float("nan"), {"a": 1}, ["x", False], "\u200b")),
        ("\ud800", "text without U+D800, half of a surrogate pair"),
        ("\ufeff \x00", "text without U+0000, a control character"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, value, wanted):
    record = {"image": "a.png", "question": "q", "answer": value}
    (tmp_path / "t.jsonl").write_text("\n" + json.dumps(record))
    wanted = re.escape(f"expected {wanted}, found")
    with pytest.raises(InputError, match=rf"t\.jsonl: record 0 \(line 2\): field 'answer(_2)?': {wanted}"):
        read(tmp_path / "t.jsonl", dialect="plain")


def test_rows_and_lines_that_are_none_are_all_named(tmp_path):
    """Rows of too many cells, lines that are no JSON: the first twenty, like wrong fields."""
    (tmp_path / "t.csv").write_text("image,question,answer\n" + "a,q,x,y\na,q,x\n" * 21)
    with pytest.raises(InputError, match=r"record 0 \(row 2\): expected 3 .*record 38 \(row 40\): .* \(and 1 more\)$"):
        read(tmp_path / "t.csv", dialect="plain")
    (tmp_path / "t.jsonl").write_text('{"image"\n{}\n' * 21)
    with pytest.raises(InputError, match=r"t\.jsonl: line 1: not valid JSON; .*line 39: not valid .* \(and 1 more\)$"):
        read(tmp_path / "t.jsonl", dialect="plain")
