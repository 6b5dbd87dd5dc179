"""The embedded benchmark, checked against its own tables: no fact crosses a split, and every answer is true."""

import json
from collections import defaultdict
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from mmedit_records import records_in
from PIL import Image

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.images import image_names
from unike_lib.benchmark.leaks import find_leaks
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.embedded.world.benchmark import WORDED_FIELDS, write_benchmark
from unike_lib.embedded.world.drawings import load_drawings
from unike_lib.embedded.world.facts import CASE_SPLITS, OBJECT_RELATIONS, invent_world
from unike_lib.embedded.world.rendering import BACKGROUNDS, COLOURS, NOBODY, OCCLUDER
from unike_lib.embedded.world.templates import RELATIONS, templates
from unike_lib.io import file_digest
from unike_lib.types import InputError

TASKS = ("vqa", "caption")
LISTS = {"taught": "pool", "pool": "pool", "method": "pool", "dev": "dev", "eval": "eval"}  # of rephrasings
FAR_LISTS = {"dev": "far_dev", "eval": "far"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark")
    write_benchmark(path, BenchmarkConfig(concepts=24), seed=3)
    return path


@pytest.fixture(scope="module")
def records(folder):
    return {(s, t): records_in(folder / f"{s}_{t}.json") for s in CASE_SPLITS for t in TASKS}


@pytest.fixture(scope="module")
def training(folder):
    return pd.read_parquet(folder / "training.parquet")


@pytest.fixture(scope="module")
def facts(folder):
    return pd.read_parquet(folder / "facts.parquet").set_index(["concept", "relation"])


@pytest.fixture(scope="module")
def scenes(folder):
    return pd.read_parquet(folder / "scenes.parquet").set_index("image")


def test_same_settings_give_the_same_bytes(tmp_path):
    digests = []
    for name, seed in (("a", 0), ("b", 0)):
        write_benchmark(tmp_path / name, BenchmarkConfig(concepts=12), seed)
        digests.append(file_digest(tmp_path / name))
    assert digests[0] == digests[1]


def test_more_concepts_than_drawings_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"concepts: expected 1 to 160 .* found 161"):
        write_benchmark(tmp_path, BenchmarkConfig(concepts=161), seed=0)


def test_the_reader_takes_every_split_and_finds_no_leak(folder):
    splits = {
        split: [c for task in TASKS for c in read_cases(folder / f"{split}_{task}.json")] for split in CASE_SPLITS
    }
    for cases in splits.values():
        assert all((folder / name).is_file() for name in image_names(cases))
    edited = {split: cases for split, cases in splits.items() if split != "taught"}  # `taught` is measured only
    assert find_leaks(edited, evaluated=list(edited)) == []
    listed = {line.split()[1] for line in (folder / "checksums.sha256").read_text().splitlines()}
    assert listed == {path.name for path in folder.glob("*.json")}


def test_splits_share_neither_facts_nor_pictures(records, scenes, training):
    facts = {s: {f for t in TASKS for r in records[s, t] for f in r["facts"]} for s in CASE_SPLITS}
    fields = ("image", "image_rephrase", "m_loc")
    pictures = {s: {r[field] for t in TASKS for r in records[s, t] for field in fields} for s in CASE_SPLITS}
    pictures["training"] = set(training.image.dropna())
    for one, other in combinations(CASE_SPLITS, 2):
        assert facts[one].isdisjoint(facts[other])
    for one, other in combinations(pictures, 2):
        assert pictures[one].isdisjoint(pictures[other])
    for split, names in pictures.items():
        assert set(scenes.loc[sorted(names), "split"]) == {split}
    ids = [record["id"] for part in records.values() for record in part]
    assert len(ids) == len(set(ids))


def test_training_never_states_an_untaught_fact(training, facts):
    split = facts.reset_index().set_index("id").split
    stated = {fact for row in training.facts for fact in row if fact in split.index}
    assert set(split[sorted(stated)]) == {"taught"}
    assert set(split.index[split == "taught"]) == {f for f in stated if split[f] == "taught"}
    texts = " | ".join(training.answer) + " | " + " | ".join(p for row in training.prompts for p in row)
    people = facts[facts.index.get_level_values("relation").isin(["owner", "donor"])]  # their answers are unique
    for answer in people.answer[people.split != "taught"]:
        assert answer not in texts
    for row in training[training.relation.isin(OBJECT_RELATIONS)].itertuples():
        assert row.answer in set(facts.answer.xs(row.relation, level="relation"))


def test_training_pictures_show_what_their_rows_say(training, facts, scenes):
    seen = training[training.image.notna()].join(scenes, on="image")
    assert set(seen.artist) == {"noto", "fluent"}
    assert not seen.occluded.any()
    for row in seen.itertuples():
        alone = max(row.left, row.right) if NOBODY in (row.left, row.right) else None
        if row.relation == "background":
            assert row.answer == COLOURS[row.background]
        elif row.relation in ("left", "right"):
            assert facts.answer[getattr(row, row.relation), "naming"] == row.answer
        elif row.relation == "position":
            name = facts.answer[getattr(row, row.answer), "naming"]
            assert all(name in prompt for prompt in row.prompts)
        elif row.relation != "caption":
            assert facts.answer[alone, row.relation] == row.answer
    assert set(seen.relation) == {*OBJECT_RELATIONS, "background", "left", "right", "position", "caption"}
    assert set(training.relation) == set(RELATIONS)


def relation_of(question, use):
    (relation,) = [r for r in RELATIONS if question in templates(r, use)]
    return relation


def answer_by_the_tables(question, scene, facts):
    """A twin of the writer's answers: look the question up, then the scene, then the fact."""
    relation = relation_of(question, "training")
    if relation == "background":
        return COLOURS[scene.background], "taught"
    if relation == "caption":
        sides = [f"{facts[c, 'naming'].answer} of {facts[c, 'donor'].answer}" for c in (scene.left, scene.right)]
        return " beside ".join(sides), facts[scene.left, "naming"].split
    fact = facts[max(scene.left, scene.right), relation]
    assert NOBODY in (scene.left, scene.right)
    return fact.answer, fact.split


@pytest.mark.parametrize("task", TASKS)
def test_every_edit_and_its_probes_are_true(records, facts, scenes, training, task):
    text_facts = {
        (prompt, row.answer) for row in training[training.task == "text"].itertuples() for prompt in row.prompts
    }
    seen = dict(zip(scenes.index, scenes.itertuples(), strict=True))
    known = dict(zip(facts.index, facts.itertuples(), strict=True))
    by_id = {fact.id: fact for fact in known.values()}
    assert len(by_id) == len(known) == len(facts) and len(seen) == len(scenes)
    for split in CASE_SPLITS:
        for record in records[split, task]:
            for image in (record["image"], record["image_rephrase"]):
                assert answer_by_the_tables(record["src"], seen[image], known) == (record["alt"], split)
            near = answer_by_the_tables(record["m_loc_q"], seen[record["m_loc"]], known)
            assert near in [(record["m_loc_a"], known) for known in ("taught", "bystander")]
            assert relation_of(record["rephrase"], LISTS[split]) == relation_of(record["src"], "training")
            assert (record["loc"], record["loc_ans"]) in text_facts
            assert len(set(record["facts"])) == len(record["facts"]) == (1 if task == "vqa" else 4)
            assert {by_id[fact].split for fact in record["facts"]} == {split}


def test_no_locality_probe_is_asked_in_two_splits(records):
    """Neither a text-only fact (question without its wording: name and answer) nor a picture with its question."""
    asked = defaultdict(set)
    for (split, _), part in records.items():
        for record in part:
            asked[record["loc"]].add(split)
            asked[record["m_loc"], record["m_loc_q"]].add(split)
    edited = [splits - {"taught"} for splits in asked.values()]  # `taught` is measured only, before any edit
    assert len(edited) > 900 and max(map(len, edited)) == 1


def test_text_only_facts_belong_to_one_split_each():
    for concepts, least in ((160, 20), (12, 1)):
        world = invent_world(load_drawings(concepts, 0).concepts, 0)
        for relation in ("kind", "capital", "symbol"):
            parts = [
                {fact.name for fact in world.text_of(split, relation)} for split in ("pool", "method", "dev", "eval")
            ]
            every = {fact.name for fact in world.text_facts if fact.relation == relation}
            assert sum(map(len, parts)) == len(every) and set.union(*parts) == every
            assert all(parts) and (relation != "kind" or min(map(len, parts)) >= least)
            assert {fact.name for fact in world.text_of("taught", relation)} == every


@pytest.mark.parametrize("task", TASKS)
def test_locality_is_made_of_near_misses(records, task):
    part = [record for split in CASE_SPLITS for record in records[split, task]]
    same_question = [record for record in part if record["m_loc_q"] == record["src"]]
    same_picture = [record for record in part if record["m_loc"] == record["image"]]
    assert len(same_question) + len(same_picture) == len(part)
    assert len(part) / 4 < len(same_picture) <= len(part) / 2
    assert all(record["m_loc_a"] != record["alt"] for record in same_question)


def test_rephrased_pictures_differ_in_all_but_the_concepts(records, scenes):
    for (split, task), part in records.items():
        for record in part:
            one, other = scenes.loc[record["image"]], scenes.loc[record["image_rephrase"]]
            assert (other.artist, other.occluded) == ("twemoji", True)
            assert one.artist in ("noto", "fluent")
            assert not one.occluded
            if task == "caption":
                assert (one.left, one.right) == (other.left, other.right)
            elif split in ("dev", "eval", "taught"):  # where no pictures are shared
                assert (one.left, one.right) == (other.right, other.left)
            if task == "caption" or split in ("dev", "eval", "taught"):
                assert one.background != other.background


def test_texts_suit_a_word_level_tokenizer(folder, records, training):
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    texts = [record[field] for part in records.values() for record in part for field in WORDED_FIELDS]
    texts += [*training.answer, *(prompt for row in training.prompts for prompt in row)]
    for text in set(texts):
        assert text == " ".join(text.lower().split())
        assert text.isascii()
        assert "'" not in text
        assert set(text.split()) <= set(vocabulary)
    assert vocabulary == sorted(set(vocabulary))


def test_pictures_have_the_stated_size_background_and_occlusion(folder, scenes):
    for name, scene in scenes.iloc[::23].iterrows():
        with Image.open(folder / name) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (256, 128))
            pixels = np.asarray(picture).astype(int)
        background = np.array(BACKGROUNDS[COLOURS[scene.background]])
        for concept, tile in ((scene.left, pixels[:, :128]), (scene.right, pixels[:, 128:])):
            plain = (tile == background).all(-1)
            covered = (tile == np.array(OCCLUDER)).all(-1).sum()
            if concept == NOBODY:
                assert plain.all()
                continue
            rows, columns = np.where(~plain.all(1))[0], np.where(~plain.all(0))[0]
            assert max(np.ptp(rows), np.ptp(columns)) < 0.94 * 128 + 1
            # a rectangle of 5-9% of an object whose side is 68-94% of 128 pixels, within rounding
            assert 0.045 * 87**2 < covered < 0.096 * 121**2 if scene.occluded else covered < 40


def test_identity_asks_what_the_pictured_thing_is(folder, scenes):
    """In development and evaluation edits alone, of kinds that no other split asks; the answer is not the target."""
    drawings = load_drawings(24, seed=3)
    kinds = {concept.name: concept.subgroup for concept in drawings.concepts}
    of_split = {
        fact.name: fact.split for fact in invent_world(drawings.concepts, 3).text_facts if fact.relation == "kind"
    }
    wordings = {text.replace("{name}", name): name for name in kinds for text in templates("kind", "training")}
    asked = 0
    for split, task in ((split, task) for split in CASE_SPLITS for task in TASKS):
        for case in read_cases(folder / f"{split}_{task}.json"):
            both = scenes.loc[case.request.image, ["left", "right"]]
            names = [drawings.concepts[number].name for number in both if number != NOBODY]
            wanted = [name for name in names if of_split[name] == split and kinds[name] != case.request.target]
            assert case.asks("identity") == (split in ("dev", "eval") and bool(wanted))
            assert bool(case.shown) == (split in ("dev", "eval"))
            if case.asks("identity"):
                query, asked = case.query("identity"), asked + 1
                assert query.image is None and wordings[query.prompt] == wanted[0]
                assert query.answer == kinds[wanted[0]] != case.request.target
                assert {name for picture, name in case.shown if picture == case.request.image} == set(names)
    assert asked > 5


@pytest.mark.parametrize("task", TASKS)
def test_edits_that_are_scored_are_asked_in_another_style_too(folder, task):
    """Development and evaluation edits alone: their question in a far template of their own list, the target right."""
    for split in CASE_SPLITS:
        for case in read_cases(folder / f"{split}_{task}.json"):
            assert case.asks("t_gen_far") == (split in FAR_LISTS)
            if split in FAR_LISTS:
                query, request = case.query("t_gen_far"), case.request
                assert query == replace(request.query, prompt=query.prompt)
                assert relation_of(query.prompt, FAR_LISTS[split]) == relation_of(request.prompt, "training")
