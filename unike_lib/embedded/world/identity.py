"""What the pictures of edits show, and a text-only question about that, which an edit must leave alone.

An edit says something new about a pictured thing ("who owns this ?"); what kind of thing it is was taught without any
picture, and must stay. Like text locality, such a fact is asked in the edits of one split alone.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.benchmark.dialect import text_query
from unike_lib.benchmark.images import image_names
from unike_lib.embedded.world.facts import FactSplit, World
from unike_lib.embedded.world.rendering import NOBODY, Scene
from unike_lib.embedded.world.templates import prompts
from unike_lib.types import EditCase, Probe

ASKED: tuple[FactSplit, ...] = ("dev", "eval")
RELATION = "kind"


class Identities:
    """Adds to the cases of a split what their pictures show, and where the split has its kind, a question about it."""

    def __init__(self, world: World, scenes: Sequence[Scene], split: FactSplit, seed: int) -> None:
        self._world = world
        self._scenes: Mapping[str, Scene] = {scene.image: scene for scene in scenes}
        self._kinds = {fact.name: fact.answer for fact in world.text_of(split, RELATION) if fact.split == split}
        self._rng = random.Random(f"identity {seed} {split}")

    def of(self, case: EditCase) -> EditCase:
        """Return the case with `shown`, and with a probe `identity` whose answer is not the edit's target."""
        shown = [(name, entity) for name in image_names([case]) for entity in self._names(name)]
        target = normalise_answer(case.request.target)
        asked = [
            Probe("identity", text_query(self._rng.choice(prompts(RELATION, "training", name)), self._kinds[name]))
            for name in self._names(case.request.image or "")
            if name in self._kinds and normalise_answer(self._kinds[name]) != target
        ]
        return replace(case, probes=(*case.probes, *asked[:1]), shown=tuple(shown))

    def _names(self, picture: str) -> list[str]:
        scene = self._scenes.get(picture)
        if scene is None:
            return []
        return [self._world.names[concept] for concept in (scene.left, scene.right) if concept != NOBODY]
