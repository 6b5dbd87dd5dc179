"""Nothing that is trained or chosen meets the evaluation's wording, and near misses are no better known than edits.

At full size, with pictures that are listed but not drawn.
"""

import re
from collections import defaultdict
from itertools import chain

import pytest

from unike_lib.embedded.world.drawings import load_drawings
from unike_lib.embedded.world.edits import ring, write_edits
from unike_lib.embedded.world.facts import EDIT_SPLITS, OBJECT_RELATIONS, invent_world
from unike_lib.embedded.world.rendering import NOBODY, Scene, SceneRenderer
from unike_lib.embedded.world.templates import RELATIONS, USES, templates
from unike_lib.embedded.world.training_rows import training_rows

ASKED = ("naming", "keyword", "owner", "town", "year", "room", "guard", "caption")  # by edits
LEAST = {"training": 8, "pool": 4, "dev": 3, "eval": 3, "far_dev": 4, "far": 6}
FIELDS = ("src", "rephrase", "loc", "m_loc_q")  # the questions of a record


class Undrawn(SceneRenderer):
    """Lists scenes, and draws none."""

    def _keep(self, split, slots, artist, background):
        self.scenes.append(Scene(f"{len(self.scenes)}.png", split, *slots, background, artist, False))
        return self.scenes[-1]


@pytest.fixture(scope="module")
def drawings():
    return load_drawings(160, 0)


@pytest.fixture(scope="module")
def world(drawings):
    return invent_world(drawings.concepts, 0)


@pytest.fixture(scope="module")
def renderer(drawings, tmp_path_factory):
    return Undrawn(drawings, tmp_path_factory.mktemp("undrawn"), 0)


@pytest.fixture(scope="module")
def records(world, renderer):
    taught = ring([fact.concept for fact in world.of("taught", "naming")], 2)
    return {(split, task): part for split, task, part in write_edits(world, renderer, taught, 0)}


@pytest.fixture(scope="module")
def training(world, renderer):
    for concept in range(len(world.names)):
        renderer.single("training", concept)
    for pair in ring([fact.concept for fact in world.of("taught", "naming")], 1):
        renderer.pair("training", *pair)
    return list(training_rows(world, [scene for scene in renderer.scenes if scene.split == "training"]))


def plain(text):
    """A text as two people would call it the same: lower case, no punctuation."""
    return " ".join(re.sub(r"[^\w{}\s]", " ", text.lower()).split())


def test_no_template_is_in_two_lists():
    every = [plain(text) for relation in RELATIONS for use in USES for text in templates(relation, use)]
    assert len(every) == len(set(every))


def test_lists_are_as_long_as_they_must_be_and_what_no_edit_asks_has_only_one():
    for relation in RELATIONS:
        counts = {use: len(templates(relation, use)) for use in USES}
        least = LEAST if relation in ASKED else {"training": 8}
        assert {use for use, count in counts.items() if count} == set(least)
        assert all(counts[use] >= count for use, count in least.items())
        texts = [text for use in USES for text in templates(relation, use)]
        assert len({"{name}" in text for text in texts}) == 1


def test_every_template_uses_only_words_of_training_questions():
    """Of the templates themselves: a name that is put into them may not be drawn, and its words be unknown."""
    known = {word for relation in RELATIONS for text in templates(relation, "training") for word in text.split()}
    for text in (text for relation in RELATIONS for use in USES for text in templates(relation, use)):
        assert text == " ".join(text.lower().split()) and set(text.split()) <= known, text


def test_no_template_of_the_evaluation_is_met_by_what_trains_or_chooses(records, training):
    """Neither by edits of other splits, whose texts train, demonstrate and choose, nor by what backbones read."""
    evaluated = {plain(text) for relation in ASKED for use in ("eval", "far") for text in templates(relation, use)}
    met = {plain(r[field]) for (split, _), part in records.items() if split != "eval" for r in part for field in FIELDS}
    met |= {plain(text) for row in training for text in row["prompts"]}
    met |= {plain(text) for relation in ASKED for text in templates(relation, "far_dev")}
    assert len(evaluated) >= 8 * 9 and len(met) > 300 and evaluated.isdisjoint(met)
    assert {plain(r["rephrase"]) for task in ("vqa", "caption") for r in records["eval", task]} <= evaluated


def facts_asked(world, scenes, record):
    """The facts that a near miss states, looked up by its question and its picture; none for a background."""
    scene = scenes[record["m_loc"]]
    (relation,) = [r for r in RELATIONS if record["m_loc_q"] in templates(r, "training")]
    if relation == "caption":
        return {world.facts[concept, "naming"] for concept in (scene.left, scene.right)}
    concept = next(number for number in (scene.left, scene.right) if number != NOBODY)
    return {world.facts[concept, relation]} if relation in OBJECT_RELATIONS else set()


@pytest.mark.parametrize("task", ["vqa", "caption"])
def test_half_of_the_near_misses_are_untaught_as_edits_are(world, renderer, records, task):
    scenes = {scene.image: scene for scene in renderer.scenes}
    for split in EDIT_SPLITS:
        untaught = {False: [], True: []}  # by whether they ask about the edit's own picture
        for record in records[split, task]:
            known = {fact.split for fact in facts_asked(world, scenes, record)} or {"taught"}
            assert len(known) == 1 and known <= {"taught", "bystander"}
            untaught[record["m_loc"] == record["image"]].append(known == {"bystander"})
        every = [*untaught[False], *untaught[True]]
        assert abs(sum(every) - len(every) / 2) <= 1
        assert 0.2 * len(every) < len(untaught[False]) - sum(untaught[False])  # the same question, both ways
    assert not any(
        fact.split == "bystander" for record in records["taught", task] for fact in facts_asked(world, scenes, record)
    )


def test_bystanders_are_never_edited_nor_taught_and_asked_in_one_split(world, renderer, records, training):
    bystanders = {fact.id for fact in (*world.facts.values(), *world.donors.values()) if fact.split == "bystander"}
    scenes = {scene.image: scene for scene in renderer.scenes}
    asked = defaultdict(set)
    for (split, _), part in records.items():
        assert bystanders.isdisjoint(chain.from_iterable(record["facts"] for record in part))
        for record in part:
            for fact in facts_asked(world, scenes, record):
                asked[fact.id].add(split)
    assert bystanders.isdisjoint(chain.from_iterable(row["facts"] for row in training))
    assert {len(asked[fact.id]) for fact in world.of("bystander")} == {1}
