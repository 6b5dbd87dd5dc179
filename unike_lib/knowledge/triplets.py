"""Triplets (question, true answer, the backbone's own wrong answer): UniKE App. C."""

import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from tqdm import tqdm

from unike_lib.backbones.base import Backbone
from unike_lib.backbones.generate import generate
from unike_lib.benchmark.answers import normalise_answer
from unike_lib.io import check_fields, read_table, write_table
from unike_lib.types import EditCase, InputError

log = logging.getLogger(__name__)
ROWS = 128
Style = Literal["question", "plain"]
STYLES = get_args(Style)


@dataclass(frozen=True)
class Triplet:
    """A question with its true answer A_pos and the backbone's wrong greedy answer A_neg."""

    id: str
    image: str | None
    prompt: str
    style: Style
    positive: str
    negative: str


def collect_triplets(
    backbone: Backbone, cases: Sequence[EditCase], limit: int, out: Path, mark: str, seed: int = 0
) -> None:
    """Ask the backbone the questions of the pool and keep those it gets wrong, with the truth, until there are enough.

    Answers are compared after `normalise_answer`. Questions answered with nothing are dropped (there is no A_neg).

    Args:
        backbone: the unedited model.
        cases: the pool.
        limit: most triplets kept.
        out: the Parquet file to write.
        mark: its fingerprint.
        seed: of the random order in which questions are asked; triplets are written in the pool's order.

    Raises:
        InputError: the pool is empty or no question is answered wrongly.
    """
    places = {case.request.id: place for place, case in enumerate(cases)}
    order = random.Random(f"triplets {seed}").sample(cases, len(cases))
    triplets: list[Triplet] = []
    for start in tqdm(range(0, len(order), ROWS), desc="triplets", unit="batch"):
        if len(triplets) >= limit:
            break
        part = order[start : start + ROWS]
        answers = generate(backbone, [case.request.query for case in part], [[] for _ in part])
        for case, ids in zip(part, answers, strict=True):
            query, answer = case.request.query, backbone.text(ids)
            wrong = normalise_answer(answer) not in ("", normalise_answer(case.request.target))
            if wrong and len(triplets) < limit:
                request = case.request
                triplets.append(Triplet(request.id, query.image, query.prompt, query.style, request.target, answer))
    log.info("%d triplets from a pool of %d questions", len(triplets), len(cases))
    if not triplets:
        raise InputError(f"{out}: none of the {len(cases)} pool questions is answered wrongly; no triplets")
    triplets.sort(key=lambda triplet: places[triplet.id])
    write_table(out, pd.DataFrame([asdict(triplet) for triplet in triplets]), mark)


def read_triplets(path: Path) -> list[Triplet]:
    """Read triplets; raise InputError naming the record and field if one is incomplete."""
    table = read_table(path)
    check_fields(path, table.columns, [field.name for field in fields(Triplet)])
    image = table["image"].astype(object).where(table["image"].notna(), None)
    columns = [image if field.name == "image" else table[field.name] for field in fields(Triplet)]
    triplets = [Triplet(*row) for row in zip(*columns, strict=True)]
    for index, triplet in enumerate(triplets):
        for name, value in vars(triplet).items():
            if not (isinstance(value, str) and value) and not (name == "image" and value is None):
                raise InputError(f"{path}: record {index}: field '{name}': expected non-empty text, found {value!r}")
        if triplet.style not in STYLES:
            raise InputError(
                f"{path}: record {index}: field 'style': expected {get_args(Style)}, found {triplet.style!r}"
            )
    return triplets
