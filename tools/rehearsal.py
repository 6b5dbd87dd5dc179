"""The full-size rehearsal: make what it reads, and say what it cost.

    make rehearsal                          # look-alike annotations, noise images, random BLIP-2 OPT 2.7B
    make rehearsal MMEDIT=/data/mmedit      # MMEdit's own annotations
    python -m tools.rehearsal prepare .rehearsal --tiny     # a tiny geometry instead
    python -m tools.rehearsal costs .rehearsal

`prepare` takes a few records of every split, draws a noise image for every name in them, and saves a random backbone;
`costs` prints time and peak memory of every stage from the files that Snakemake keeps of them.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from unike_lib.benchmark.formats.mmedit import DIALECT, TABLE
from unike_lib.benchmark.prepare import SHARES, split_of
from unike_lib.config.benchmark import MMEDIT_FILES
from unike_lib.io import read_json, write_json

SEED = 0  # config.yaml's: the workflow draws the splits with it
RECORDS = {"pool": 3, "method": 1, "dev": 1}  # of a task's training file, by split
EVALUATED, SOURCES = 2, 2
SIDE = (320, 240)  # of a noise image, pixels
THINGS = ["skyscraper", "bicycle", "kite", "surfboard", "giraffe", "umbrella", "sandwich", "bench", "clock", "vase"]
BACKBONE = "blip2-opt-2.7b"


def look_alike(task: str, number: int, train: bool) -> dict[str, str]:
    """Return a made-up record with MMEdit's keys, prompts and image names."""
    draw = random.Random(f"{task} {number} {train}")
    coco = draw.randrange(10**6)
    thing, other = draw.sample(THINGS, 2)
    name = f"COCO_val2014_{coco:012d}"
    vqa = {
        "src": f"How many {thing}s are there?",
        "pred": "no",
        "rephrase": f"What is the number of {thing}s in the picture?",
        "alt": str(draw.randrange(2, 9)),
        "image_rephrase": f"val2014_image_rephrase/{coco}000_{name}.png",
    }
    caption = {
        "src": "a photo of",
        "pred": f"a {thing} on a table",
        "rephrase": "provide a brief overview of the image content,",
        "alt": f"A {thing} stands beside a {other} on a sunny day.",
        "image_rephrase": f"val2014_image_rephrase/{name}.png",
    }
    return (vqa if task == "vqa" else caption) | {
        "image": f"val2014/{name}.jpg",
        "loc": f"nq question: who invented the {thing}",
        "loc_ans": f"the inventor of the {other}",
        "m_loc": "val2014/COCO_val2014_000000297147.jpg",
        "m_loc_q": "What sport can you use this for?",
        "m_loc_a": "motocross",
    }


def records_of(folder: Path | None, task: str, name: str, train: bool) -> list[dict]:
    """Return all records of a file, checked, or as many made-up ones as a split is sure to find its share in."""
    if folder is None:
        return [look_alike(task, number, train) for number in range(200)]
    records = read_json(folder / name)
    TABLE.check(folder / name, records)
    return records


def few_of_every_split(records: list[dict]) -> list[dict]:
    """Return the first records of every split that training files are divided into."""
    chosen = []
    for split in SHARES:
        chosen += [record for record in records if split_of(record["image"], SEED) == split][: RECORDS[split]]
    return chosen


def prepare(out: Path, annotations: Path | None, tiny: bool) -> None:
    """Write annotations, images, a triplet source and the checkpoint below `out`."""
    from tools.random_models import write_random_checkpoint

    texts, images, sources = [], set(), []
    for task, pair in MMEDIT_FILES.items():
        evaluated = records_of(annotations, task, pair.eval, train=False)
        edited = {record[field] for record in evaluated for field in ("image", "image_rephrase")}
        train = [
            r for r in records_of(annotations, task, pair.train, train=True)
            if edited.isdisjoint((r["image"], r["image_rephrase"]))
        ]  # fmt: skip
        few = few_of_every_split(train)
        write_json(out / "annotations" / pair.train, few)
        write_json(out / "annotations" / pair.eval, evaluated[:EVALUATED])
        chosen = few + evaluated[:EVALUATED]
        images |= {record[field] for record in chosen for field in DIALECT.pictures.values()}
        texts += [str(value) for record in chosen for value in record.values()]
        if task == "vqa":
            sources = [record for record in train if record not in few][-SOURCES:]
    lines = [{"image": r["image"], "question": r["src"], "answer": r["alt"], "task": "vqa"} for r in sources]
    (out / "triplets.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw_noise(out / "images", images | {line["image"] for line in lines})
    write_random_checkpoint(BACKBONE, texts, out / "checkpoint", tiny)
    print(f"{out}: {len(images)} images, annotations {'made up' if annotations is None else annotations}")


def draw_noise(folder: Path, names: set[str]) -> None:
    """Draw an image of noise for every name, its own for each."""
    for name in sorted(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(sum(map(ord, name))).integers(0, 256, (*SIDE[::-1], 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)


def costs(out: Path) -> pd.DataFrame:
    """Return a row a stage: its jobs, their seconds, and the largest resident memory of one, in GB."""
    folder = out / "results" / "stages" / "benchmarks"
    rows = []
    for file in sorted(folder.rglob("*.tsv")):
        last = pd.read_csv(file, sep="\t").iloc[-1]
        rows.append((file.relative_to(folder).parts[0].removesuffix(".tsv"), last["s"], last["max_rss"] / 1024))
    if not rows:
        raise SystemExit(f"{folder}: no finished stage")
    table = pd.DataFrame(rows, columns=["stage", "seconds", "peak_gb"])
    grouped = table.groupby("stage").agg(
        jobs=("seconds", "size"), seconds=("seconds", "sum"), peak_gb=("peak_gb", "max")
    )
    total = pd.DataFrame(
        {"jobs": [len(table)], "seconds": [table["seconds"].sum()], "peak_gb": [table["peak_gb"].max()]}, ["all"]
    )
    return pd.concat([grouped.sort_values("seconds", ascending=False), total])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "costs"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--annotations", type=Path, help="folder with MMEdit's four files; else they are made up")
    parser.add_argument("--tiny", action="store_true", help="a tiny geometry, to try the rehearsal itself")
    options = parser.parse_args()
    if options.what == "prepare":
        prepare(options.folder, options.annotations, options.tiny)
    else:
        print(costs(options.folder).round(1).to_string())


if __name__ == "__main__":
    main()
