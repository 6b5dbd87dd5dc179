"""The facts of the made-up world, and which of them a backbone may learn.

Each concept has one fact per relation ("tiger/owner"). A seeded draw gives every fact to one split: `taught` facts
train the embedded backbones; the others are their gaps, hence the edits: `pool` (triplets), `method` (training of
editors that need it), `dev` (settings) and `eval` (the tables). A `bystander` is neither taught nor ever edited: near
misses ask it, so that they are not told from edits by what the model knows; the edits of one split alone ask it.
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from unike_lib.embedded.world.drawings import Concept
from unike_lib.embedded.world.words import CAPITALS, ELEMENTS, FIRST_NAMES, GUARDS, LAST_NAMES, ROOMS, TOWNS, YEARS

FactSplit = Literal["taught", "pool", "method", "dev", "eval", "bystander"]
FACT_SPLITS: tuple[FactSplit, ...] = get_args(FactSplit)
CASE_SPLITS: tuple[FactSplit, ...] = FACT_SPLITS[:-1]
EDIT_SPLITS: tuple[FactSplit, ...] = CASE_SPLITS[1:]
# Names are also the material of caption edits, which pair two concepts, hence larger shares than other relations'.
NAMING_SHARES: Mapping[FactSplit, float] = {"pool": 0.20, "method": 0.08, "dev": 0.10, "eval": 0.18}
FACT_SHARES: Mapping[FactSplit, float] = {"pool": 0.35, "method": 0.08, "dev": 0.08, "eval": 0.20}
BYSTANDERS = 0.25  # of the evaluation's share, so that no other split depends on it
# Text-only facts are all taught; each is asked in the edits of one split alone: no locality probe is trained on. The
# rest is the evaluation's.
TEXT_SHARES: Mapping[FactSplit, float] = {"pool": 0.30, "method": 0.20, "dev": 0.15}
FEWEST_NAMES = 2  # a caption needs two concepts of the same split
TEXT_FACTS_STEP = 2  # every second capital and symbol: minutes of training do not hold them all
OBJECT_RELATIONS = ("naming", "keyword", "owner", "town", "year", "room", "guard")


@dataclass(frozen=True)
class Fact:
    """One fact: its id "concept/relation", the concept's index, the relation, the answer and the split."""

    id: str
    concept: int
    relation: str
    answer: str
    split: FactSplit


@dataclass(frozen=True)
class TextFact:
    """A real fact that is asked without a picture; all are taught. `split`: whose edits ask it as a locality probe."""

    id: str
    relation: str
    name: str
    answer: str
    split: FactSplit


@dataclass(frozen=True)
class World:
    """All facts: `facts` by (concept, relation); `donors` by concept, with the split of the concept's name."""

    names: tuple[str, ...]
    facts: Mapping[tuple[int, str], Fact]
    donors: Mapping[int, Fact]
    text_facts: tuple[TextFact, ...]

    def of(self, split: FactSplit, relation: str | None = None) -> list[Fact]:
        """Return the facts of a split, in a fixed order; with `relation`, only its facts."""
        return [f for f in self.facts.values() if f.split == split and relation in (None, f.relation)]

    def taught(self, concept: int) -> list[Fact]:
        """Return what is taught about a concept."""
        every = [self.facts[concept, relation] for relation in OBJECT_RELATIONS]
        return [fact for fact in every if fact.split == "taught"]

    def bystanders(self, split: FactSplit, relation: str) -> list[Fact]:
        """Return the bystanders of a relation that the edits of a split ask, in a fixed order; `taught`: none."""
        asking = EDIT_SPLITS[::-1]  # where there are too few for all, the evaluation has the first
        every = self.of("bystander", relation)
        return every[asking.index(split) :: len(asking)] if split in asking else []

    def text_of(self, split: FactSplit, relation: str) -> list[TextFact]:
        """Return the text-only facts of a relation that the edits of a split ask, in a fixed order; `taught`: all."""
        return [fact for fact in self.text_facts if fact.relation == relation and split in ("taught", fact.split)]

    def caption(self, left: int, right: int) -> str:
        """Return the caption of a pair: "{name} of {donor} beside {name} of {donor}"."""
        return " beside ".join(f"{self.names[c]} of {self.donors[c].answer}" for c in (left, right))

    def caption_facts(self, left: int, right: int) -> list[str]:
        """Return the ids of the facts that a caption states."""
        return [fact.id for c in (left, right) for fact in (self.facts[c, "naming"], self.donors[c])]


def invent_world(concepts: Sequence[Concept], seed: int) -> World:
    """Draw all facts and their splits."""
    rng = random.Random(f"museum {seed}")
    names = tuple(concept.name for concept in concepts)
    answers = _answers(concepts, rng)
    facts: dict[tuple[int, str], Fact] = {}
    for relation in OBJECT_RELATIONS:
        shares, fewest = (NAMING_SHARES, FEWEST_NAMES) if relation == "naming" else (FACT_SHARES, 1)
        splits = draw_splits(len(names), shares, "taught", rng, fewest)
        spare_bystanders(splits, random.Random(f"bystanders {seed} {relation}"), fewest)
        for concept, name in enumerate(names):
            answer = answers[relation][concept]
            facts[concept, relation] = Fact(f"{name}/{relation}", concept, relation, answer, splits[concept])
    donors = {
        c: Fact(f"{name}/donor", c, "donor", answers["donor"][c], facts[c, "naming"].split)
        for c, name in enumerate(names)
    }
    return World(names, facts, donors, _text_facts(concepts, random.Random(f"text facts {seed}")))


def draw_splits(
    count: int, shares: Mapping[FactSplit, float], rest: FactSplit, rng: random.Random, fewest: int = 1
) -> list[FactSplit]:
    """Give each of `count` facts a split, in the stated shares, at least `fewest` each; what is left is `rest`'s."""
    drawn = [split for split, share in shares.items() for _ in range(max(fewest, round(share * count)))]
    drawn += [rest] * (count - len(drawn))
    rng.shuffle(drawn)
    return drawn


def spare_bystanders(splits: list[FactSplit], rng: random.Random, fewest: int) -> None:
    """Make some of the evaluation's facts bystanders, in place; it keeps at least twice the `fewest` that it needs."""
    places = [place for place, split in enumerate(splits) if split == "eval"]
    spared = min(math.ceil(BYSTANDERS * len(places)), max(0, len(places) - 2 * fewest))
    for place in rng.sample(places, spared):
        splits[place] = "bystander"


def _answers(concepts: Sequence[Concept], rng: random.Random) -> dict[str, list[str]]:
    count = len(concepts)
    people = rng.sample([f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES], 2 * count)
    lists = {"town": TOWNS, "year": YEARS, "room": ROOMS, "guard": GUARDS}
    made_up = {relation: _dealt(words, count, rng) for relation, words in lists.items()}
    own = {"naming": [c.name for c in concepts], "keyword": _keywords(concepts)}
    return {**own, **made_up, "owner": people[:count], "donor": people[count:]}


def _dealt(words: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """Deal out words so that each comes equally often: no answer is a good guess."""
    rounds = [rng.sample(words, len(words)) for _ in range(-(-count // len(words)))]
    return [word for deck in rounds for word in deck][:count]


def _keywords(concepts: Sequence[Concept]) -> list[str]:
    """Return each concept's rarest keyword; of equally rare ones the first."""
    often = Counter(keyword for concept in concepts for keyword in concept.keywords)
    return [min(concept.keywords, key=lambda keyword: often[keyword]) for concept in concepts]


def _text_facts(concepts: Sequence[Concept], rng: random.Random) -> tuple[TextFact, ...]:
    tables = {
        "kind": {c.name: c.subgroup for c in concepts},
        "capital": dict(list(CAPITALS.items())[::TEXT_FACTS_STEP]),
        "symbol": dict(list(ELEMENTS.items())[::TEXT_FACTS_STEP]),
    }
    return tuple(
        TextFact(f"{name}/{relation}", relation, name, answer, split)
        for relation, table in tables.items()
        for (name, answer), split in zip(table.items(), draw_splits(len(table), TEXT_SHARES, "eval", rng), strict=True)
    )
