"""Triplets (question, true answer, the backbone's own wrong answer): UniKE App. C."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
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
    backbone: Backbone, cases: Sequence[EditCase], limit: int, max_new_tokens: int, seed: int
) -> list[Triplet]:
    """Ask the backbone the pool's questions and return those it gets wrong, with the truth.

    Answers are compared after `normalise_answer`. Questions answered with nothing are left out (there is no A_neg), and
    so are those whose answer does not end within `max_new_tokens`: the state after a torn word is no state of an
    answer, and whether such an answer is wrong is not known. The log says how many there were.

    Questions are asked in a random order (`seed`), until there are `limit` triplets, returned in the pool's order.

    Raises:
        InputError: the pool is empty or no question is answered wrongly.
    """
    places = {case.request.id: place for place, case in enumerate(cases)}
    order = random.Random(f"triplets {seed}").sample(cases, len(cases))
    triplets: list[Triplet] = []
    asked = cut = empty = 0
    for start in tqdm(range(0, len(order), ROWS), desc="triplets", unit="batch"):
        if len(triplets) >= limit:
            break
        part = order[start : start + ROWS]
        # One token more than is allowed tells an answer that ends there from one that goes on.
        answers = generate(
            backbone, [case.request.query for case in part], [[] for _ in part], None, max_new_tokens + 1
        )
        asked += len(part)
        for case, ids in zip(part, answers, strict=True):
            if len(ids) > max_new_tokens:
                cut += 1
                continue
            query, answer = case.request.query, backbone.text(ids)
            empty += normalise_answer(answer) == ""
            wrong = normalise_answer(answer) not in ("", normalise_answer(case.request.target))
            if wrong and len(triplets) < limit:
                request = case.request
                triplets.append(Triplet(request.id, query.image, query.prompt, query.style, request.target, answer))
    told = f"{cut} of {asked} answers do not end within {max_new_tokens} tokens"
    log.info("%d triplets from a pool of %d questions; left out: %s", len(triplets), len(cases), told)
    if not triplets:
        raise InputError(
            f"triplets: none of the {len(cases)} pool questions is answered wrongly, expected at least one: "
            f"{asked - cut - empty} are answered right, {empty} with nothing, and {told} (evaluation.max_new_tokens)"
        )
    return sorted(triplets, key=lambda triplet: places[triplet.id])


def write_triplets(triplets: Sequence[Triplet], out: Path, fingerprint: str) -> None:
    """Write triplets as Parquet, one row per triplet, with a fingerprint."""
    write_table(out, pd.DataFrame(triplets), fingerprint)


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
