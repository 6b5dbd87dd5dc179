"""Examples: what the backbone said before an edit and after it, method by method (Fig. 5b, 7)."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL.Image import Image

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.io import read_table, write_text
from unike_lib.probe_kinds import LOCALITY
from unike_lib.records import CELL
from unike_lib.reporting.pages import picture_address, render_page
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.types import PROBE_KINDS, EditCase, InputError

KIND_TITLES: dict[str, str] = {
    "rel": "Reliability: the edit itself",
    "t_gen": "Generality: rephrased text",
    "m_gen": "Generality: rephrased image",
    "t_loc": "Locality: text only",
    "m_loc": "Locality: image",
}
BEFORE = "before"
UNEDITED = "base"  # says what was said before
COLUMNS = [*CELL, "k", "case", "kind", "token", "text_before", "text_after"]
THUMBNAIL = 224  # pixels


@dataclass(frozen=True)
class Answer:
    """What was said; `good`: right, or for a locality question unchanged; None: the answer that must be kept."""

    text: str
    good: bool | None


@dataclass(frozen=True)
class Asked:
    """One question of an example, with an answer a method; the first, `BEFORE`, is that before any edit.

    `wanted`: the answer that counts as right; of a locality question, the answer before.
    """

    kind: str
    image: str | None
    question: str
    wanted: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True)
class Example:
    """One edit of one backbone, with its five questions."""

    backbone: str
    task: str
    case: str
    asked: tuple[Asked, ...]


def choose_examples(
    records: Sequence[Path],
    cases: Mapping[tuple[str, str], Sequence[EditCase]],
    methods: Sequence[str],
    count: int,
    seed: int,
) -> list[Example]:
    """Return examples of every backbone and task, drawn by the seed: the same edits for all backbones where possible.

    Args:
        records: record files of all methods shown; others than one-step edits are an error.
        cases: (backbone, task) -> its evaluation edits, in order.
        methods: in the order in which they are shown.
        count: edits per backbone and task.
        seed: of the drawing.

    Raises:
        InputError: a file without one of the columns, or a method without records of an edit.
    """
    table = pd.concat([_read(path) for path in sorted(records)], ignore_index=True)
    scored = {key: set(rows["case"]) for key, rows in table.groupby(["backbone", "task"])}
    rows = {tuple(row[name] for name in (*CELL, "case", "kind")): row for row in table.to_dict("records")}
    examples = []
    for (backbone, task), given in cases.items():
        order = random.Random(f"{seed} {task}").sample(range(len(given)), len(given))
        chosen = [given[place] for place in order if given[place].request.id in scored.get((backbone, task), ())]
        for case in chosen[:count]:
            asked = tuple(
                _asked(case, kind, (backbone, task), rows, methods) for kind in PROBE_KINDS if case.asks(kind)
            )
            examples.append(Example(backbone, task, case.request.id, asked))
    return examples


def _read(path: Path) -> pd.DataFrame:
    table = read_table(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing or (table["k"] != 1).any():
        raise InputError(f"{path}: expected records of one-step edits with the columns {', '.join(COLUMNS)}")
    return table[COLUMNS].assign(generated=table.get("generated", float("nan")))


def _asked(
    case: EditCase,
    kind: str,
    cell: tuple[str, str],
    rows: Mapping[tuple[Any, ...], Mapping[Any, Any]],
    methods: Sequence[str],
) -> Asked:
    query = case.query(kind)
    answers: dict[str, Answer] = {}
    for method in methods:
        key = (*cell, method, case.request.id, kind)
        if key not in rows:
            raise InputError(f"qualitative examples: no record of {', '.join(key)}")
        row = rows[key]
        said = row["text_before"]
        right = None if kind in LOCALITY else normalise_answer(said) == normalise_answer(query.answer or "")
        answers.setdefault(BEFORE, Answer(said, right))
        # Where greedy answers were not scored, all answer tokens under teacher forcing must be right.
        score = row["token"] if pd.isna(row["generated"]) else row["generated"]
        if method != UNEDITED:
            answers[method] = Answer(row["text_after"], bool(score == 1))
    wanted = answers[BEFORE].text if kind in LOCALITY else query.answer or ""
    return Asked(kind, query.image, query.prompt, wanted, answers)


def verdict_word(kind: str, answer: Answer) -> str:
    """Return the sign and word of an answer, so that nothing rests on colour."""
    if answer.good is None:
        return "to keep"
    if kind in LOCALITY:
        return "✓ kept" if answer.good else "✗ changed"
    return "✓ right" if answer.good else "✗ wrong"


def speaker_title(method: str) -> str:
    """Return who said an answer, in words."""
    return "before the edit" if method == BEFORE else short_title(method)


def write_qualitative_page(examples: Sequence[Example], load: Callable[[str], Image], out: Path) -> None:
    """Write the examples as one self-contained HTML page; `load` opens an image by its name."""
    names = {asked.image for example in examples for asked in example.asked if asked.image is not None}
    pictures = {}
    for name in sorted(names):
        picture = load(name)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        pictures[name] = picture_address(picture)
    page = render_page(
        "qualitative.html",
        examples=examples,
        pictures=pictures,
        titles=KIND_TITLES,
        word=verdict_word,
        speaker=speaker_title,
    )
    write_text(out, page)
