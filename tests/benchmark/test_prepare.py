"""A user's files: split, missing images listed or left out, rephrase root, VLKEB's files, further triplets."""

import hashlib
import json
import logging

import pandas as pd
import pytest
from mmedit_records import PIXEL, cases_of, record, records_in
from pydantic import ValidationError

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.missing import counts_notes, missing_images, write_missing_images
from unike_lib.benchmark.prepare import SHARES, prepare_user_benchmark, split_of
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.config.benchmark import MMEDIT_FILES, BenchmarkConfig
from unike_lib.types import InputError

RECORDS = 40
IMAGE_FIELDS = ("image", "image_rephrase", "m_loc")


def user_folder(tmp_path, shared_image=False, **settings):
    """Write four files of 40 records, and every image that they name."""
    annotations, images, number = tmp_path / "json", tmp_path / "images", 0
    annotations.mkdir()
    images.mkdir()
    for pair in MMEDIT_FILES.values():
        for name in (pair.train, pair.eval):
            records = []
            for _ in range(RECORDS):
                image = "a0.png" if shared_image and number % RECORDS == 0 else f"a{number}.png"
                records.append(record(number, image=image))
                number += 1
            (annotations / name).write_text(json.dumps(records))
            for item in records:
                for field in IMAGE_FIELDS:
                    (images / item[field]).write_bytes(PIXEL)
    return BenchmarkConfig(annotations=str(annotations), images=str(images), **settings)


def cases_in(path):
    return cases_of(json.loads(path.read_text()), path.stem)


def read_splits(folder):
    return {
        name: [c for task in ("vqa", "caption") for c in read_cases(folder / f"{name}_{task}.json")]
        for name in ("pool", "method", "dev", "eval")
    }


def pictures_of(folder):
    """Split -> the pictures that its edits are about."""
    records = {split: [*folder.glob(f"{split}_*.json")] for split in ("pool", "method", "dev", "eval")}
    raw = {split: [r for path in paths for r in records_in(path)] for split, paths in records.items()}
    return {split: {r[key] for r in part for key in ("image", "image_rephrase")} for split, part in raw.items()}


def require_disjoint(pictures):
    assert all(pictures.values())
    assert sum(map(len, pictures.values())) == len(set().union(*pictures.values()))


@pytest.mark.parametrize("shared_image", [False, True])
def test_user_files_are_split_by_image_without_leaks(tmp_path, shared_image):
    config = user_folder(tmp_path, shared_image)
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    splits = read_splits(tmp_path / "out")
    require_disjoint(pictures_of(tmp_path / "out"))
    assert len((tmp_path / "out" / "checksums.sha256").read_text().splitlines()) == len(splits) * 2 + 1
    assert len(splits["eval"]) == 80
    assert sum(map(len, splits.values())) == (158 if shared_image else 160)
    for split in SHARES:
        assert {split_of(case.request.image, 0) for case in splits[split]} == {split}
    notes = counts_notes(tmp_path / "out" / "counts.json")
    assert len(notes) == 4 * shared_image and all(("1 are left" in note) != ("of 1 of" in note) for note in notes)


def test_missing_images_are_all_listed_and_nothing_is_written(tmp_path):
    config = user_folder(tmp_path)
    gone = ["a5.png", "b45.png", "near.png"]
    for name in gone:
        (tmp_path / "images" / name).unlink()
    listed = missing_images(config)
    expected = {(file, case.request.id, field, case.query(kind).image)
                for pair in MMEDIT_FILES.values() for file in (pair.train, pair.eval)
                for case in cases_in(tmp_path / "json" / file)
                for field, kind in zip(IMAGE_FIELDS, ("rel", "m_gen", "m_loc"), strict=True)
                if case.query(kind).image in gone}  # fmt: skip
    assert {(image.file.split("/")[-1], image.record, image.field, image.image) for image in listed} == expected
    write_missing_images(config, tmp_path / "missing.csv")
    table = pd.read_csv(tmp_path / "missing.csv")
    assert len(table) == len(listed) == 162
    assert set(table["path"]) == {str(tmp_path / "images" / name) for name in gone}
    with pytest.raises(InputError, match=r"2 of vqa_train.json, 1 of caption_train.*, 2 of vqa_eval.*a5\.png"):
        prepare_user_benchmark(tmp_path / "out", config, seed=0)
    assert not (tmp_path / "out").exists()


def test_records_without_their_images_are_left_out_loudly_when_asked(tmp_path, caplog):
    config = user_folder(tmp_path, missing="skip")
    for name in ("a5.png", "b45.png", "b46.png"):
        (tmp_path / "images" / name).unlink()
    with caplog.at_level(logging.WARNING):
        prepare_user_benchmark(tmp_path / "out", config, seed=0)
    assert "vqa_eval.json: 2 of 40 records left out: missing" in caplog.text
    splits = read_splits(tmp_path / "out")
    assert len(splits["eval"]) == 78 and sum(map(len, splits.values())) == 157
    notes = counts_notes(tmp_path / "out" / "counts.json")
    assert [note.split("because")[0] for note in notes] == [
        "**Of the 40 records of vqa_train.json, 1 are left out ",
        "**Of the 40 records of vqa_eval.json, 2 are left out ",
    ]


def test_nothing_missing_gives_a_report_with_a_header_only(tmp_path):
    write_missing_images(user_folder(tmp_path), tmp_path / "missing.csv")
    assert (tmp_path / "missing.csv").read_text() == "file,record,field,image,path,problem\n"


def test_rephrased_images_may_lie_elsewhere_but_names_must_be_clear(tmp_path):
    config = user_folder(tmp_path, rephrased_images=str(tmp_path / "rephrased"))
    (tmp_path / "rephrased").mkdir()
    for number in range(4 * RECORDS):
        (tmp_path / "images" / f"b{number}.png").rename(tmp_path / "rephrased" / f"b{number}.png")
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    (tmp_path / "images" / "b3.png").write_bytes(PIXEL)
    with pytest.raises(InputError, match=r"record vqa_train-3: field 'image_rephrase': 'b3.png' is below .* and "):
        prepare_user_benchmark(tmp_path / "again", config, seed=0)


def test_two_ways_to_write_one_folder_are_one_folder(tmp_path):
    """Where a picture in two image folders is one file, its name is clear."""
    (tmp_path / "again").symlink_to("images")
    config = user_folder(tmp_path)
    for rephrased in (str(tmp_path / "again"), f"{tmp_path}/./images/"):
        again = config.model_copy(update={"rephrased_images": rephrased})
        assert len(again.image_roots) == 2
        prepare_user_benchmark(tmp_path / "out", again, seed=0)


def test_a_benchmark_of_one_task_with_portability_questions(tmp_path):
    """VLKEB: one task, its own file names, questions of one to four hops."""
    config = user_folder(tmp_path, files={"vqa": {"train": "train.json", "eval": "eval.json"}, "caption": None})
    ports = [{"port_type": f"{hops}-hop", "Q&A": {"Question": f"q{hops}", "Answer": f"a{hops}"}} for hops in (1, 2, 2)]
    for name, old in (("train.json", "vqa_train.json"), ("eval.json", "vqa_eval.json")):
        records = json.loads((tmp_path / "json" / old).read_text())
        records[0]["port_new"] = ports
        records[1]["port_new"] = ports[:1]
        (tmp_path / "json" / name).write_text(json.dumps(records))
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    assert config.tasks == ("vqa",)
    assert not (tmp_path / "out" / "eval_caption.json").exists()
    first, second, third = read_cases(tmp_path / "out" / "eval_vqa.json")[:3]
    asked = [[probe.query.prompt for probe in case.probes[5:]] for case in (first, second, third)]
    assert asked == [["q1", "q2"], ["q1"], []]
    assert (first.query("portability_2").prompt, first.query("portability_2").answer) == ("q2", "a2")


def write_lines(path, lines):
    path.write_text("".join(line + "\n" for line in lines))
    return path


def question(number, **changes):
    return json.dumps({"image": f"more{number}.png", "question": "who ?", "answer": "me"} | changes)


def test_triplet_sources_join_the_pool_without_leaks(tmp_path):
    config = user_folder(tmp_path)
    evaluated = cases_in(tmp_path / "json" / "vqa_eval.json")[0].request.image
    trained = cases_in(tmp_path / "json" / "vqa_train.json")
    split_image = {split: next(c.request for c in trained if split_of(c.request.image, 0) == split) for split in SHARES}
    lines = [
        question(0),
        "",
        question(1, answer="you", task="caption", id="mine"),
        question(2, image=evaluated),
        question(3, image=split_image["dev"].image),
        question(4, image=split_image["pool"].image),
        question(5, image=split_image["pool"].image, question=split_image["pool"].prompt),
        question(0),
    ]
    source = write_lines(tmp_path / "extra.jsonl", lines)
    for number in range(2):
        (tmp_path / "images" / f"more{number}.png").write_bytes(PIXEL)
    config = config.model_copy(update={"triplet_sources": (str(source),)})
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    kept = read_triplet_source(tmp_path / "out" / "pool_sources.jsonl")
    assert [(c.request.id, c.request.task, c.request.image) for c in kept] == [
        ("extra-1", "vqa", "more0.png"),
        ("mine", "caption", "more1.png"),
        ("extra-6", "vqa", split_image["pool"].image),
    ]
    assert kept[1].request.query.style == "plain" and kept[1].request.target == "you"
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())["extra.jsonl"]
    version = {"version": {"sha256": hashlib.sha256(source.read_bytes()).hexdigest()}}
    assert counts == {"records": 7, "missing": 0, "evaluated": 2, "kept": 3, "repeated": 2} | version
    pictures = pictures_of(tmp_path / "out")
    require_disjoint(pictures | {"pool": pictures["pool"] | {case.request.image for case in kept}})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[]", "line 2: expected an object"),
        (question(1, image=3), "line 2: field 'image'"),
        (question(1, answer=" "), "line 2: field 'answer'"),
        (question(1, task="song"), "line 2: field 'task': expected vqa or caption"),
        (question(1, id="extra-1"), "field 'id': 1 ids are taken twice"),
    ],
)
def test_a_spoiled_line_of_a_triplet_source_is_named(tmp_path, line, message):
    path = write_lines(tmp_path / "extra.jsonl", [question(0), line])
    with pytest.raises(InputError, match=rf"extra\.jsonl: {message}"):
        read_triplet_source(path)
    with pytest.raises(InputError, match="no such file"):
        read_triplet_source(tmp_path / "absent.jsonl")


def test_settings_that_do_not_fit_together_are_refused():
    for values in ({"annotations": "a"}, {"images": "a"}, {"triplet_sources": ["a"]}, {"rephrased_images": "a"}):
        with pytest.raises(ValidationError):
            BenchmarkConfig(**values)


def test_ids_of_records_are_kept_and_others_say_their_place_in_the_split(tmp_path):
    config = user_folder(tmp_path)
    own = [record(number, id=f"mine {number}") if number % 3 else record(number) for number in range(RECORDS)]
    (tmp_path / "json" / "vqa_train.json").write_text(json.dumps(own))
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    for split in SHARES:
        for index, case in enumerate(read_cases(tmp_path / "out" / f"{split}_vqa.json")):
            number = int(case.request.image.strip("a.png"))
            assert case.request.id == (f"mine {number}" if number % 3 else f"{split}_vqa-{index}")
    (tmp_path / "json" / "vqa_train.json").write_text(json.dumps([*own, record(99, id="mine 1")]))
    with pytest.raises(InputError, match=r"vqa_train\.json: record 40: field 'id': 'mine 1' is taken by record 1"):
        prepare_user_benchmark(tmp_path / "again", config, seed=0)


OWN = """
from dataclasses import replace
from unike_lib.benchmark.dialect import Dialect, read_records
from unike_lib.benchmark.formats.mmedit import TABLE
from unike_lib.types import Probe

def read(source):
    for record in read_records(source.path):
        if record["part"] == source.part and source.task in record["of"]:
            yield TABLE.case(record, source.task)

def half(source):
    for number, case in enumerate(read(source)):
        yield replace(case, probes=case.probes[:3] if number == 1 else case.probes[:4])

def none(source):
    for case in read(source):
        yield replace(case, probes=case.probes[1:])

def blank(source):
    for case in read(source):
        yield replace(case, request=replace(case.request, target=" "))

def asking(*more):
    def asked(source):
        for case in read(source):
            yield replace(case, probes=(*case.probes, *(Probe(kind, case.request.query, must) for kind, must in more)))
    return Dialect("asking", asked)

HOP, TAKEN, BESIDE = asking(("hop", "differ")), asking(("edits", "stay")), asking(("hop_low", "stay"))
SILENT, TWICE = asking(("hop", None)), asking(("hop", "stay"), ("hop", "stay"))
DIALECT, BLANK = Dialect("own", read), Dialect("blank", blank)
UNEVEN, NONE = Dialect("half", half), Dialect("none", none)
LACKING = Dialect("half", half, may_lack=frozenset({"m_gen", "t_loc", "m_loc"}))
TEXTS = Dialect("texts", lambda source: ["text"])
"""


def test_a_dialect_of_a_users_file_reads_one_file_of_all_parts_and_tasks(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    files = {task: {"train": "all.jsonl", "eval": "all.jsonl"} for task in MMEDIT_FILES}
    config = user_folder(tmp_path, files=files, format=f"{tmp_path / 'own.py'}:DIALECT")
    marked = [
        record(number, part="eval" if number % 4 == 0 else "train", of=["vqa"] if number % 2 else ["caption", "vqa"])
        for number in range(RECORDS * 4)
    ]
    write_lines(tmp_path / "json" / "all.jsonl", map(json.dumps, marked))
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    splits = read_splits(tmp_path / "out")
    assert sum(map(len, splits.values())) == RECORDS * 4 + RECORDS * 2 and len(splits["eval"]) == RECORDS * 2
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    kept = {name: count["kept"] for name, count in counts.items()}
    assert kept == {
        "all.jsonl (vqa, train)": RECORDS * 3,
        "all.jsonl (caption, train)": RECORDS,
        "all.jsonl (vqa, eval)": RECORDS,
        "all.jsonl (caption, eval)": RECORDS,
    }
    for name, message in (
        (
            "NONE",
            "record 0: expected one probe each of rel, t_gen, m_gen, t_loc, m_loc, found t_gen, m_gen, t_loc, m_loc",
        ),
        (
            "UNEVEN",
            "record 0: expected one probe each of rel, t_gen, m_gen, t_loc, m_loc, found rel, t_gen, m_gen, t_loc",
        ),
        ("LACKING", "record 1: expected one probe each of rel, t_gen, m_gen, t_loc, found rel, t_gen, m_gen"),
        ("BLANK", "record 0: field 'request': expected a question and an answer, non-empty texts, found Query"),
        ("TEXTS", "record 0: expected an EditCase of the dialect, found str"),
        ("TAKEN", "record 0: probe 'edits': expected one of rel, .*, or a free name"),
        ("BESIDE", "record 0: probe 'hop_low': .* a free name"),
        ("SILENT", "record 0: probe 'hop': .* what it must do"),
        ("TWICE", "record 0: probe 'hop': .* once per case"),
    ):
        other = config.model_copy(update={"format": f"{tmp_path / 'own.py'}:{name}"})
        with pytest.raises(InputError, match=rf"all\.jsonl: {message}"):
            prepare_user_benchmark(tmp_path / "again", other, seed=0)
    hop = config.model_copy(update={"format": f"{tmp_path / 'own.py'}:HOP"})
    prepare_user_benchmark(tmp_path / "more", hop, seed=0)
    assert all(case.probe("hop").aim == "differ" for case in read_splits(tmp_path / "more")["eval"])
    with pytest.raises(
        ValidationError, match=r"'no': expected one of .*mmedit, .*vlkeb, vlkeb_onehop, or path/to/file\.py:DIALECT"
    ):
        BenchmarkConfig(annotations="a", images="b", format="no")
