"""Edit cases in files: whole cases of one split and task, which the file says itself; every stage reads them here.

    {"split": "eval", "task": "vqa", "cases": [{"request": {...}, "probes": [{"kind": "rel", "query": {...}}, ...],
     "facts": [...]}, ...]}

Fields that have their default are left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from unike_lib.benchmark.dialect import require_none
from unike_lib.benchmark.text_questions import questions_of_split
from unike_lib.config.problems import expected
from unike_lib.io import read_json, write_json
from unike_lib.probe_kinds import KINDS
from unike_lib.types import EditCase, InputError, Query, Task


@dataclass(frozen=True)
class CaseFile:
    """What a file of cases holds."""

    split: str
    task: Task
    cases: tuple[EditCase, ...]


FORM = TypeAdapter(CaseFile)


def cases_folder(stages: str | Path, backbone: str, embedded: bool) -> str:
    """Return where the edits lie that a backbone is asked: of a user's benchmark, those whose texts it can take.

    Args:
        stages: the folder with what the workflow's stages made.
        backbone: its name in the configuration.
        embedded: whether the benchmark is the embedded one.
    """
    return f"{stages}/benchmark" if embedded else f"{stages}/texts/{backbone}"


def write_cases(path: str | Path, split: str, task: Task, cases: Iterable[EditCase]) -> None:
    """Write the cases of a split and task.

    Raises:
        InputError: two cases have one id.
    """
    file = CaseFile(split, task, tuple(cases))
    require_none(Path(path), repeated_ids(file.cases))
    write_json(path, FORM.dump_python(file, mode="json", exclude_defaults=True))


def read_cases(path: str | Path, task: Task | None = None, text_locality: str | None = None) -> list[EditCase]:
    """Read the edit cases of one file.

    Args:
        path: a file that `write_cases` wrote.
        task: what it must be about; None: any.
        text_locality: where the text-only questions come from, as in `BackboneConfig`; None: the file itself.

    Raises:
        InputError: missing or malformed file, no case, or another task; names file, record and field.
    """
    file = read_case_file(Path(path))
    if task not in (None, file.task):
        raise InputError(f"{path}: field 'task': expected {task!r}, found {file.task!r}")
    if text_locality is None:
        return list(file.cases)
    questions = questions_of_split(text_locality, file.split)
    return [_with_text_locality(case, questions[i % len(questions)]) for i, case in enumerate(file.cases)]


def read_case_file(path: Path) -> CaseFile:
    """Read a file of cases as it is; errors as in `read_cases`."""
    content = read_json(path)
    try:
        file = FORM.validate_python(content)
    except ValidationError as error:
        require_none(path, [_problem(each) for each in error.errors()])
        raise
    require_none(path, [each for index, case in enumerate(file.cases) for each in _unknown_kinds(case, index)])
    if not file.cases:
        raise InputError(f"{path}: no records: this split is empty")
    return file


def read_files(paths: Iterable[Path], text_locality: str | None = None, most: int | None = None) -> list[EditCase]:
    """Return the first `most` edit cases (None: all) of each of some files, file by file; see `read_cases`."""
    return [case for path in paths for case in read_cases(path, None, text_locality)[:most]]


def repeated_ids(cases: Iterable[EditCase]) -> list[str]:
    """Say which cases have the id of one before them."""
    first: dict[str, int] = {}
    problems = []
    for index, case in enumerate(cases):
        name = case.request.id
        if name in first:
            problems.append(f"record {index}: field 'id': {name!r} is taken by record {first[name]}")
        first.setdefault(name, index)
    return problems


def _problem(error: Mapping[str, Any]) -> str:
    """Return "record 3: field 'request.prompt': what is wrong" of what pydantic found."""
    place = error["loc"]
    inside = place[:1] == ("cases",) and len(place) > 1
    record, place = (f"record {place[1]}: ", place[2:]) if inside else ("", place)
    found = "nothing" if error["type"] == "missing" else repr(error["input"])[:60]
    return f"{record}field '{'.'.join(map(str, place))}': expected {expected(error)}, found {found}"


def _unknown_kinds(case: EditCase, index: int) -> list[str]:
    return [
        f"record {index}: field 'probes.{number}.kind': expected one of {', '.join(KINDS)}, or a probe that says what "
        f"it must do, found {probe.kind!r}"
        for number, probe in enumerate(case.probes)
        if probe.kind not in KINDS and probe.must is None
    ]


def _with_text_locality(case: EditCase, query: Query) -> EditCase:
    probes = tuple(replace(probe, query=query) if probe.kind == "t_loc" else probe for probe in case.probes)
    return replace(case, probes=probes)
