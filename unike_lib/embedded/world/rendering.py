"""Scenes of the embedded benchmark: two tiles side by side on one background colour, one seed per picture."""

import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unike_lib.embedded.world.drawings import REPHRASE_ARTIST, TRAINING_ARTISTS, Artist, Drawings

TILE = 128  # pixels; a scene is 256 x 128
NOBODY = -1  # an empty slot
BACKGROUNDS = {
    "white": (235, 235, 235),
    "grey": (120, 120, 130),
    "yellow": (250, 220, 150),
    "blue": (150, 200, 250),
    "green": (170, 230, 170),
    "pink": (250, 170, 190),
    "purple": (190, 160, 230),
    "brown": (150, 110, 80),
}
COLOURS = tuple(BACKGROUNDS)
SIZES = (0.68, 0.94)  # side of an object as a share of the tile's
OCCLUDED = (0.05, 0.09)  # area of the rectangle in front of a rephrased object, as a share of the object's
OCCLUDER = (20, 100, 100)  # no background's colour
PNG_LEVEL = 2  # fast; flat colours compress well at any level


@dataclass(frozen=True)
class Scene:
    """What a picture shows: concepts (or NOBODY) on the left and right, index of the background colour, artist."""

    image: str
    split: str
    left: int
    right: int
    background: int
    artist: Artist
    occluded: bool

    @property
    def colour(self) -> str:
        """The name of the background colour."""
        return COLOURS[self.background]

    @property
    def alone(self) -> int:
        """The concept of a scene with a single object, or NOBODY for a pair."""
        return max(self.left, self.right) if NOBODY in (self.left, self.right) else NOBODY


class SceneRenderer:
    """Draws scenes into `folder`/images and keeps a list of them; `seed` and a picture's number fix every pixel."""

    def __init__(self, drawings: Drawings, folder: Path, seed: int) -> None:
        self.drawings, self.folder, self.seed = drawings, folder, seed
        self.scenes: list[Scene] = []
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def single(self, split: str, concept: int, artist: Artist | None = None) -> Scene:
        """Draw one object in the left or the right slot, by a training artist."""
        rng = self._rng(len(self.scenes))
        slots = (concept, NOBODY) if rng.random() < 0.5 else (NOBODY, concept)
        drawn_by = rng.choice(TRAINING_ARTISTS) if artist is None else artist
        return self._keep(split, slots, drawn_by, rng.randrange(len(COLOURS)))

    def pair(self, split: str, left: int, right: int) -> Scene:
        """Draw two objects by one training artist."""
        rng = self._rng(len(self.scenes))
        return self._keep(split, (left, right), rng.choice(TRAINING_ARTISTS), rng.randrange(len(COLOURS)))

    def rephrase(self, scene: Scene) -> Scene:
        """Draw the same concepts by the rephrasing artist: another background, place and size, partly covered.

        A single object changes its slot; a pair keeps its order, which its caption states.
        """
        shift = self._rng(len(self.scenes)).randrange(1, len(COLOURS))
        background = (scene.background + shift) % len(COLOURS)
        slots = (scene.left, scene.right) if scene.alone == NOBODY else (scene.right, scene.left)
        return self._keep(scene.split, slots, REPHRASE_ARTIST, background)

    def _rng(self, number: int) -> random.Random:
        return random.Random(f"scene {self.seed} {number}")

    def _keep(self, split: str, slots: tuple[int, int], artist: Artist, background: int) -> Scene:
        name = f"images/{split}_{len(self.scenes):05d}.png"
        scene = Scene(name, split, *slots, background, artist, artist == REPHRASE_ARTIST)
        pixels = self.draw(scene, random.Random(f"pixels {self.seed} {len(self.scenes)}"))
        pixels.save(self.folder / name, compress_level=PNG_LEVEL)
        self.scenes.append(scene)
        return scene

    def draw(self, scene: Scene, rng: random.Random) -> Image.Image:
        """Return the picture of a scene: RGB, 256 x 128 pixels."""
        picture = Image.new("RGB", (2 * TILE, TILE), BACKGROUNDS[scene.colour])
        for slot, concept in enumerate((scene.left, scene.right)):
            if concept != NOBODY:
                self._paste(picture, slot, concept, scene, rng)
        return picture

    def _paste(self, picture: Image.Image, slot: int, concept: int, scene: Scene, rng: random.Random) -> None:
        side = round(TILE * rng.uniform(*SIZES))
        drawing = self.drawings.image(concept, scene.artist).resize((side, side), Image.Resampling.BILINEAR)
        left, top = slot * TILE + rng.randint(0, TILE - side), rng.randint(0, TILE - side)
        picture.paste(drawing, (left, top), drawing)
        if scene.occluded:
            width = round(side * rng.uniform(0.30, 0.45))
            height = round(rng.uniform(*OCCLUDED) * side * side / width)
            corner = left + rng.randint(0, side - width), top + rng.randint(0, side - height)
            picture.paste(OCCLUDER, (*corner, corner[0] + width, corner[1] + height))
