"""Write the embedded benchmark: a fictional museum of emoji drawings.

Files in the folder: images/*.png (RGB, 256 x 128); {taught,pool,method,dev,eval}_{vqa,caption}.json (edit cases, see
`benchmark.cases`); training.parquet (see `training_rows`); templates.parquet (relation, template, use); scenes.parquet
(one row per picture; left, right, background: indices into concepts and colours, -1: empty slot); facts.parquet (id,
concept, relation, answer, split); vocabulary.json (every word of every text).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from unike_lib.benchmark.cases import write_cases
from unike_lib.benchmark.formats.mmedit import TABLE
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.embedded.world.drawings import load_drawings
from unike_lib.embedded.world.edits import RawEdit, write_edits
from unike_lib.embedded.world.facts import World, invent_world
from unike_lib.embedded.world.far_rephrasings import FarRephrasings
from unike_lib.embedded.world.identity import ASKED, Identities
from unike_lib.embedded.world.rendering import SceneRenderer
from unike_lib.embedded.world.templates import RELATIONS, USES, prompts, templates
from unike_lib.embedded.world.training_rows import TRAINING_SCHEMA, draw_training_scenes, training_rows
from unike_lib.io import fingerprint_of, write_checksums, write_json, write_table

SCENE_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("split", pa.string()),
        ("left", pa.int32()),
        ("right", pa.int32()),
        ("background", pa.int32()),
        ("artist", pa.string()),
        ("occluded", pa.bool_()),
    ]
)
WORDED_FIELDS = ("src", "rephrase", "alt", "loc", "loc_ans", "m_loc_q", "m_loc_a")


def write_benchmark(folder: Path, config: BenchmarkConfig, seed: int) -> None:
    """Write the embedded benchmark into `folder`; the same settings give the same bytes.

    Raises:
        InputError: more concepts are asked for than there are drawings.
    """
    fingerprint = fingerprint_of("embedded benchmark", config.model_dump(mode="json"), seed)
    drawings = load_drawings(config.concepts, seed)
    world, renderer = invent_world(drawings.concepts, seed), SceneRenderer(drawings, folder, seed)
    pairs = draw_training_scenes(world, renderer, seed)
    rows = list(training_rows(world, list(renderer.scenes)))
    records: list[RawEdit] = []
    for split, task, part in tqdm(write_edits(world, renderer, pairs, seed), desc="edits", total=10):
        cases = [TABLE.case(record, task) for record in part]
        if split in ASKED:
            cases = list(map(FarRephrasings(split, task, seed).of, cases))
            cases = list(map(Identities(world, renderer.scenes, split, seed).of, cases))
        write_cases(folder / f"{split}_{task}.json", split, task, cases)
        records += part
    facts = [*world.facts.values(), *world.donors.values()]
    asked = [(r, template, use) for r in RELATIONS for use in USES for template in templates(r, use)]
    write_table(folder / "training.parquet", pd.DataFrame(rows), fingerprint, TRAINING_SCHEMA)
    write_table(folder / "scenes.parquet", pd.DataFrame(renderer.scenes), fingerprint, SCENE_SCHEMA)
    write_table(folder / "facts.parquet", pd.DataFrame(facts), fingerprint)
    write_table(folder / "templates.parquet", pd.DataFrame(asked, columns=["relation", "template", "use"]), fingerprint)
    write_json(folder / "vocabulary.json", vocabulary(world, rows, records))
    write_checksums(folder, folder.glob("*.json"))


def vocabulary(world: World, rows: Iterable[dict[str, Any]], records: Iterable[RawEdit]) -> list[str]:
    """Return every word of every text, sorted: questions, answers, templates of rephrasings, untaught facts."""
    texts = [text for row in rows for text in (*row["prompts"], row["answer"])]
    texts += [record[field] for record in records for field in WORDED_FIELDS]
    texts += [fact.answer for fact in (*world.facts.values(), *world.donors.values())]
    texts += [text for relation in RELATIONS for use in USES for text in prompts(relation, use)]
    return sorted({word for text in texts for word in text.split()})
