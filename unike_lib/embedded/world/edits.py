"""Edits of the embedded benchmark: each fact that a split holds, with its rephrasings and near misses.

Locality pictures are near misses: the same question of another picture, or another question of the same picture. Half
ask a bystander (`facts`), so that an edit, whose fact is untaught too, does not differ from them by what the model
knows; as no session edits a bystander, none may change it. The other half ask a taught fact, which an unedited backbone
gives stably. Both kinds of near miss take turns, but few pictured things have a bystander of their own: then the same
question is asked of another picture. Edits of taught facts, made to measure a backbone, ask taught facts alone.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unike_lib.embedded.world.facts import CASE_SPLITS, OBJECT_RELATIONS, Fact, FactSplit, World
from unike_lib.embedded.world.rendering import NOBODY, Scene, SceneRenderer
from unike_lib.embedded.world.templates import Use, prompts
from unike_lib.types import Task

RawEdit = dict[str, Any]
# Pictures per concept, shared by its facts in that split; 0: every edit has a picture of its own.
SHARED_PICTURES: Mapping[FactSplit, int] = {"pool": 8, "method": 2, "taught": 0, "dev": 0, "eval": 0}
CAPTION_ROUNDS: Mapping[FactSplit, int] = {"pool": 10, "method": 7, "dev": 6, "eval": 7}
REPHRASED: Mapping[FactSplit, Use] = {"taught": "pool", "pool": "pool", "method": "pool", "dev": "dev", "eval": "eval"}
SHARED_REPHRASED = 2  # rephrased pictures per concept where pictures are shared
TAUGHT_SAMPLE = 250  # taught facts per task, made like edits, for measuring a backbone before any edit
CAPTION_PROMPT = "a photo of"  # MMEdit's


class EditWriter:
    """Writes the records of one split, drawing the pictures they need."""

    def __init__(self, world: World, renderer: SceneRenderer, split: FactSplit, seed: int) -> None:
        self.world, self.renderer, self.split = world, renderer, split
        self.rng = random.Random(f"edits {seed} {split}")
        self.pictures: dict[int, list[Scene]] = {}
        self.rephrased: dict[int, list[Scene]] = {}
        self.near: dict[tuple[int, int, int], Scene] = {}
        self.taught = {relation: world.of("taught", relation) for relation in OBJECT_RELATIONS}
        self.bystanders = {relation: world.bystanders(split, relation) for relation in OBJECT_RELATIONS}
        self.turns = itertools.cycle(itertools.product((False, True), (True, False)))

    def vqa(self, facts: Sequence[Fact]) -> Iterator[RawEdit]:
        """Yield the records of facts about single objects: one per picture."""
        for fact in facts:
            for number, scene in enumerate(self._scenes(fact.concept)):
                question = self.rng.choice(prompts(fact.relation, "training"))
                yield {
                    "src": question,
                    "pred": "",
                    "rephrase": self.rng.choice(prompts(fact.relation, REPHRASED[self.split])),
                    "alt": fact.answer,
                    "image": scene.image,
                    "image_rephrase": self._rephrased(scene, number).image,
                    **self._text_locality(),
                    **self._near_question(fact, scene, question),
                    "facts": [fact.id],
                }

    def caption(self, pairs: Sequence[tuple[int, int]], known: Sequence[tuple[int, int]]) -> Iterator[RawEdit]:
        """Yield the records of captions of pairs; `known` are taught pairs for the near misses."""
        for pair in pairs:
            scene = self.renderer.pair(self.split, *pair)
            yield {
                "src": CAPTION_PROMPT,
                "pred": "",
                "rephrase": self.rng.choice(prompts("caption", REPHRASED[self.split])),
                "alt": self.world.caption(*pair),
                "image": scene.image,
                "image_rephrase": self.renderer.rephrase(scene).image,
                **self._text_locality(),
                **self._near_caption(scene, known),
                "facts": self.world.caption_facts(*pair),
            }

    def _scenes(self, concept: int) -> list[Scene]:
        shared = SHARED_PICTURES[self.split]
        if not shared:
            return [self.renderer.single(self.split, concept)]
        if concept not in self.pictures:
            self.pictures[concept] = [self.renderer.single(self.split, concept) for _ in range(shared)]
        return self.pictures[concept]

    def _rephrased(self, scene: Scene, number: int) -> Scene:
        if not SHARED_PICTURES[self.split]:
            return self.renderer.rephrase(scene)
        concept = scene.alone
        if concept not in self.rephrased:
            firsts = self.pictures[concept][:SHARED_REPHRASED]
            self.rephrased[concept] = [self.renderer.rephrase(first) for first in firsts]
        return self.rephrased[concept][number % len(self.rephrased[concept])]

    def _text_locality(self) -> RawEdit:
        """Return a question about a text-only fact of this split; relations come as often as they have facts."""
        place = self.rng.randrange(len(self.world.text_facts))
        own = self.world.text_of(self.split, self.world.text_facts[place].relation)
        fact = own[place % len(own)]
        return {"loc": self.rng.choice(prompts(fact.relation, "training", fact.name)), "loc_ans": fact.answer}

    def _near_question(self, fact: Fact, scene: Scene, question: str) -> RawEdit:
        untaught, same = next(self.turns)
        others, own = self._askable(fact, self.bystanders) if untaught else ([], [])
        untaught = bool(others or own)
        if not untaught:
            others, own = self._askable(fact, self.taught)
        if others and (same or (untaught and not own)):
            near = self.rng.choice(others)
            return _locality(self._near((near.concept, NOBODY), untaught), question, near.answer)
        chosen = self.rng.choice(own if untaught else [*own, None])
        if chosen is None:
            return self._background(scene)
        return _locality(scene, self.rng.choice(prompts(chosen.relation, "training")), chosen.answer)

    def _askable(self, fact: Fact, known: Mapping[str, Sequence[Fact]]) -> tuple[list[Fact], list[Fact]]:
        """Return, by relation `known`, what the same question asks of others, and other questions of the same thing."""
        others = [near for near in known[fact.relation] if near.answer != fact.answer]
        every = (near for relation, facts in known.items() if relation != fact.relation for near in facts)
        return others, [near for near in every if near.concept == fact.concept]

    def _near_caption(self, scene: Scene, known: Sequence[tuple[int, int]]) -> RawEdit:
        untaught, same = next(self.turns)
        names = [fact.concept for fact in self.bystanders["naming"]] if untaught else []
        strangers = list(itertools.permutations(names, 2))
        others = strangers or [pair for pair in known if pair != (scene.left, scene.right)]
        if others and (same or strangers):
            pair = self.rng.choice(others)
            return _locality(self._near(pair, bool(strangers)), CAPTION_PROMPT, self.world.caption(*pair))
        return self._background(scene)

    def _background(self, scene: Scene) -> RawEdit:
        return _locality(scene, self.rng.choice(prompts("background", "training")), scene.colour)

    def _near(self, slots: tuple[int, int], untaught: bool) -> Scene:
        """Return a picture that an edit is not about; bystanders are few, so each has as many as things edited have."""
        shared = SHARED_PICTURES[self.split]
        copy = (self.rng.randrange(shared) if shared else len(self.near)) if untaught else 0
        if (*slots, copy) not in self.near:
            alone = NOBODY in slots
            drawn = self.renderer.single(self.split, slots[0]) if alone else self.renderer.pair(self.split, *slots)
            self.near[*slots, copy] = drawn
        return self.near[*slots, copy]


def _locality(scene: Scene, question: str, answer: str) -> RawEdit:
    return {"m_loc": scene.image, "m_loc_q": question, "m_loc_a": answer}


def ring(concepts: Sequence[int], rounds: int) -> list[tuple[int, int]]:
    """Return ordered pairs in which every concept is left `rounds` times and right `rounds` times (fewer if few)."""
    count = len(concepts)
    steps = range(1, min(rounds, count - 1) + 1)
    return [(concepts[i], concepts[(i + step) % count]) for step in steps for i in range(count)]


def write_edits(
    world: World, renderer: SceneRenderer, known: Sequence[tuple[int, int]], seed: int
) -> Iterator[tuple[FactSplit, Task, list[RawEdit]]]:
    """Yield every split's records, task by task; `known` are the pairs that training scenes show."""
    for split in CASE_SPLITS:
        writer = EditWriter(world, renderer, split, seed)
        facts, named = world.of(split), [fact.concept for fact in world.of(split, "naming")]
        if split == "taught":
            facts = writer.rng.sample(facts, min(TAUGHT_SAMPLE, len(facts)))
            pairs = writer.rng.sample(known, min(TAUGHT_SAMPLE, len(known)))
        else:
            pairs = ring(writer.rng.sample(named, len(named)), CAPTION_ROUNDS[split])
        writer.rng.shuffle(facts)
        yield split, "vqa", _numbered(split, "vqa", list(writer.vqa(facts)), writer.rng)
        yield split, "caption", _numbered(split, "caption", list(writer.caption(pairs, known)), writer.rng)


def _numbered(split: FactSplit, task: Task, records: list[RawEdit], rng: random.Random) -> list[RawEdit]:
    """Shuffle records, so that the first n are a fair sample, and give them ids."""
    rng.shuffle(records)
    return [{"id": f"{split}-{task}-{number}", **record} for number, record in enumerate(records)]
