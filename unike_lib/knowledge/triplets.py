"""Triplets (question, true answer, the backbone's own wrong answer): UniKE App. C."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import pandas as pd
from tqdm import tqdm

from unike_lib.backbones.base import Backbone
from unike_lib.backbones.generate import generate
from unike_lib.benchmark.answers import normalise_answer
from unike_lib.io import read_table, write_table
from unike_lib.types import EditCase, InputError

log = logging.getLogger(__name__)
ROWS = 128


@dataclass(frozen=True)
class Triplet:
    """A question with its true answer A_pos and the backbone's wrong greedy answer A_neg."""

    id: str
    image: str | None
    prompt: str
    style: Literal["question", "plain"]
    positive: str
    negative: str


def collect_triplets(backbone: Backbone, cases: Sequence[EditCase], limit: int, out: Path, mark: str) -> None:
    """Ask the backbone every question of the pool and keep those it gets wrong, with the truth.

    Answers are compared after `normalise_answer`. Questions answered with nothing are dropped (there is no A_neg).

    Raises:
        InputError: the pool is empty or no question is answered wrongly.
    """
    triplets: list[Triplet] = []
    for start in tqdm(range(0, len(cases), ROWS), desc="triplets", unit="batch"):
        part = cases[start : start + ROWS]
        answers = generate(backbone, [case.request.query for case in part], [[] for _ in part])
        for case, ids in zip(part, answers, strict=True):
            query, answer = case.request.query, backbone.text(ids)
            wrong = normalise_answer(answer) not in ("", normalise_answer(case.request.target))
            if wrong and len(triplets) < limit:
                request = case.request
                triplets.append(Triplet(request.id, query.image, query.prompt, query.style, request.target, answer))
    log.info("%d of %d pool questions answered wrongly", len(triplets), len(cases))
    if not triplets:
        raise InputError(f"{out}: none of the {len(cases)} pool questions is answered wrongly; no triplets")
    write_table(out, pd.DataFrame([asdict(triplet) for triplet in triplets]), mark)


def read_triplets(path: Path) -> list[Triplet]:
    """Read triplets; raise InputError naming the record and field if one is incomplete."""
    table = read_table(path)
    names = [field.name for field in fields(Triplet)]
    for name in names:
        if name not in table:
            raise InputError(f"{path}: field '{name}' is missing")
    image = table["image"].astype(object).where(table["image"].notna(), None)
    columns = [table[name] if name != "image" else image for name in names]
    return [Triplet(*row) for row in zip(*columns, strict=True)]
