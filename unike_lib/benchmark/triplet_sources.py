"""Questions beyond the benchmark from which triplets are collected too: JSONL of image, question, answer.

    {"image": "train2014/COCO_train2014_000000000009.jpg", "question": "What is in the box?", "answer": "broccoli"}

`id` (text, taken from file and line if absent) and `task` ("vqa", the default, or "caption") may be added.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unike_lib.benchmark.dialect import is_text, read_lines
from unike_lib.characters import without_controls
from unike_lib.io import atomic_path
from unike_lib.types import TASKS, EditCase, EditRequest, InputError, Probe

FIELDS = ("image", "question", "answer")


def read_triplet_source(path: Path) -> list[EditCase]:
    """Read questions as cases with nothing but the question itself.

    Raises:
        InputError: a missing file, or a line that is no object with the three texts; names file, line and field.
    """
    cases = [_case(path, number, record) for number, record in read_lines(path)]
    ids = {case.request.id for case in cases}
    if len(ids) < len(cases):
        raise InputError(f"{path}: field 'id': {len(cases) - len(ids)} ids are taken twice; expected each once")
    return cases


def write_triplet_source(path: Path, cases: Iterable[EditCase]) -> None:
    """Write questions in the form that `read_triplet_source` reads."""
    with atomic_path(path) as temporary:
        requests = [case.request for case in cases]
        lines = [json.dumps(_line(request), ensure_ascii=False) + "\n" for request in requests]
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def _line(request: EditRequest) -> dict[str, str]:
    named = {"image": str(request.image), "question": request.prompt, "answer": request.target}
    return {"id": request.id, "task": request.task, **named}


def _case(path: Path, number: int, record: Any) -> EditCase:
    if not isinstance(record, dict):
        raise InputError(f"{path}: line {number}: expected an object, found {type(record).__name__}")
    values = {"id": f"{path.stem}-{number}", "task": "vqa", **record}
    for name in ("id", *FIELDS):
        if not is_text(values.get(name)):
            expected = without_controls(values.get(name))
            found = repr(values.get(name))[:60]
            raise InputError(f"{path}: line {number}: field '{name}': expected {expected}, found {found}")
    if values["task"] not in TASKS:
        raise InputError(
            f"{path}: line {number}: field 'task': expected {' or '.join(TASKS)}, found {values['task']!r}"
        )
    image, question, answer = (values[name].strip() for name in FIELDS)
    request = EditRequest(values["id"], values["task"], image, question, answer)
    return EditCase(request, (Probe("rel", request.query),), (f"{image} {question}",))
