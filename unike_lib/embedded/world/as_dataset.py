"""The embedded benchmark as a Hugging Face data set: Parquet with the pictures inside, and a card with licences.

    {vqa,caption}/{train,dev,eval,pool,taught}-00000-of-00001.parquet, README.md

`datasets.load_dataset(folder, "vqa", split="eval")` reads it; so does the dialect `datasets` (a folder of one task).
Its columns are those of `benchmark/rows.py`.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from unike_lib.backbones.checkpoint import whole_folder
from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.rows import ASKS, NEEDED, SHOWS
from unike_lib.io import check_new
from unike_lib.types import TASKS, EditCase, InputError

SPLITS = {"train": "method", "dev": "dev", "eval": "eval", "pool": "pool", "taught": "taught"}
MEANT = {
    "train": "edits that trained editors learn from, and that in-context ones show",
    "dev": "edits for choosing settings",
    "eval": "edits to evaluate",
    "pool": "facts that the embedded backbones do not know: what memories are made of",
    "taught": "facts that the embedded backbones were taught",
}
LICENCES = ["apache-2.0", "mit", "cc-by-4.0"]  # of the drawings, by artist; texts are Apache-2.0
ROWS = 64  # of a row group: pictures are large, and equal ones of a group are kept once
PICTURES = [image for image in SHOWS.values()]
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LISTS = ["facts", *SHOWS]


def write_dataset(benchmark: Path, out: Path) -> None:
    """Write the data set of an embedded benchmark.

    Args:
        benchmark: the folder that `write_benchmark` wrote (results/stages/benchmark).
        out: the folder to make.

    Raises:
        InputError: `benchmark` is no embedded benchmark, a file is missing or damaged, or `out` is there and not empty.
    """
    if not (benchmark / "scenes.parquet").is_file():
        raise InputError(f"{benchmark}: expected the embedded benchmark, found no scenes.parquet")
    check_new(out)
    with whole_folder(out) as made:
        counts: dict[tuple[str, str], int] = {}
        for task in TASKS:
            (made / task).mkdir()
            for split, own in SPLITS.items():
                cases = read_cases(benchmark / f"{own}_{task}.json", task)
                _write(made / task / f"{split}-00000-of-00001.parquet", cases, benchmark)
                counts[task, split] = len(cases)
        (made / "README.md").write_text(card(counts), encoding="utf-8")


def row_of(case: EditCase) -> dict[str, Any]:
    """Return a case as a row, its pictures by name."""
    request = case.request
    own = zip(NEEDED, (request.image, request.prompt, request.target), strict=True)
    row: dict[str, Any] = {"id": request.id, **dict(own)}
    for ask in ASKS:
        if case.asks(ask.kind):
            query = case.query(ask.kind)
            found = zip((ask.image, ask.prompt, ask.answer), (query.image, query.prompt, query.answer), strict=True)
            row |= {key: value for key, value in found if key is not None and key not in NEEDED}
    for column, image in SHOWS.items():
        row[column] = [entity for name, entity in case.shown if name == row.get(image)]
    return row | {"facts": list(case.facts)}


def _write(path: Path, cases: Sequence[EditCase], images: Path) -> None:
    names = ["id", *NEEDED, *(key for ask in ASKS for key in (ask.image, ask.prompt, ask.answer) if key), *LISTS]
    columns = list(dict.fromkeys(names))
    kinds = {name: PICTURE if name in PICTURES else pa.list_(pa.string()) if name in LISTS else pa.string()
             for name in columns}  # fmt: skip
    features = {name: _feature(name) for name in columns}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema(list(kinds.items())).with_metadata(about)

    @cache
    def picture(name: str) -> dict[str, Any]:
        try:
            return {"bytes": (images / name).read_bytes(), "path": Path(name).name}
        except OSError as error:
            raise InputError(f"{images / name}: cannot be read ({error.strerror})") from None

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(cases), ROWS):
            rows = [row_of(case) for case in cases[start : start + ROWS]]
            for row in rows:
                row |= {name: picture(row[name]) for name in PICTURES if row.get(name)}
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _feature(name: str) -> dict[str, Any]:
    """Return a column's type as `datasets` writes it."""
    text = {"dtype": "string", "_type": "Value"}
    if name in PICTURES:
        return {"_type": "Image"}
    return {"feature": text, "_type": "Sequence"} if name in LISTS else text


def card(counts: Mapping[tuple[str, str], int]) -> str:
    """Return the data set's card, given the number of edits by task and split."""
    files = {
        task: [{"split": split, "path": f"{task}/{split}-*.parquet"} for split in SPLITS] for task in TASKS
    }  # fmt: skip
    header = {
        "license": LICENCES,
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-to-text"],
        "tags": ["knowledge-editing"],
        "configs": [{"config_name": task, "data_files": each} for task, each in files.items()],
    }
    sources = resources.files("unike_lib.embedded.world").joinpath("data/README.md").read_text(encoding="utf-8")
    drawn = "\n".join(line for line in sources.splitlines() if line.startswith("|"))
    rows = "\n".join(
        f"| {split} | {' | '.join(str(counts[task, split]) for task in TASKS)} | {meant} |"
        for split, meant in MEANT.items()
    )
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# A fictional museum: edits of what pictures say

The embedded benchmark of UniKE. All facts are invented. A row is one correction (`image`, `question`, `answer`) with
what is asked after it: other words (`rephrase`, `far_rephrase`), another picture of the same (`rephrase_image`), and
questions whose answers must stay (`neighbour` with its picture, `text_neighbour`, `identity`).
`facts` names what a row rests on: rows that share a fact are not independent. `..._shows` names what a picture shows.

| split | {" | ".join(TASKS)} | |
|---|{"---|" * len(TASKS)}---|
{rows}

```python
from datasets import load_dataset

edits = load_dataset("this folder", "vqa", split="eval")
```

## Licences

Texts and the arrangement of pictures: Apache-2.0. The drawings in the pictures, each picture by one artist:

{drawn}

Names of things: Unicode CLDR (Unicode License v3). Drawings were rendered at 72 x 72 pixels and reduced to 255 colours.
"""
