"""VLKEB's eval_edit_onehop.json: the picture's edit, a text-only second one, and the question that takes both."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mmedit_records import read, record, write
from PIL import Image

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.images import image_names
from unike_lib.benchmark.leaks import find_leaks, index_of, shares_evaluated
from unike_lib.benchmark.missing import missing_images
from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.types import InputError, Query

REAL = Path(__file__).parents[3].parent / "shared" / "formats" / "vlkeb" / "eval_edit_onehop.first40.json"
DIALECT = "vlkeb_onehop"


def onehop(number=0, **changes):
    entry = {
        "port_edit_q": f" where is {number} ?",
        "port_edit_a": "rome",
        "port_q": "which city ? ",
        "port_a": "Rome.",
    }
    return record(number, port_new=[entry | changes])


def test_a_record_is_two_edits_and_a_question_about_the_picture(tmp_path):
    """By hand; records of a training file have no second edit."""
    first, plain = read(write(tmp_path / "f.json", [onehop(), record(1)]), dialect=DIALECT)
    (second,) = first.then
    assert (second.image, second.task, second.prompt, second.target) == (None, "vqa", "where is 0 ?", "rome")
    assert second.query == Query(None, "where is 0 ?", "rome", "question")
    assert first.requests == (first.request, second) and first.request.image == "a0.png"
    assert first.query("portability") == Query("a0.png", "which city ?", "Rome.")
    assert [probe.kind for probe in first.probes] == ["rel", "t_gen", "m_gen", "t_loc", "m_loc", "portability"]
    assert first.facts == ("src 0 alt 0", "where is 0 ?")
    assert (plain.then, len(plain.probes), plain.facts) == ((), 5, ("src 1 alt 1",))
    (told,) = read(write(tmp_path / "f.json", [onehop() | {"facts": ["mine"]}]), dialect=DIALECT)
    assert told.facts == ("mine",) and told.then == (second,)


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("x", "'port_new': expected a list of one entry, found 'x'"),
        ([], "'port_new': expected a list of one entry"),
        (onehop()["port_new"] * 2, "'port_new': expected a list of one entry"),
        ([3], "expected an object, found int"),
        (onehop(port_edit_q=" ")["port_new"], "'port_new.port_edit_q': expected non-empty text, found ' '"),
        (onehop(port_edit_a=None)["port_new"], "'port_new.port_edit_a': expected non-empty text, found None"),
        (onehop(port_q=3)["port_new"], "'port_new.port_q': expected non-empty text, found 3"),
        ([{"port_type": "1-hop"}], "'port_new.port_edit_q': expected non-empty text, found nothing"),
    ],
)
def test_a_broken_entry_is_named_by_record_and_field(tmp_path, port, message):
    path = write(tmp_path / "f.json", [onehop(), record(1, port_new=port)])
    with pytest.raises(InputError, match=rf"f\.json: record 1: .*{message}"):
        read(path, dialect=DIALECT)


def test_the_real_file_loads():
    if not REAL.is_file():
        pytest.skip("the excerpt of VLKEB is not here")
    cases, raw = read(REAL, dialect=DIALECT), json.loads(REAL.read_text())
    assert len(cases) == len(raw) == 40
    for case, source in zip(cases, raw, strict=True):
        port, (second,) = source["port_new"][0], case.then
        assert (second.image, second.prompt, second.target) == (None, port["port_edit_q"], port["port_edit_a"])
        asked = case.query("portability")
        assert (asked.image, asked.prompt, asked.answer) == (source["image"], port["port_q"], port["port_a"])


@pytest.fixture
def folder(tmp_path):
    """Training records of MMEdit's form, an evaluation of two edits, and all pictures."""
    (tmp_path / "images").mkdir()
    records = [record(number, loc=f"loc {number} ?") for number in range(20, 80)]
    write(tmp_path / "train.json", records)
    write(tmp_path / "eval.json", [onehop(number) | {"loc": f"own {number} ?"} for number in range(3)])
    for name in ("near.png", *(f"{kind}{number}.png" for kind in "ab" for number in range(80))):
        Image.new("RGB", (1, 1)).save(tmp_path / "images" / name)
    return tmp_path


def config_of(folder, form=DIALECT):
    files = {"vqa": {"train": "train.json", "eval": "eval.json"}, "caption": None}
    return BenchmarkConfig(annotations=str(folder), images=str(folder / "images"), format=form, files=files)


def test_second_edits_come_into_the_files_of_cases_with_ids_of_their_own(folder):
    prepare_user_benchmark(folder / "out", config_of(folder), seed=0)
    cases = read_cases(folder / "out" / "eval_vqa.json")
    assert [[request.id for request in case.requests] for case in cases] == [
        [f"eval_vqa-{number}", f"eval_vqa-{number}+1"] for number in range(3)
    ]
    assert [case.then[0].prompt for case in cases] == ["where is 0 ?", "where is 1 ?", "where is 2 ?"]
    assert not any(case.then for case in read_cases(folder / "out" / "pool_vqa.json"))
    named = json.loads((folder / "eval.json").read_text())
    write(folder / "eval.json", [each | {"id": f"own {number}"} for number, each in enumerate(named)])
    prepare_user_benchmark(folder / "again", config_of(folder), seed=0)
    assert read_cases(folder / "again" / "eval_vqa.json")[2].then[0].id == "own 2+1"


OWN = """
from dataclasses import replace
from unike_lib.benchmark.dialect import Dialect
from unike_lib.benchmark.formats.vlkeb_onehop import read

def changed(source):
    for case in read(source):
        yield replace(case, CHANGES)

DIALECT = Dialect("own", changed)
"""
SECOND = "then=tuple(replace(each, {}) for each in case.then)"


def own_dialect(folder, changes):
    """The settings of a user's own dialect, whose cases differ from VLKEB's by these fields."""
    (folder / "own.py").write_text(OWN.replace("CHANGES", changes))
    return config_of(folder, f"{folder / 'own.py'}:DIALECT")


def test_pictures_of_further_requests_are_seen_by_every_check(folder):
    """A dialect whose second edit has a picture: its name, its file, and an edit of it in another split."""
    path = folder / "eval.json"
    (case,) = [replace(each, request=replace(each.request, id="x")) for each in read(path, dialect=DIALECT)][:1]
    pictured = replace(case, then=(replace(case.then[0], image="then.png"),))
    assert image_names([pictured]) == ["a0.png", "b0.png", "near.png", "then.png"]
    assert image_names([case]) == ["a0.png", "b0.png", "near.png"]
    other = read(write(folder / "f.json", [record(9, image="then.png", src="where is 0 ?")]), dialect=DIALECT)
    leaks = find_leaks({"eval": [pictured], "pool": other})
    assert [(leak.kind, leak.value) for leak in leaks if not leak.locality] == [("image", "'then.png'")]
    config = own_dialect(folder, SECOND.format("image='then.png'"))
    gone = missing_images(config)
    assert {(image.record, image.field, image.image) for image in gone} == {
        (f"eval-{number}", "then", "then.png") for number in range(3)
    }
    Image.new("RGB", (1, 1)).save(folder / "images" / "then.png")
    assert missing_images(config) == []


def test_questions_of_further_requests_are_asked_in_their_split(folder):
    """The second edit's text is the T-Loc. question of an edit elsewhere."""
    (case, *_) = read(folder / "eval.json", dialect=DIALECT)
    (other,) = read(write(folder / "f.json", [record(9, loc="Where is  0 ?")]), dialect=DIALECT)
    assert shares_evaluated(case, index_of([other]))
    assert not shares_evaluated(replace(case, then=()), index_of([other]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (SECOND.format("target=' '"), "field 'then': expected a question and an answer"),
        (SECOND.format("image=' '"), "field 'then': expected a question and an answer"),
        # Without a picture there would be no state to extract, and nothing to split by.
        ("request=replace(case.request, image=None)", "field 'request': expected a picture"),
    ],
)
def test_what_a_dialect_of_ones_own_gives_is_checked(folder, changes, message):
    with pytest.raises(InputError, match=f"record 0: {message}"):
        prepare_user_benchmark(folder / "out", own_dialect(folder, changes), seed=0)
