"""The drawings of the embedded benchmark: the same concepts by three artists.

Example:
    >>> drawings = load_drawings()
    >>> len(drawings.concepts), drawings.concepts[0].name, drawings.image(0, "noto").size
    (160, 'foot', (72, 72))
"""

import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Literal, get_args

import pyarrow.parquet as pq
from PIL import Image

from unike_lib.types import InputError

Artist = Literal["noto", "fluent", "twemoji"]
ARTISTS: tuple[Artist, ...] = get_args(Artist)
TRAINING_ARTISTS: tuple[Artist, ...] = ("noto", "fluent")
REPHRASE_ARTIST: Artist = "twemoji"


@dataclass(frozen=True)
class Concept:
    """A pictured thing and what CLDR says about it: its name, group, subgroup and search keywords, in lower case."""

    name: str
    group: str
    subgroup: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Drawings:
    """Concepts, and one PNG with transparency a concept and artist, by (index of the concept, artist)."""

    concepts: tuple[Concept, ...]
    pngs: Mapping[tuple[int, Artist], bytes]

    def image(self, concept: int, artist: Artist) -> Image.Image:
        """Return a drawing as an RGBA picture of 72 x 72 pixels."""
        return Image.open(io.BytesIO(self.pngs[concept, artist])).convert("RGBA")


def load_drawings(count: int | None = None, seed: int = 0) -> Drawings:
    """Load the packaged drawings; with `count`, a seeded choice of that many concepts, in the order of the file.

    Raises:
        InputError: more concepts asked for than there are.
    """
    with as_file(files("unike_lib.benchmark") / "data" / "drawings.parquet") as source:
        rows = pq.read_table(source).to_pylist()
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
