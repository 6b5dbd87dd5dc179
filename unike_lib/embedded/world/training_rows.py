"""What embedded backbones are trained on: pictures with their taught questions, and text-only facts.

`training.parquet` has one row per question: image (null for text-only facts), task ("vqa", "caption", "text"),
relation, name, prompts (every training template, filled in), answer, facts.
"""

import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from unike_lib.embedded.world.drawings import TRAINING_ARTISTS
from unike_lib.embedded.world.edits import ring
from unike_lib.embedded.world.facts import World
from unike_lib.embedded.world.rendering import NOBODY, Scene, SceneRenderer
from unike_lib.embedded.world.templates import prompts

SPLIT = "training"
RENDERINGS = 5  # single scenes per concept and training artist
PAIR_ROUNDS = 8  # pair scenes per concept with a taught name, as left and as right
STRANGER_PAIRS = 1.2  # further pairs per concept, of any concepts: the vision side must see untaught ones in pairs too
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
TrainingRow = dict[str, Any]


def draw_training_scenes(world: World, renderer: SceneRenderer, seed: int) -> list[tuple[int, int]]:
    """Draw the training pictures; return the pairs of concepts with taught names that they show."""
    rng = random.Random(f"training {seed}")
    count = len(world.names)
    for concept in tqdm(range(count), desc="single scenes"):
        for artist in TRAINING_ARTISTS:
            for _ in range(RENDERINGS):
                renderer.single(SPLIT, concept, artist)
    named = [fact.concept for fact in world.of("taught", "naming")]
    pairs = ring(rng.sample(named, len(named)), PAIR_ROUNDS)
    strangers = [tuple(rng.sample(range(count), 2)) for _ in range(round(STRANGER_PAIRS * count))]
    for left, right in tqdm([*pairs, *strangers], desc="pair scenes"):
        renderer.pair(SPLIT, left, right)
    return pairs


def training_rows(world: World, scenes: list[Scene]) -> Iterator[TrainingRow]:
    """Yield every taught question of the training scenes, then the text-only facts."""
    for scene in scenes:
        concept = scene.alone
        yield _row(scene.image, "vqa", "background", scene.colour, [])
        yield from _pair_rows(world, scene) if concept == NOBODY else _single_rows(world, scene, concept)
    for fact in world.text_facts:
        yield _row(None, "text", fact.relation, fact.answer, [fact.id], fact.name)


def _single_rows(world: World, scene: Scene, concept: int) -> Iterator[TrainingRow]:
    for fact in world.taught(concept):
        yield _row(scene.image, "vqa", fact.relation, fact.answer, [fact.id])
    if world.facts[concept, "naming"].split == "taught":
        yield from _position(world, scene)


def _pair_rows(world: World, scene: Scene) -> Iterator[TrainingRow]:
    sides = {"left": world.facts[scene.left, "naming"], "right": world.facts[scene.right, "naming"]}
    for side, fact in sides.items():
        if fact.split == "taught":
            yield _row(scene.image, "vqa", side, fact.answer, [fact.id])
    yield from _position(world, scene)
    if all(fact.split == "taught" for fact in sides.values()):
        pair = scene.left, scene.right
        yield _row(scene.image, "caption", "caption", world.caption(*pair), world.caption_facts(*pair))


def _position(world: World, scene: Scene) -> Iterator[TrainingRow]:
    for side, concept in (("left", scene.left), ("right", scene.right)):
        if concept != NOBODY and world.facts[concept, "naming"].split == "taught":
            fact = world.facts[concept, "naming"]
            yield _row(scene.image, "vqa", "position", side, [fact.id], fact.answer)


def _row(image: str | None, task: str, relation: str, answer: str, facts: list[str], name: str = "") -> TrainingRow:
    asked = list(prompts(relation, "training", name))
    row = {"image": image, "task": task, "relation": relation, "name": name}
    return {**row, "prompts": asked, "answer": answer, "facts": facts}
