"""Spoiled benchmark files and configurations: valid, or one named error; never another exception (make fault-test)."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmedit_records import FIELDS, read, record, write_stage
from PIL import Image

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.dialect import find_dialect
from unike_lib.benchmark.images import open_image
from unike_lib.benchmark.missing import images_of_case, require_images
from unike_lib.benchmark.text_questions import read_text_questions
from unike_lib.benchmark.triplet_sources import read_triplet_source, write_triplet_source
from unike_lib.config.benchmark import FORMATS, BenchmarkConfig
from unike_lib.config.run import Config, load_config
from unike_lib.registry import find_entries
from unike_lib.types import InputError

pytestmark = pytest.mark.fuzz
ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
LONG = settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(["", " ", "\ud800", "a\nb", "\0", "../../x", "blip2-nano", "unike", "like", "by_backbone", 1e308])
)
VALUES = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=6), x, max_size=3), max_leaves=6
)
KEYS = st.sampled_from([*FIELDS, "id", "facts", "pred", "port_new", "textual_edit", "knowledge_type"])


def one_line_or_valid(call, source):
    """Return what a call gives, or None if it refuses its input by a named error of one line."""
    try:
        return call()
    except InputError as error:
        assert source in str(error)
        assert len(str(error).splitlines()) == 1, repr(str(error))
        return None


@st.composite
def spoiled_records(draw):
    """Records of which some fields hold anything."""
    records = []
    for index in range(draw(st.integers(1, 4))):
        made = record(index) | draw(st.dictionaries(KEYS, VALUES, max_size=2))
        records.append(draw(st.sampled_from([made] * 9 + [None, [], "text"])))
    return records


@pytest.mark.parametrize("dialect", find_entries(*FORMATS))
@LONG
@given(spoiled_records())
def test_records_are_valid_or_refused(tmp_path, dialect, records):
    path = tmp_path / "eval_vqa.json"
    path.write_text(json.dumps(records))
    cases = one_line_or_valid(lambda: read(path, dialect=dialect), "eval_vqa.json")
    if cases is not None:
        assert len(cases) == len(records)
        assert all(probe.query.prompt.strip() and probe.query.answer.strip() for c in cases for probe in c.probes)
        config = BenchmarkConfig(annotations=str(tmp_path), images=str(tmp_path))
        pictures = find_dialect(dialect).pictures
        missing = lambda: [each for case in cases for each in images_of_case(case, "eval_vqa.json", config, pictures)]  # noqa: E731
        one_line_or_valid(lambda: require_images(missing()), "image")
    one_line_or_valid(lambda: read_text_questions(str(path)), "eval_vqa.json")


@LONG
@given(st.data())
def test_bytes_of_a_benchmark_are_valid_or_refused(tmp_path, data):
    path = tmp_path / "eval_vqa.json"
    content = bytearray(write_stage(path, [record(i) for i in range(3)]).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content)] * 3 + [len(content) // 2]))])
    cases = one_line_or_valid(lambda: read_cases(path), "eval_vqa.json")
    assert cases is None or len(cases) == 3


@LONG
@given(st.lists(st.dictionaries(st.sampled_from(["image", "question", "answer", "id", "task"]), VALUES), max_size=3))
def test_triplet_sources_are_valid_or_refused(tmp_path, records):
    path = tmp_path / "mine.jsonl"
    good = {"image": "a.png", "question": "what?", "answer": "owl"}
    path.write_text("".join(json.dumps(good | each) + "\n" for each in records))
    cases = one_line_or_valid(lambda: read_triplet_source(path), "mine.jsonl")
    if cases is not None:
        write_triplet_source(tmp_path / "own.jsonl", cases)
        assert [case.request for case in read_triplet_source(tmp_path / "own.jsonl")] == [c.request for c in cases]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Pictures of several kinds, as bytes."""
    folder, found = tmp_path_factory.mktemp("drawn"), []
    for mode, ending in [("RGB", "jpg"), ("RGB", "png"), ("P", "gif"), ("RGBA", "webp"), ("I;16", "tif"), ("L", "bmp")]:
        path = folder / f"one.{ending}"
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.effect_noise((24, 16), 80).convert(mode.replace("I;16", "I")).convert(mode).save(path, exif=exif)
        found.append(path.read_bytes())
    return found


@LONG
@given(st.data())
def test_bytes_of_a_picture_are_valid_or_refused(tmp_path, drawn, data):
    path = tmp_path / "a.png"  # Pillow goes by what is inside
    content = bytearray(data.draw(st.sampled_from(drawn)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    for reading in ("faithful", "plain"):
        found = one_line_or_valid(lambda reading=reading: open_image(path, reading), "a.png")
        assert found is None or found[0].mode == "RGB"


def places(value, path=()):
    """Return the path of every entry of a configuration."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return [path]
    return [path, *(inner for key, each in items for inner in places(each, (*path, key)))]


PLACES = places(CONFIG)[1:]


@LONG
@given(st.data())
def test_configurations_are_valid_or_refused(data):
    values = copy.deepcopy(CONFIG)
    for _ in range(data.draw(st.integers(1, 2))):
        *before, last = data.draw(st.sampled_from(PLACES))
        holder = values
        try:
            for key in before:
                holder = holder[key]
            action = data.draw(st.sampled_from(["set", "set", "remove", "add"]))
            if action == "remove":
                del holder[last]
            elif action == "add" and isinstance(holder[last], dict):
                holder[last][data.draw(st.text(max_size=6) | st.sampled_from(["like", "by_backbone"]))] = data.draw(
                    VALUES
                )
            else:
                holder[last] = data.draw(VALUES)
        except (KeyError, IndexError, TypeError):
            continue  # the first change took this place away
    found = one_line_or_valid(lambda: load_config(values, "mine.yaml"), "mine.yaml")
    assert found is None or isinstance(found, Config)
