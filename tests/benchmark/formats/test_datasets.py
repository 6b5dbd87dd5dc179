"""A Hugging Face data set: Parquet in the layout that `datasets` writes, `Image` features as struct {bytes, path}."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmedit_records import PIXEL
from PIL import Image

from unike_lib.benchmark.dialect import Source, find_dialect
from unike_lib.benchmark.file_state import state_of_benchmark
from unike_lib.benchmark.images import load_image
from unike_lib.benchmark.user_files import read_user_files
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.types import InputError

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [("image", PICTURE), ("question", pa.string()), ("answer", pa.string()), ("rephrase_image", pa.list_(PICTURE))]
)


def drawn(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), colour).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": "red.png"}


def written(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    return path


def row(colour, **changes):
    own = {"image": drawn(colour), "question": f"What colour? {colour}", "answer": "glim"}
    return own | {"rephrase_image": [drawn(colour), {"bytes": PIXEL, "path": None}]} | changes


def read(path, images=None, part="eval"):
    return list(find_dialect("datasets").read(Source(path, "vqa", part, images)))


def test_pictures_are_written_out_once_and_read_by_name(tmp_path):
    path = written(tmp_path / "test.parquet", [row("red"), row("blue"), row("red", question="Again?")])
    first, second, third = read(path, tmp_path / "pictures")
    assert load_image([tmp_path / "pictures"], first.request.image).getpixel((0, 0)) == (255, 0, 0)
    assert load_image([tmp_path / "pictures"], second.request.image).getpixel((0, 0)) == (0, 0, 255)
    assert third.request.image == first.request.image == first.query("m_gen").image
    black = first.query("rephrase_image_2").image
    files = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in files] == sorted({first.request.image, second.request.image, black})
    assert (tmp_path / "pictures" / black).read_bytes() == PIXEL
    times = [file.stat().st_mtime_ns for file in files]
    files[0].write_bytes(b"half")  # one that was cut is written anew, the others stay
    read(path, tmp_path / "pictures")
    assert [file.stat().st_mtime_ns for file in files][1:] == times[1:] and files[0].stat().st_size > 4


def test_a_picture_may_be_named_by_its_path(tmp_path):
    path = written(tmp_path / "t.parquet", [row("red", image={"bytes": None, "path": "a.png"}, rephrase_image=None)])
    (case,) = read(path)
    assert case.request.image == "a.png" and [each.kind for each in case.probes] == ["rel"]


def test_shards_of_a_part_are_read_in_order(tmp_path):
    names = {"train-00000-of-00001": "0", "test-00001-of-00002": "2", "test-00000-of-00002": "1", "validation-0": "3"}
    for name, number in names.items():
        written(tmp_path / f"data/{name}.parquet", [row("red", question=number)])
    (tmp_path / "data" / "README.md").write_text("")
    prompts = {
        part: [case.request.prompt for case in read(tmp_path / "data", None, part)] for part in ("train", "eval")
    }
    assert prompts == {"train": ["0"], "eval": ["1", "2"]}
    for name in list(names)[1:3]:
        (tmp_path / f"data/{name}.parquet").unlink()
    assert [case.request.prompt for case in read(tmp_path / "data")] == ["3"]
    written(tmp_path / "other/0000.parquet", [row("red", question="all")])
    assert [case.request.prompt for case in read(tmp_path / "other", None, "train")] == ["all"]
    (tmp_path / "data/validation-0.parquet").unlink()
    with pytest.raises(InputError, match="data: expected Parquet files of the part eval, found none"):
        read(tmp_path / "data")


def test_what_is_wrong_is_named(tmp_path):
    path = written(tmp_path / "t.parquet", [row("red"), row("red", question=" ", image=None)])
    with pytest.raises(InputError, match=r"t\.parquet: record 1: field 'image': .*; .*record 1: field 'question': exp"):
        read(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"t\.parquet: cannot be read as Parquet"):
        read(path)
    with pytest.raises(InputError, match=r"no\.parquet: no such file"):
        read(tmp_path / "no.parquet")


OTHERS = {
    "text for bytes": [{"bytes": "text", "path": "x.png"}],
    "a number for a path": [{"bytes": b"x", "path": 3}],
    "a picture in another struct": [{"image": {"bytes": b"x", "path": "x.png"}, "width": 3}],
    "bytes alone": [b"x"],
}


@pytest.mark.parametrize("images", OTHERS.values(), ids=OTHERS)
def test_what_is_no_picture_of_a_data_set_is_refused_once_by_its_field(tmp_path, images):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([row("red") | {"image": each} for each in images]), path)
    with pytest.raises(InputError, match=r"^[^;\n]*t\.parquet: record 0: field 'image': expected text, found [^;\n]*$"):
        read(path, tmp_path / "pictures")


def test_endings_that_are_none_are_left_out_and_what_cannot_be_written_is_no_fault_of_the_file(tmp_path):
    path = written(tmp_path / "t.parquet", [row("red", image=drawn("red") | {"path": "x." + "a" * 300})])
    (case,) = read(path, tmp_path / "pictures")
    assert (tmp_path / "pictures" / case.request.image).is_file() and "." not in case.request.image
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/\w+: a picture of the data set cannot be written \(.*\)$"):
        read(path, tmp_path / "file")


def test_a_second_picture_of_an_edit_is_said_to_be_left_out(tmp_path, caplog):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([row("red") | {"image": [drawn("red"), drawn("blue")]}]), path)
    (case,) = read(path, tmp_path / "pictures")
    assert load_image([tmp_path / "pictures"], case.request.image).getpixel((0, 0)) == (255, 0, 0)
    assert "columns that are not read: image_2" in caplog.text


def test_changes_of_the_files_are_seen_and_planning_writes_nothing(tmp_path):
    """Of a shard below the folder that is named; whether the pictures are written out already makes no difference."""
    shard = written(tmp_path / "data/test-0.parquet", [row("red")])
    written(tmp_path / "data/train-0.parquet", [row("blue")])
    (tmp_path / "pictures").mkdir()
    config = BenchmarkConfig(
        annotations=str(tmp_path),
        images=str(tmp_path / "pictures"),
        format="datasets",
        files={"vqa": {"train": "data", "eval": "data"}, "caption": None},
    )
    first = state_of_benchmark(config)
    assert list((tmp_path / "pictures").iterdir()) == []
    assert len(list(read_user_files(config))) == 2 and len(list((tmp_path / "pictures").iterdir())) == 3
    assert state_of_benchmark(config) == first
    written(shard, [row("red", answer="other glim")])
    assert state_of_benchmark(config) != first


def test_names_in_any_case_and_whole_numbers(tmp_path):
    """Whole numbers have one text; others in Parquet have none as they were written."""
    table = {"Image": ["a.png"], "QUESTION": ["q"], "Answer": [7]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet")[0].request.target == "7"
    for wrong in (7.0, True):
        pq.write_table(pa.table(table | {"Answer": [wrong]}), tmp_path / "t.parquet")
        with pytest.raises(InputError, match=rf"record 0: field 'answer': expected text, found {wrong}$"):
            read(tmp_path / "t.parquet")
    pq.write_table(pa.table(table | {"image": ["b.png"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="record 0: field 'image': expected one of this name, found two"):
        read(tmp_path / "t.parquet")


def test_a_column_twice_is_refused(tmp_path):
    path, texts = tmp_path / "t.parquet", [pa.array(["a.png"]), *(pa.array([text]) for text in ("q", "cat", "dog"))]
    pq.write_table(pa.table(texts, names=["image", "question", "answer", "answer"]), path)
    with pytest.raises(InputError, match=r"^[^\n]*t\.parquet: column 'answer' is there twice; expected it once$"):
        read(path)
