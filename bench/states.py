"""State extraction as a whole (layout, states of four layers, Parquet) against the model's own forward."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from bench.subjects import Subject
from bench.timing import Row, compare, in_turn
from unike_lib.io import write_table
from unike_lib.knowledge.extraction import ROWS, extract_states
from unike_lib.knowledge.triplets import Triplet
from unike_lib.types import Query


def make_triplets(subject: Subject, count: int) -> list[Triplet]:
    """Repeat the subject's edits as triplets: the target against another edit's target."""
    requests = [case.request for case in subject.cases]
    pairs = ((requests[i % len(requests)], requests[(i + 1) % len(requests)]) for i in range(count))
    return [
        Triplet(f"{i}", own.image, own.prompt, own.query.style, own.target, other.target)
        for i, (own, other) in enumerate(pairs)
    ]


def forward(subject: Subject, triplets: list[Triplet]) -> int:
    """Run the whole language model, as Hugging Face does, on both answers of every triplet; return the tokens."""
    backbone, tokens = subject.backbone, 0
    for start in range(0, len(triplets), ROWS):
        rows = triplets[start : start + ROWS]
        for answers in ([t.positive for t in rows], [t.negative for t in rows]):
            queries = [Query(t.image, t.prompt, a, t.style) for t, a in zip(rows, answers, strict=True)]
            batch = backbone.encode(queries)
            with torch.no_grad():
                backbone.model.language_model(inputs_embeds=batch.embeddings, attention_mask=batch.mask.long())
            tokens += int(batch.lengths.sum())
    return tokens


def measure(subject: Subject, count: int, rounds: int) -> list[Row]:
    triplets = make_triplets(subject, count)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "triplets.parquet"), Path(folder, "states.parquet")
        write_table(source, pd.DataFrame([asdict(triplet) for triplet in triplets]), "")
        ways = {
            "layout and model() of the same rows": lambda: forward(subject, triplets),
            "extract_states": lambda: extract_states(subject.backbone, source, out, ""),
        }
        times = in_turn(ways, rounds)
    tokens = forward(subject, triplets)
    speed = tokens / min(times["extract_states"])
    what = f"states of {count} triplets ({speed:,.0f} tokens/s), {subject.name}"
    return [compare(what, times, ">= 0.91x (at most 1.1 times its time)")]
