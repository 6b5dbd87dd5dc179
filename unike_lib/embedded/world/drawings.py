"""The packaged drawings of the made-up world: the same concepts by three artists."""

import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow.parquet as pq
from PIL import Image

from unike_lib.types import InputError

Artist = Literal["noto", "fluent", "twemoji"]
ARTISTS: tuple[Artist, ...] = get_args(Artist)
TRAINING_ARTISTS: tuple[Artist, ...] = ("noto", "fluent")
REPHRASE_ARTIST: Artist = "twemoji"
DRAWINGS = Path(__file__).parent / "data" / "drawings.parquet"


@dataclass(frozen=True)
class Concept:
    """A pictured thing and what CLDR says about it: its name, group, subgroup and search keywords, in lower case."""

    name: str
    group: str
    subgroup: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Drawings:
    """Concepts, and one PNG with transparency per concept and artist, by (index of the concept, artist)."""

    concepts: tuple[Concept, ...]
    pngs: Mapping[tuple[int, Artist], bytes]

    def image(self, concept: int, artist: Artist) -> Image.Image:
        """Return a drawing as an RGBA picture of 72 x 72 pixels."""
        return Image.open(io.BytesIO(self.pngs[concept, artist])).convert("RGBA")


def load_drawings(count: int | None, seed: int) -> Drawings:
    """Load the packaged drawings; with `count`, a seeded choice of that many concepts, in the order of the file.

    Raises:
        InputError: more concepts asked for than there are.
    """
    rows = pq.read_table(DRAWINGS).to_pylist()
    names = list(dict.fromkeys(row["concept"] for row in rows))
    if count is not None and not 0 < count <= len(names):
        raise InputError(f"concepts: expected 1 to {len(names)} (the packaged drawings), found {count}")
    kept = set(random.Random(f"drawings {seed}").sample(names, len(names) if count is None else count))
    index = {name: i for i, name in enumerate(name for name in names if name in kept)}
    concepts: dict[str, Concept] = {}
    pngs: dict[tuple[int, Artist], bytes] = {}
    for row in rows:
        if row["concept"] in kept:
            concepts[row["concept"]] = Concept(row["concept"], row["group"], row["subgroup"], tuple(row["keywords"]))
            pngs[index[row["concept"]], row["artist"]] = row["png"]
    return Drawings(tuple(concepts.values()), pngs)
