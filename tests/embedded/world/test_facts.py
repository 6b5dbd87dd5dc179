"""Facts, splits and drawings: shares, counts at full size, and the packaged data file."""

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unike_lib.embedded.world.drawings import ARTISTS, DRAWINGS, load_drawings
from unike_lib.embedded.world.edits import CAPTION_ROUNDS, SHARED_PICTURES, ring
from unike_lib.embedded.world.facts import (
    CASE_SPLITS,
    EDIT_SPLITS,
    FACT_SHARES,
    FACT_SPLITS,
    NAMING_SHARES,
    OBJECT_RELATIONS,
    draw_splits,
    invent_world,
)
from unike_lib.embedded.world.words import CAPITALS, ELEMENTS, FIRST_NAMES, GUARDS, LAST_NAMES, ROOMS, TOWNS, YEARS
from unike_lib.io import read_table
from unike_lib.types import InputError

CONCEPTS = 160  # the default of the benchmark


@pytest.fixture(scope="module")
def world():
    return invent_world(load_drawings(CONCEPTS, 0).concepts, seed=0)


def test_full_size_gives_the_edits_that_the_tables_need(world):
    edits = {split: len(world.of(split)) for split in FACT_SPLITS}
    captions = {split: len(ring(world.of(split, "naming"), CAPTION_ROUNDS[split])) for split in EDIT_SPLITS}
    assert (edits["eval"], edits["dev"], edits["method"], edits["bystander"]) == (165, 94, 91, 56)
    assert (captions["eval"], captions["dev"], captions["method"]) == (147, 96, 91)
    assert edits["pool"] * SHARED_PICTURES["pool"] + captions["pool"] >= 3200
    assert 0.28 < edits["taught"] / sum(edits.values()) < 0.34


def test_every_relation_is_split_in_the_stated_shares(world):
    for relation in OBJECT_RELATIONS[1:]:
        counts = {split: len(world.of(split, relation)) for split in FACT_SPLITS}
        counts["eval"] += counts["bystander"]
        assert all(counts[split] == round(FACT_SHARES[split] * CONCEPTS) for split in EDIT_SPLITS)
        assert counts["bystander"] == counts["eval"] / 4


def test_made_up_answers_cannot_be_guessed_and_people_are_unique(world):
    for relation in ("town", "year", "room", "guard"):
        counts = Counter(fact.answer for fact in world.facts.values() if fact.relation == relation)
        assert max(counts.values()) - min(counts.values()) <= 1
    people = [fact.answer for fact in world.facts.values() if fact.relation == "owner"]
    people += [fact.answer for fact in world.donors.values()]
    assert len(people) == len(set(people)) == 2 * CONCEPTS
    assert all(donor.split == world.facts[c, "naming"].split for c, donor in world.donors.items())


def test_splits_depend_on_the_seed_only(world):
    concepts = load_drawings(CONCEPTS, 0).concepts
    assert invent_world(concepts, seed=0).facts == world.facts
    other = invent_world(concepts, seed=1).facts
    assert sum(other[key].split != fact.split for key, fact in world.facts.items()) > 250


@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("taught", "e3c340a7c5e37c3782354cca5b3624f80896c6fc98578a440f8affd5dcf20073"),
        ("pool", "3c8bec2ae8f018786c65bbd9bdd90e89de51624414a4e2c28f93913b20fe3e00"),
        ("method", "b347a7b83c7b46724401b4c3ff418c4565dfc86c4acddd826d6c8460d08772de"),
        ("dev", "604476db31d9c2c82fe21bb94c7c33f27a3a0fb05eb82e5b558d3cb1f62684bb"),
    ],
)
def test_facts_are_those_that_the_shipped_weights_were_trained_with(world, split, digest):
    """Digests from before there were bystanders: these come from the evaluation's facts alone."""
    ids = sorted(fact.id for fact in world.of(split))
    assert hashlib.sha256("\n".join(ids).encode()).hexdigest() == digest


@pytest.mark.parametrize("concepts", [160, 24, 12])
def test_each_bystander_is_asked_by_the_edits_of_one_split(concepts):
    world = invent_world(load_drawings(concepts, 0).concepts, 0)
    for relation in OBJECT_RELATIONS:
        parts = [world.bystanders(split, relation) for split in EDIT_SPLITS]
        every = [fact.id for part in parts for fact in part]
        assert sorted(every) == sorted(fact.id for fact in world.of("bystander", relation))
        assert len(every) == len(set(every)) and world.bystanders("taught", relation) == []
        assert concepts < CONCEPTS or min(map(len, parts)) == 2  # a caption needs two names
        assert len(world.of("eval", relation)) >= 2


@given(st.integers(12, 400), st.sampled_from([(NAMING_SHARES, 2), (FACT_SHARES, 1)]), st.integers(0, 99))
def test_every_split_gets_facts_however_few_there_are(count, drawn, seed):
    shares, fewest = drawn
    counts = Counter(draw_splits(count, shares, "taught", random.Random(seed), fewest))
    assert sum(counts.values()) == count
    assert all(counts[split] >= fewest for split in CASE_SPLITS)


@given(st.integers(2, 60), st.integers(1, 8))
def test_a_ring_uses_every_concept_equally_often(count, rounds):
    pairs = ring(list(range(count)), rounds)
    assert len(pairs) == len(set(pairs)) == count * min(rounds, count - 1)
    assert all(left != right for left, right in pairs)
    for side in (0, 1):
        assert set(Counter(pair[side] for pair in pairs).values()) == {min(rounds, count - 1)}


def test_word_lists_have_no_repeats_and_the_promised_sizes():
    sizes = {60: (FIRST_NAMES, LAST_NAMES, GUARDS), 120: (TOWNS, ROOMS), 100: (YEARS,)}
    for size, lists in sizes.items():
        assert all(len(words) == len(set(words)) == size for words in lists)
    assert (CAPITALS["argentina"], CAPITALS["zimbabwe"], ELEMENTS["iron"]) == ("buenos aires", "harare", "fe")
    assert len(set(CAPITALS.values())) == len(CAPITALS) > 100
    assert len(set(ELEMENTS.values())) == len(ELEMENTS)


def test_packaged_drawings_are_complete_licensed_and_small():
    source = DRAWINGS.parent
    table = read_table(str(DRAWINGS))
    assert DRAWINGS.stat().st_size < 8e6
    assert Counter(table.artist) == dict.fromkeys(ARTISTS, CONCEPTS)
    assert not table.duplicated(["concept", "artist"]).any()
    notice = (source / "README.md").read_text()
    for artist, licence in set(zip(table.artist, table.licence, strict=True)):
        assert any(f"`{artist}`" in line and f"| {licence} |" in line for line in notice.splitlines())
    for name, keywords in zip(table.concept, table.keywords, strict=True):
        assert len(keywords) > 0
        assert not any(set(name.split()) & set(keyword.split()) for keyword in keywords)


def test_a_choice_of_drawings_keeps_concept_and_picture_together():
    every, few = load_drawings(None, 0), load_drawings(20, seed=5)
    place = {concept.name: index for index, concept in enumerate(every.concepts)}
    assert len(few.concepts) == 20
    assert [c.name for c in few.concepts] != [c.name for c in load_drawings(20, seed=6).concepts]
    for index, concept in enumerate(few.concepts):
        for artist in ARTISTS:
            assert few.pngs[index, artist] == every.pngs[place[concept.name], artist]
    assert few.image(0, "noto").mode == "RGBA"
    assert few.image(0, "noto").size == (72, 72)
    with pytest.raises(InputError, match="expected 1 to 160"):
        load_drawings(0, 0)
