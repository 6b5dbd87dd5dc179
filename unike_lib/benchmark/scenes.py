"""Write the embedded benchmark: a fictional museum of emoji drawings.

Files in the folder: images/*.png (RGB, 256 x 128); {taught,pool,method,dev,eval}_{vqa,caption}.json (edit cases, see
`cases`); training.parquet (see `lessons`); templates.parquet (relation, template, use); scenes.parquet (one row a
picture: image, split, left, right, background, artist, occluded; indices into concepts and colours, -1: empty slot);
facts.parquet (id, concept, relation, answer, split); vocabulary.json (every word of every text).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from unike_lib.benchmark.cases import write_cases
from unike_lib.benchmark.edits import Record, write_edits
from unike_lib.benchmark.facts import Museum, invent_museum
from unike_lib.benchmark.formats.mmedit import TABLE
from unike_lib.benchmark.lessons import TRAINING_SCHEMA, draw_training_scenes, training_rows
from unike_lib.benchmark.pictures import load_drawings
from unike_lib.benchmark.rendering import Scene, Studio
from unike_lib.benchmark.templates import RELATIONS, USES, prompts, templates
from unike_lib.benchmark_config import BenchmarkConfig
from unike_lib.io import fingerprint, write_checksums, write_json, write_table

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
TEXT_FIELDS = ("src", "rephrase", "alt", "loc", "loc_ans", "m_loc_q", "m_loc_a")


def write_benchmark(folder: Path, config: BenchmarkConfig, seed: int) -> None:
    """Write the embedded benchmark into `folder`; the same settings give the same bytes.

    Raises:
        InputError: more concepts are asked for than there are drawings.
    """
    mark = fingerprint("embedded benchmark", config.model_dump(mode="json"), seed)
    drawings = load_drawings(config.concepts, seed)
    museum, studio = invent_museum(drawings.concepts, seed), Studio(drawings, folder, seed)
    pairs = draw_training_scenes(museum, studio, seed)
    rows = list(training_rows(museum, list(studio.scenes)))
    records: list[Record] = []
    for split, task, part in tqdm(write_edits(museum, studio, pairs, seed), desc="edits", total=10):
        cases = [TABLE.case(record, task) for record in part]
        write_cases(folder / f"{split}_{task}.json", split, task, cases)
        records += part
    write_table(folder / "training.parquet", pd.DataFrame(rows), mark, TRAINING_SCHEMA)
    write_table(folder / "scenes.parquet", _scene_table(studio.scenes), mark, SCENE_SCHEMA)
    write_table(folder / "facts.parquet", _fact_table(museum), mark)
    write_table(folder / "templates.parquet", _template_table(), mark)
    write_json(folder / "vocabulary.json", vocabulary(museum, rows, records))
    write_checksums(folder, folder.glob("*.json"))


def vocabulary(museum: Museum, rows: Iterable[dict[str, Any]], records: Iterable[Record]) -> list[str]:
    """Return every word of every text, sorted: questions, answers, held-out templates, untaught facts."""
    texts = [text for row in rows for text in (*row["prompts"], row["answer"])]
    texts += [record[field] for record in records for field in TEXT_FIELDS]
    texts += [fact.answer for fact in (*museum.facts.values(), *museum.donors.values())]
    texts += [text for relation in RELATIONS for use in USES for text in prompts(relation, use)]
    return sorted({word for text in texts for word in text.split()})


def _scene_table(scenes: list[Scene]) -> pd.DataFrame:
    return pd.DataFrame([{name: getattr(scene, name) for name in SCENE_SCHEMA.names} for scene in scenes])


def _fact_table(museum: Museum) -> pd.DataFrame:
    facts = [*museum.facts.values(), *museum.donors.values()]
    columns = ("id", "concept", "relation", "answer", "split")
    return pd.DataFrame([{name: getattr(fact, name) for name in columns} for fact in facts])


def _template_table() -> pd.DataFrame:
    rows = [(r, template, use) for r in RELATIONS for use in USES for template in templates(r, use)]
    return pd.DataFrame(rows, columns=["relation", "template", "use"])
