"""What records edit in common joins them in one split, however pictures are named; what files share is counted."""

import json
import os
from pathlib import Path

import pytest
from mmedit_records import PIXEL, record

from unike_lib.benchmark import prepare
from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.leaks import edit_groups
from unike_lib.benchmark.missing import counts_notes
from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.benchmark.same_pictures import one_name_each
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.types import EditCase, EditRequest, InputError

FORMATS = Path(__file__).parents[2].parent / "shared" / "formats" / "vlkeb"
LEARNED = ("pool", "method", "dev")
ONE_TASK = {"vqa": {"train": "train.json", "eval": "eval.json"}, "caption": None}


def prepared(folder, train, evaluated, **settings):
    """Write records and every picture that they name; return the records of each split by their picture and answer."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, records in (("train", train), ("eval", evaluated)):
        (folder / f"{name}.json").write_text(json.dumps(records))
        for each in records:
            for key in ("image", "image_rephrase", "m_loc"):
                path = folder / "images" / each[key]
                if not path.is_symlink():
                    Path(os.path.normpath(path)).parent.mkdir(parents=True, exist_ok=True)
                    Path(os.path.normpath(path)).write_bytes(PIXEL)
    settings = {"files": ONE_TASK} | settings
    config = BenchmarkConfig(annotations=str(folder), images=str(folder / "images"), **settings)
    prepare_user_benchmark(folder / "out", config, 0)
    return {split: read_cases(folder / "out" / f"{split}_vqa.json") for split in (*LEARNED, "eval")}


def counted(folder, name):
    return json.loads((folder / "out" / "counts.json").read_text())[name]


def split_by(splits, value):
    """Return value -> the splits whose cases have it."""
    places = {}
    for split, cases in splits.items():
        for case in cases:
            places.setdefault(value(case), set()).add(split)
    return places


def naive_groups(traits):
    """Join what overlaps until nothing does."""
    groups = [({place}, set(each)) for place, each in enumerate(traits)]
    joined = True
    while joined:
        joined = False
        for one in groups:
            for other in groups:
                if one is not other and one[1] & other[1]:
                    one[0].update(other[0])
                    one[1].update(other[1])
                    groups.remove(other)
                    joined = True
                    break
            if joined:
                break
    return {place: min(places) for places, _ in groups for place in places}


def test_whatever_links_two_edits_joins_them():
    facts = [("a",), ("b", "c"), ("d",), ("c", "d"), ("e",), ("f",), ("a", "f"), ("g",)]
    images = ["1", "2", "3", "4", "5", "5", "6", "7"]
    cases = [
        EditCase(EditRequest(str(i), "vqa", "x", "q", "a"), (), fact, (EditRequest("", "vqa", image, "q", "a"),))
        for i, (fact, image) in enumerate(zip(facts, images, strict=True))
    ]
    expected = naive_groups([{*fact, image} for fact, image in zip(facts, images, strict=True)])
    assert dict(enumerate(edit_groups(cases))) == expected == {0: 0, 1: 1, 2: 1, 3: 1, 4: 0, 5: 0, 6: 0, 7: 7}


def test_records_that_share_a_rephrased_picture_or_a_fact_land_in_one_split(tmp_path):
    train = [record(i, image_rephrase=f"r{i // 2}.png", facts=[f"{i // 3}"]) for i in range(60)]
    splits = prepared(tmp_path, train[::2] + train[1::2], [record(i) for i in range(100, 104)])
    assert sum(len(splits[split]) for split in LEARNED) == 60 and all(splits.values())
    for value in (lambda case: case.query("m_gen").image, lambda case: case.facts):
        assert all(len(found) == 1 for found in split_by(splits, value).values())
    assert counts_notes(tmp_path / "out" / "counts.json") == []


def test_a_picture_is_the_same_however_it_is_written(tmp_path):
    train = [record(i, image=f"b/{i}.png") for i in range(40)]
    written = ("./b/{}.png", "b//{}.png", "b/../b/{}.png", "B/{}.png", "b/link{}.png")
    evaluated = [record(100 + i, image=written[i % 5].format(i)) for i in range(20)]
    (tmp_path / "images" / "b").mkdir(parents=True)
    (tmp_path / "images" / "B").symlink_to("b")  # what a disk does that folds case
    for i in range(4, 20, 5):
        (tmp_path / "images" / "b" / f"link{i}.png").symlink_to(f"{i}.png")
    splits = prepared(tmp_path, train, evaluated)
    assert counted(tmp_path, "train.json")["evaluated"] == 20
    assert counted(tmp_path, "eval.json")["shared_edits"] == {"fact": 0, "edited": 20}
    assert {case.request.image for case in splits["eval"]} <= {
        *(f"b/{i}.png" for i in range(20)),
        *(f"B/{i}.png" for i in range(20)),
        *(f"b/link{i}.png" for i in range(20)),
    }
    assert all((tmp_path / "images" / case.request.image).is_file() for case in splits["eval"])


def test_names_that_a_disk_folds_are_one_picture_in_every_role(tmp_path):
    """A disk that folds case answers to both names with one inode, as it does here, where a file has two names."""
    train = [record(i, facts=[f"fact {i}"]) for i in range(40)]
    changes = [{"image": "A3.PNG"}, {"image_rephrase": "B4.Png"}, {"m_loc": "a5.PNG"}, {}]
    evaluated = [record(100 + i, **change) for i, change in enumerate(changes)]
    (tmp_path / "images").mkdir()
    for name in ("a3.png", "b4.png", "a5.png"):
        (tmp_path / "images" / name).write_bytes(PIXEL)
    for name, other in (("a3.png", "A3.PNG"), ("b4.png", "B4.Png"), ("a5.png", "a5.PNG")):
        os.link(tmp_path / "images" / name, tmp_path / "images" / other)
    splits = prepared(tmp_path, train, evaluated)
    assert counted(tmp_path, "train.json")["evaluated"] == counted(tmp_path, "eval.json")["shared_edits"]["edited"] == 2
    names = {(probe.kind, probe.query.image) for case in splits["eval"] for probe in case.probes}
    assert len({image.lower() for _, image in names if image}) == len({image for _, image in names if image})
    kept = {case.request.image.lower() for split in LEARNED for case in splits[split]}
    assert "a3.png" not in kept and "a4.png" not in kept and "a5.png" in kept


def test_what_a_picture_shows_is_said_of_its_one_name(tmp_path):
    (tmp_path / "a.png").write_bytes(PIXEL)
    os.link(tmp_path / "a.png", tmp_path / "z.PNG")
    case = EditCase(EditRequest("1", "vqa", "./z.PNG", "what?", "cat"), (), ("one",), shown=(("z.PNG", "Tom"),))
    assert one_name_each([case], [str(tmp_path)])(case).shown == (("z.PNG", "Tom"),)
    other = EditCase(EditRequest("2", "vqa", "a.png", "what?", "cat"), (), ("two",), shown=(("./z.PNG", "Tom"),))
    renamed = one_name_each([case, other], [str(tmp_path)])
    (first,), (second,) = renamed(case).shown, renamed(other).shown
    assert first == second == (renamed(case).request.image, "Tom") and renamed(other).request.image == first[0]


def test_pictures_that_are_not_there_are_told_apart_by_plain_names(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "check_images", lambda files, *_: [[] for _ in files])
    monkeypatch.setattr(Path, "write_bytes", lambda *_: None)
    train = [record(i, image=f"b/{i}.png") for i in range(40)]
    splits = prepared(tmp_path, [*train, record(50, image="./b//7.png")], [record(100)])
    assert all(len(found) == 1 for found in split_by(splits, lambda case: case.request.image).values())
    assert sum(case.request.image == "b/7.png" for split in LEARNED for case in splits[split]) == 2


@pytest.mark.parametrize(
    ("choice", "evaluated", "fact", "said"),
    [("keep", 0, 0, 1), ("drop_pictures", 3, 0, 2), ("drop", 3, 2, 2)],
)
def test_what_files_share_is_counted_said_and_left_out_as_asked(tmp_path, choice, evaluated, fact, said):
    shared = [record(0, image_rephrase="b101.png"), record(1, image="a102.png"), record(2, image_rephrase="b103.png")]
    facts = [record(3, facts=["one"]), record(4, facts=["two", "mine"])]
    train = [*shared, *facts, *(record(i) for i in range(5, 60))]
    edits = [record(100), *(record(i) for i in (101, 102, 103)), *(record(104 + i, facts=[t]) for i, t in
             enumerate(("one", "two", "one")))]  # fmt: skip
    splits = prepared(tmp_path, train, edits, shared_edits=choice)
    assert sum(len(splits[split]) for split in LEARNED) == 60 - evaluated - fact
    assert len(splits["eval"]) == 7
    assert counted(tmp_path, "eval.json")["shared_edits"] == {"fact": 3, "edited": 3}
    counts = counted(tmp_path, "train.json")
    assert (counts["evaluated"], counts.get("fact", 0)) == (evaluated, fact)
    notes = counts_notes(tmp_path / "out" / "counts.json")
    assert len(notes) == said
    assert "the fact of 3 and a picture of 3 of the 7 edits of eval.json" in notes[-1]
    if evaluated:
        assert f"Of the 60 records of train.json, {evaluated + fact} " in notes[0]


def excerpt(name):
    if not FORMATS.is_dir():
        pytest.skip("VLKEB's real records are not here")
    return json.loads((FORMATS / name).read_text())


@pytest.mark.parametrize(("dialect", "name"), [("vlkeb", "eval"), ("vlkeb_onehop", "eval_edit_onehop")])
@pytest.mark.parametrize("missing", [False, True])
def test_vlkebs_own_records_load(tmp_path, dialect, name, missing):
    """Pairs of one fact and one rephrased picture; 15 pictures that both files name; pictures that are not there."""
    both = excerpt("cross_split.json")
    train = excerpt("train.shared_rephrase.json") + excerpt("train.first40.json") + both["train"]
    train = list({each["image"]: each for each in train}.values())
    edits = excerpt(f"{name}.shared_rephrase.json") + both["eval"] * (name == "eval")
    edits = list({each["image"]: each for each in edits}.values())
    settings = {"format": dialect, "missing": "skip" if missing else "error"}
    splits = prepared(tmp_path, train, edits, **settings)
    if missing:
        for case in (*splits["eval"][:2], *splits["pool"][:1]):
            (tmp_path / "images" / case.request.image).unlink()
        splits = prepared_again(tmp_path, settings)
        assert (counted(tmp_path, "train.json")["missing"], counted(tmp_path, "eval.json")["missing"]) == (1, 2)
    learned = {split: splits[split] for split in LEARNED}
    pairs = split_by(learned, lambda case: (case.request.prompt, case.request.target))
    assert len(pairs) > 20 and all(len(found) == 1 for found in pairs.values())
    shared = counted(tmp_path, "eval.json")["shared_edits"]
    texts = {(each["src"].casefold(), each["alt"].casefold()) for each in train}
    expected = sum((each["src"].casefold(), each["alt"].casefold()) in texts for each in edits)
    assert shared["fact"] == expected or missing
    assert bool(shared["edited"]) == (name == "eval")


def prepared_again(folder, settings):
    config = BenchmarkConfig(annotations=str(folder), images=str(folder / "images"), files=ONE_TASK, **settings)
    prepare_user_benchmark(folder / "out", config, 0)
    return {split: read_cases(folder / "out" / f"{split}_vqa.json") for split in (*LEARNED, "eval")}


def test_records_of_two_edits_in_a_file_of_one_name_their_dialect(tmp_path):
    one = record(1, port_new=[{"port_edit_q": "q", "port_edit_a": "a", "port_q": "p", "port_a": "b"}])
    with pytest.raises(InputError, match=r"'port_new': entry 0: .*benchmark\.format: vlkeb_onehop"):
        prepared(tmp_path, [one], [record(2)], format="vlkeb")
