"""MMEdit's JSON files: read, validated, and turned into edit cases; the embedded benchmark is read by the same code.

A file is a list of records with the keys of `FIELDS`; `id` (text), `facts` (list of text) and VLKEB's `port_new`
(portability questions) may be added. Another file may bring the text-only questions (`loc`, `loc_ans`).
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from unike_lib.io import read_json
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query, Task

FIELDS = ("src", "rephrase", "alt", "image", "image_rephrase", "loc", "loc_ans", "m_loc", "m_loc_q", "m_loc_a")
IMAGE_FIELDS = ("image", "image_rephrase", "m_loc")
TEXT_FIELDS = ("loc", "loc_ans")
PLAIN_PREFIX = "nq question"  # MMEdit's text-only questions bring their own wording
PROBLEMS_SHOWN = 20
GENERAL = "general"
GENERAL_QUESTIONS = Path(__file__).with_name("general_questions.json")
# Which of every eight text-only questions a split asks, so that those of the evaluation are met nowhere else.
EIGHTHS = {"eval": (0, 2, 4, 6), "dev": (1, 5), "method": (3,)}
OTHER_EIGHTHS = (7,)


def read_cases(path: str | Path, task: Task | None = None, text_locality: str | None = None) -> list[EditCase]:
    """Read the edit cases of one file.

    Args:
        path: a JSON file with MMEdit's keys.
        task: what its questions are; None: "caption" if the file's name says so, else "vqa".
        text_locality: where the text-only questions come from, as in `BackboneConfig`; None: the file itself.

    Raises:
        InputError: missing or malformed file, no record, or records with missing, empty or wrongly typed fields or
            repeated ids; names file, record and field of the first twenty problems.
    """
    path = Path(path)
    records = _read_records(path)
    problems = [problem for index, record in enumerate(records) for problem in _problems(record, index)]
    ids = [record.get("id", f"{path.stem}-{i}") for i, record in enumerate(records) if isinstance(record, dict)]
    _require_none(path, problems + _repeated(ids))
    kind = task or ("caption" if "caption" in path.name else "vqa")
    cases = [_case(record, name, kind) for record, name in zip(records, ids, strict=True)]
    if text_locality is None:
        return cases
    eighths = EIGHTHS.get(path.name.split("_")[0], OTHER_EIGHTHS)
    questions = [query for i, query in enumerate(read_text_questions(text_locality)) if i % 8 in eighths]
    return [_with_text_locality(case, questions[i % len(questions)]) for i, case in enumerate(cases)]


def read_files(paths: Iterable[Path], text_locality: str | None = None, most: int | None = None) -> list[EditCase]:
    """Return the first `most` edit cases (None: all) of each of some files, file by file; see `read_cases`."""
    return [case for path in paths for case in read_cases(path, None, text_locality)[:most]]


def read_text_questions(source: str) -> list[Query]:
    """Read text-only questions.

    Args:
        source: "general", the packaged set of plain facts; or a JSON file, a list of records with `loc` and `loc_ans`
            (MMEdit's own files are such). A question that a file asks twice counts once, so that splits share none.

    Raises:
        InputError: missing or malformed file, fewer than eight questions, or records without non-empty `loc` and
            `loc_ans`.
    """
    path = GENERAL_QUESTIONS if source == GENERAL else Path(source)
    records = _read_records(path)
    _require_none(path, [p for i, record in enumerate(records) for p in _field_problems(record, i, TEXT_FIELDS)])
    questions: dict[str, Query] = {}
    for record in records:
        query = _text_query(record["loc"].strip(), record["loc_ans"].strip())
        questions.setdefault(plain_text(query.prompt), query)
    if len(questions) < 8:
        raise InputError(f"{path}: expected at least 8 text-only questions, found {len(questions)}")
    return list(questions.values())


def plain_text(text: str) -> str:
    """Return a question as questions are compared: case, and blanks beyond one, make no difference."""
    return " ".join(text.split()).casefold()


def _with_text_locality(case: EditCase, query: Query) -> EditCase:
    probes = tuple(replace(probe, query=query) if probe.kind == "t_loc" else probe for probe in case.probes)
    return replace(case, probes=probes)


def _read_records(path: Path) -> list[Any]:
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of records, found {type(records).__name__}")
    if not records:
        raise InputError(f"{path}: no records: this split is empty")
    return records


def _require_none(path: Path, problems: Sequence[str]) -> None:
    if problems:
        more = f" (and {len(problems) - PROBLEMS_SHOWN} more)" if len(problems) > PROBLEMS_SHOWN else ""
        raise InputError("; ".join(f"{path}: {problem}" for problem in problems[:PROBLEMS_SHOWN]) + more)


def _field_problems(record: Any, index: int, names: Sequence[str]) -> list[str]:
    if not isinstance(record, dict):
        return [f"record {index}: expected an object, found {type(record).__name__}"]
    return [
        f"record {index}: field '{name}': expected non-empty text, found {_shown(record, name)}"
        for name in names
        if not _is_text(record.get(name))
    ]


def _problems(record: Any, index: int) -> list[str]:
    found = _field_problems(record, index, FIELDS)
    if not isinstance(record, dict):
        return found
    if "id" in record and not _is_text(record["id"]):
        found.append(f"record {index}: field 'id': expected non-empty text, found {record['id']!r}")
    facts = record.get("facts", ["-"])
    if not isinstance(facts, list) or not facts or not all(map(_is_text, facts)):
        found.append(f"record {index}: field 'facts': expected a list of non-empty texts, found {facts!r}")
    return found + _port_problems(record, index)


def _port_problems(record: dict[str, Any], index: int) -> list[str]:
    entries = record.get("port_new", [])
    if not isinstance(entries, list):
        return [f"record {index}: field 'port_new': expected a list, found {_shown(record, 'port_new')}"]
    return [
        f"record {index}: field 'port_new': entry {number}: expected port_type, and Q&A with Question and Answer, all "
        f"non-empty texts, found {entry!r}"
        for number, entry in enumerate(entries)
        if not isinstance(entry, dict) or not all(isinstance(part, str) and part.strip() for part in _port_parts(entry))
    ]


def _port_parts(entry: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the kind of a portability question ("1-hop"), the question, and its answer."""
    asked = entry.get("Q&A")
    asked = asked if isinstance(asked, dict) else {}
    return entry.get("port_type"), asked.get("Question"), asked.get("Answer")


def _is_text(value: Any) -> bool:
    """Say whether a value is text that is not blank and can be written: JSON may hold halves of surrogate pairs."""
    if not isinstance(value, str) or not value.strip():
        return False
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _shown(record: dict[str, Any], name: str) -> str:
    return repr(record[name])[:60] if name in record else "nothing"


def _repeated(ids: Sequence[Any]) -> list[str]:
    first: dict[Any, int] = {}
    problems = []
    for index, name in enumerate(map(str, ids)):
        if name in first:
            problems.append(f"record {index}: field 'id': {name!r} is taken by record {first[name]}")
        first.setdefault(name, index)
    return problems


def _case(record: dict[str, Any], name: str, task: Task) -> EditCase:
    text = {field: record[field].strip() for field in FIELDS}
    request = EditRequest(name, task, text["image"], text["src"], text["alt"])
    style = request.query.style
    local_style = style if text["m_loc_q"] in (text["src"], text["rephrase"]) else "question"
    probes: tuple[Probe, ...] = (
        Probe("rel", request.query),
        Probe("t_gen", Query(text["image"], text["rephrase"], text["alt"], style)),
        Probe("m_gen", Query(text["image_rephrase"], text["src"], text["alt"], style)),
        Probe("t_loc", _text_query(text["loc"], text["loc_ans"])),
        Probe("m_loc", Query(text["m_loc"], text["m_loc_q"], text["m_loc_a"], local_style)),
    )
    # Reading: the paper has no portability. Like VLKEB's code, one question a record is asked: the first.
    for entry in record.get("port_new", [])[:1]:
        _, question, answer = _port_parts(entry)
        probes += (Probe("portability", Query(text["image"], question.strip(), answer.strip())),)
    facts = record.get("facts", [f"{text['image']} {text['src']}"])
    return EditCase(request, probes, tuple(facts))


def _text_query(prompt: str, answer: str) -> Query:
    return Query(None, prompt, answer, "plain" if prompt.lower().startswith(PLAIN_PREFIX) else "question")


def image_names(cases: Iterable[EditCase]) -> list[str]:
    """Return the names of all images that the cases ask about, sorted, each once."""
    return sorted({probe.query.image for case in cases for probe in case.probes if probe.query.image is not None})


def image_path(roots: Sequence[str | Path], name: str) -> Path:
    """Return where an image lies: below the first of the image folders that has it, or where it is missed.

    Raises:
        InputError: the name leads out of an image folder, or can name no file.
    """
    paths = [_below(Path(root), name) for root in roots]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def _below(root: Path, name: str) -> Path:
    try:
        path = root / name
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # Names too long, links in a circle, NUL characters.
        raise InputError(f"image {name!r}: cannot be the name of a file ({error})") from None
    if not inside:
        raise InputError(f"image {name!r}: leads out of the image folder {root}")
    return path


def load_image(roots: Sequence[str | Path], name: str) -> Image.Image:
    """Open an image as RGB; raise InputError, naming the file, if it is missing or broken.

    Its checksums are verified first where its format has them (PNG): decoding alone does not look at all of them.
    """
    path = image_path(roots, name)
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except Exception as error:  # Damaged bytes make Pillow's readers raise nearly anything.
        raise InputError(f"{path}: not a readable image ({error})") from None
