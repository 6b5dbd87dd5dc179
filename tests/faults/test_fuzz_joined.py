"""Spoiled files of dialects whose records are joined from several, or are not text: read, or one error of one line."""

import csv
import io
import json
import random
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_fuzz_dialects import VALUES, damaged, spoiled

from unike_lib.benchmark.user_files import read_user_file
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.types import InputError

QUESTION, CLOZE = "Which land is shown?", "The land in the picture is"
# Made-up facts in the layouts of yaohui120/ComprehendEdit a88be09 and reroze/MC-MKE b68bc3d (edit_inputs/ie_edit).
ASKED = {"image": "GQA/0.jpg", "question": "What?", "answer": "a", "rephrase": "Again?", "source": "GQA", "pid": 0}
LISTS = ("img_topk", "txt_topk", "img_last_topk", "txt_last_topk")
LOCALITY = {"locality_prompt": "who", "locality_ground_truth": "Jon"} | {
    f"multimodal_locality_{key}": value
    for key, value in (("image", "b.jpg"), ("prompt", "Room?"), ("ground_truth", "hall"))
}
COMPREHEND = {
    "ComprehendEdit_test.json": [
        ASKED | LOCALITY | {name: [1, 0] for name in LISTS} | {f"ori_rt_{name}": [7] for name in LISTS},
        ASKED | LOCALITY | {"pid": 1, "source": "VSR"},
    ],
    "ComprehendEdit_ori_right.json": [ASKED | {"pid": 7, "source": "TallyQA"}],
}
EDIT = {
    "e_ent": "Vella",
    "ie_question": QUESTION,
    "ie_cloze": CLOZE,
    "new_e_ent": "Dorn",
    "new_e_ent_alias": ["Dornia"],
}
NEAR = {"image": "n.jpg", "ie_question": "Which band?", "orig_loc_ent": "Juno"}
CONSISTENT = {"image": "a.jpg", "input_cloze": "Its town is", "output": "Pell", "output_alias": []}
MC_MKE = {
    "final_ie_edit_input.jsonl": EDIT | {"images": ["a.jpg", "b.jpg"]},
    "final_ie_test_text_generality.jsonl": {"ie_question_paraphrases": [QUESTION, "Which one?"]},
    "final_ie_test_image_generality.jsonl": {"generality_images": ["c.jpg"]},
    "final_ie_locality_test.jsonl": {"locality_test_dict": {"9": NEAR}},
    "final_ie_test_consistency.jsonl": {f"consistency_iro_{key}": value for key, value in CONSISTENT.items()},
}
FILES = {
    "comprehendedit": COMPREHEND,
    "mc-mke": {name: [{"ie_edit_input_idx": index} | record for index in (0, 1)] for name, record in MC_MKE.items()}
    | {"ie_consistenct_ignore_idx.json": [1]},
}
ROWS = [{"image": {"bytes": b"\x89PNG", "path": f"{n}.png"}, "question": "What?", "answer": f"a{n}"} for n in range(3)]
COUNTS = [pytest.param(30), pytest.param(3000, marks=pytest.mark.fuzz)]


def is_read(folder, name, dialect):
    """Return whether the file is read; assert that it is refused by one line that names a file, otherwise."""
    files = {"vqa": {"train": name, "eval": name}, "caption": None}
    config = BenchmarkConfig(annotations=str(folder), images=str(folder / "pictures"), format=dialect, files=files)
    try:
        cases = read_user_file("vqa", "eval", config).cases
    except InputError as error:
        assert str(folder) in str(error) and len(str(error).splitlines()) == 1, repr(str(error))
        assert len(re.findall(r": record \d+", str(error))) <= 40  # twenty problems; one of a probe names both places
        return False
    assert all(probe.query.prompt and probe.query.answer for case in cases for probe in case.probes)
    return True


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dialect", FILES)
def test_spoiled_files_that_belong_together_are_read_or_refused(tmp_path, dialect, count):
    draw, kept, main = random.Random(dialect), 0, next(iter(FILES[dialect]))
    for number in range(count):
        chosen = draw.choice(list(FILES[dialect])) if number else None
        for name, records in FILES[dialect].items():
            made = spoiled(draw, records) if name == chosen else records
            lines = made if name.endswith(".jsonl") else [made]
            text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
            broken = name == chosen and draw.random() < 0.2 and text
            (tmp_path / name).write_bytes(damaged(draw, text) if broken else text.encode("utf-8", "surrogatepass"))
        if number and draw.random() < 0.05:
            (tmp_path / str(chosen)).unlink()
        kept += is_read(tmp_path, main, dialect)
        assert kept or number, "the files as they are were refused"


CELLS = [
    "a.png",
    "What?",
    "cat",
    "",
    " ",
    'a "big" cat',
    '"',
    "a\r\nb",
    "a;b",
    "a,b",
    "\t",
    "\0",
    "\u2028",
    "\ufeff",
    "part",
]
COLUMNS = ["image", "question", "answer", "rephrase", "neighbour", "part", "", "ANSWER", "alias_2", "answer_2"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]


@pytest.mark.parametrize("count", COUNTS)
def test_spoiled_spreadsheets_are_read_or_refused(tmp_path, count):
    """Other delimiters, encodings, quotes, ends of lines and numbers of cells; bytes that are changed or cut off."""
    draw, kept = random.Random(7), 0
    for number in range(count):
        names = [*COLUMNS[:3], *draw.sample(COLUMNS, draw.randint(0, 3) * bool(number))]
        table = [names, *([draw.choice(CELLS) if draw.random() < 0.1 and number else cell for cell in
                          ("a.png", "What?", "cat", *["more"] * (len(names) - 3))] for _ in range(3))]  # fmt: skip
        if number and draw.random() < 0.2:
            table[draw.randrange(4)] = [draw.choice(CELLS) for _ in range(draw.randint(0, 6))]
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=draw.choice(",;\t|"), lineterminator=draw.choice(["\r\n", "\n"])).writerows(table)
        whole = "sep=;\n" * (draw.random() < 0.05) + text.getvalue()
        content = whole.encode(draw.choice(ENCODINGS), "replace") if number else whole.encode()
        if number and draw.random() < 0.3:
            content = damaged(draw, content.decode("latin-1"))
        (tmp_path / "eval.csv").write_bytes(content)
        kept += is_read(tmp_path, "eval.csv", "plain")
    assert 0 < kept < count


@pytest.mark.parametrize("count", COUNTS)
def test_spoiled_parquet_is_read_or_refused(tmp_path, count):
    draw, kept = random.Random(5), 0
    (tmp_path / "pictures").mkdir()
    for number in range(count):
        rows = [dict(row) for row in ROWS]
        if number:
            key, value = draw.choice([*rows[0], "rephrase", "part"]), draw.choice(VALUES)
            if draw.random() < 0.3:  # within a picture
                key, value = "image", rows[0]["image"] | {draw.choice(["bytes", "path", "more"]): value}
            for row in rows[: draw.choice([1, 3])]:
                row[key] = value
        buffer = io.BytesIO()
        try:
            pq.write_table(pa.Table.from_pylist(rows), buffer)
        except (pa.ArrowException, UnicodeEncodeError, TypeError, ValueError, OverflowError):
            continue  # no Parquet file can hold this
        content = bytearray(buffer.getvalue())
        if number and draw.random() < 0.4:
            for _ in range(draw.randint(1, 4)):
                content[draw.randrange(len(content))] = draw.randrange(256)
            content = content[: draw.choice([len(content), draw.randrange(len(content))])]
        (tmp_path / "eval.parquet").write_bytes(content)
        kept += is_read(tmp_path, "eval.parquet", "datasets")
        assert kept or number, "the file as it is was refused"
        shutil.rmtree(tmp_path / "pictures")
        (tmp_path / "pictures").mkdir()
