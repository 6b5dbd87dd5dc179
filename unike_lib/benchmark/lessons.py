"""What embedded backbones are trained on: pictures with their taught questions, and text-only facts.

`training.parquet` has one row a question: image (null for text-only facts), task ("vqa", "caption", "text"), relation,
prompts (every training template, filled in: a trainer draws one each time), answer, facts. A picture of a concept
carries only the questions whose answers are taught.
"""

import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from unike_lib.benchmark.edits import ring
from unike_lib.benchmark.facts import Museum
from unike_lib.benchmark.pictures import TRAINING_ARTISTS
from unike_lib.benchmark.rendering import NOBODY, Scene, Studio
from unike_lib.benchmark.templates import prompts

SPLIT = "training"
RENDERINGS = 5  # single scenes a concept and training artist
PAIR_ROUNDS = 8  # pair scenes a concept with a taught name, as left and as right
STRANGER_PAIRS = 1.2  # further pairs a concept, of any concepts: the vision side must see untaught ones in pairs too
TRAINING_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("task", pa.string()),
        ("relation", pa.string()),
        ("name", pa.string()),
        ("prompts", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("facts", pa.list_(pa.string())),
    ]
)
Row = dict[str, Any]


def draw_training_scenes(museum: Museum, studio: Studio, seed: int) -> list[tuple[int, int]]:
    """Draw the training pictures; return the pairs of concepts with taught names that they show."""
    rng = random.Random(f"training {seed}")
    count = len(museum.names)
    for concept in tqdm(range(count), desc="single scenes"):
        for artist in TRAINING_ARTISTS:
            for _ in range(RENDERINGS):
                studio.single(SPLIT, concept, artist)
    named = [fact.concept for fact in museum.of("taught", "naming")]
    pairs = ring(rng.sample(named, len(named)), PAIR_ROUNDS)
    strangers = [tuple(rng.sample(range(count), 2)) for _ in range(round(STRANGER_PAIRS * count))]
    for left, right in tqdm([*pairs, *strangers], desc="pair scenes"):
        studio.pair(SPLIT, left, right)
    return pairs


def training_rows(museum: Museum, scenes: list[Scene]) -> Iterator[Row]:
    """Yield every taught question of the training scenes, then the text-only facts."""
    for scene in scenes:
        concept = scene.alone
        yield _row(scene.image, "vqa", "background", scene.colour, [])
        yield from _pair_rows(museum, scene) if concept == NOBODY else _single_rows(museum, scene, concept)
    for fact in museum.text_facts:
        yield _row(None, "text", fact.relation, fact.answer, [fact.id], fact.name)


def _single_rows(museum: Museum, scene: Scene, concept: int) -> Iterator[Row]:
    for fact in museum.taught(concept):
        yield _row(scene.image, "vqa", fact.relation, fact.answer, [fact.id])
    if museum.facts[concept, "naming"].split == "taught":
        yield from _position(museum, scene)


def _pair_rows(museum: Museum, scene: Scene) -> Iterator[Row]:
    sides = {"left": museum.facts[scene.left, "naming"], "right": museum.facts[scene.right, "naming"]}
    for side, fact in sides.items():
        if fact.split == "taught":
            yield _row(scene.image, "vqa", side, fact.answer, [fact.id])
    yield from _position(museum, scene)
    if all(fact.split == "taught" for fact in sides.values()):
        pair = scene.left, scene.right
        yield _row(scene.image, "caption", "caption", museum.caption(*pair), museum.caption_facts(*pair))


def _position(museum: Museum, scene: Scene) -> Iterator[Row]:
    for side, concept in (("left", scene.left), ("right", scene.right)):
        if concept != NOBODY and museum.facts[concept, "naming"].split == "taught":
            fact = museum.facts[concept, "naming"]
            yield _row(scene.image, "vqa", "position", side, [fact.id], fact.answer)


def _row(image: str | None, task: str, relation: str, answer: str, facts: list[str], name: str = "") -> Row:
    asked = list(prompts(relation, "training", name))
    row = {"image": image, "task": task, "relation": relation, "name": name}
    return {**row, "prompts": asked, "answer": answer, "facts": facts}
