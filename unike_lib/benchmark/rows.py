"""A correction a row: what its columns are called, and the probes that they hold.

Needed are `image`, `question`, `answer`. What else is there is asked, too (docs/own_data.md): `rephrase`,
`rephrase_image`, `neighbour` with `neighbour_answer` and `neighbour_image`, `text_neighbour` with
`text_neighbour_answer`, `far_rephrase`, `identity` with `identity_answer`, `alias`, `id`, `part` (train or eval); and
not asked, but known of an edit: `facts`, and what its pictures show (`image_shows` ...). Several of a kind are columns
`rephrase_2` and so on, or one that holds a list.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from unike_lib.benchmark.dialect import Ask, Source, is_text, require_none, text_query
from unike_lib.characters import without_controls
from unike_lib.probe_kinds import KINDS
from unike_lib.types import EditCase, EditRequest, Probe, Query, Task

log = logging.getLogger(__name__)
NEEDED = ("image", "question", "answer")
ASKS = (
    Ask("t_gen", "rephrase", "answer", "image", "become"),
    Ask("m_gen", "question", "answer", "rephrase_image", "become"),
    Ask("t_loc", "text_neighbour", "text_neighbour_answer", None, "stay"),
    Ask("m_loc", "neighbour", "neighbour_answer", "neighbour_image", "stay"),
    Ask("t_gen_far", "far_rephrase", "answer", "image", "become"),
    Ask("identity", "identity", "identity_answer", None, "stay"),
)
IN_ALL_OR_NONE = tuple(ask for ask in ASKS if KINDS[ask.kind].aim)
PARTS = ("train", "eval")
SHOWS = {f"{image}_shows": image for image in ("image", "rephrase_image", "neighbour_image")}
OTHERS = ("id", "part", "alias", "facts", *SHOWS)
KNOWN = {*NEEDED, *OTHERS, *(key for ask in ASKS for key in (ask.prompt, ask.answer, ask.image) if key)}
Row = tuple[str, Mapping[str, Any]]  # what messages call it, and its columns
PICTURES = {"rel": "image", "t_gen": "image", "m_gen": "rephrase_image", "m_loc": "neighbour_image"}
PICTURES["t_gen_far"] = "image"
# Probes that a file may lack: none of its rows has them.
MAY_LACK = frozenset(ask.kind for ask in IN_ALL_OR_NONE)


def cases_of(source: Source, rows: Iterable[Row]) -> Iterator[EditCase]:
    """Yield the cases of rows; raise InputError with the first twenty problems of all of them."""
    problems: list[str] = []
    flat = [(name, _flat(name, row, problems)) for name, row in rows]
    for name, row in flat:
        problems += [f"{name}: field '{key}': expected text, found nothing" for key in NEEDED if key not in row]
        if row.get("part", "eval") not in PARTS:
            problems.append(f"{name}: field 'part': expected train or eval, found {row['part'][:60]!r}")
        for _, ask, number in _further(row):
            own = _own(ask, number)
            short = [key for key in own if key not in row]
            problems += [f"{name}: field '{key}': expected text beside '{own[0]}', found nothing" for key in short]
    for ask in IN_ALL_OR_NONE:
        key = _own(ask, 1)[0]
        if any(key in row for _, row in flat):  # a mean over some edits beside one over others would mislead
            expected = f"field '{key}': expected text in every row or in none, found nothing"
            problems += [f"{name}: {expected}" for name, row in flat if key not in row]
    require_none(source.path, list(dict.fromkeys(problems)))
    unread = dict.fromkeys(key for _, row in flat for key in row if not _is_read(*_base(key)))
    if unread:
        log.warning("%s: columns that are not read: %s", source.path, ", ".join(unread))
    divided = any("part" in row for _, row in flat)
    for _, row in flat:
        if not divided or row.get("part", "eval") == source.part:
            yield _case(row, source.task)


def _flat(name: str, row: Any, problems: list[str]) -> dict[str, str]:
    """Return a row's texts by column, lists as numbered columns; blank ones are not there.

    Names of columns are in any case; whole numbers are texts.
    """
    if not isinstance(row, Mapping):
        problems.append(f"{name}: expected an object, found {type(row).__name__}")
        return dict.fromkeys(NEEDED, "-")
    found: dict[str, str] = {}
    for column, value in row.items():
        values, name_of = value if isinstance(value, list) else [value], column.strip().lower()
        for number, each in enumerate(values, 1):
            key = name_of if number == 1 else f"{name_of}_{number}"
            known, said = _base(key)[0] in KNOWN, str(each) if type(each) is int else each  # True is none
            if is_text(said):
                if known and key in found:
                    problems.append(f"{name}: field '{key}': expected one of this name, found two")
                found[key] = said.strip()
            elif known and each is not None and (not isinstance(each, str) or each.strip()):
                expected = without_controls(each, "text")
                problems.append(f"{name}: field '{key}': expected {expected}, found {repr(each)[:60]}")
                found[key] = "eval" if key == "part" else "-"
    return found


def _base(key: str) -> tuple[str, int]:
    """Return a column's name without its number, and that: rephrase_2 is the second of `rephrase`."""
    numbered = re.fullmatch(r"(.+)_([2-9]|[1-9][0-9]+)", key)
    return (numbered[1], int(numbered[2])) if numbered and len(numbered[2]) < 4 else (key, 1)


def _is_read(base: str, number: int) -> bool:
    """Tell whether a column is: an edit has one picture, one question and one answer."""
    return base in KNOWN and (number == 1 or base not in (*NEEDED, "id", "part"))


def _own(ask: Ask, number: int) -> list[str]:
    """Return the columns that a probe has beside those of the edit."""
    keys = [key for key in (ask.prompt, ask.answer, ask.image) if key is not None and key not in NEEDED]
    return [key if number == 1 else f"{key}_{number}" for key in keys]


def _further(row: Mapping[str, str]) -> Iterator[tuple[str, Ask, int]]:
    """Yield the probes that a row has columns of, with their kinds: further ones are called as their column."""
    asks = {key: ask for ask in ASKS for key in _own(ask, 1)}
    found = {(asks[base].kind, number): asks[base] for base, number in map(_base, row) if base in asks}
    for (kind, number), ask in found.items():
        yield kind if number == 1 else _own(ask, number)[0], ask, number


def _case(row: Mapping[str, str], task: Task) -> EditCase:
    request = EditRequest(row.get("id", ""), task, *(row[key] for key in NEEDED))
    aliases = _all(row, "alias")
    probes = [Probe("rel", request.query, None, aliases)]
    wordings = {row["question"], *_all(row, "rephrase"), *_all(row, "far_rephrase")}
    for kind, ask, number in _further(row):
        own = {_base(key)[0]: row[key] for key in _own(ask, number)}
        image, prompt, answer = (key and (own.get(key) or row[key]) for key in (ask.image, ask.prompt, ask.answer))
        if ask.must == "become":
            query = Query(image, str(prompt), answer, request.query.style)
            probes.append(Probe(kind, query, ask.must, aliases))
        else:
            style = request.query.style if prompt in wordings else "question"
            query = text_query(str(prompt), str(answer)) if image is None else Query(image, str(prompt), answer, style)
            probes.append(Probe(kind, query, ask.must))
    facts = _all(row, "facts") or (f"{request.image} {request.prompt}",)
    shown = [(row[image], text) for key, image in SHOWS.items() if image in row for text in _all(row, key)]
    return EditCase(request, tuple(probes), facts, shown=tuple(dict.fromkeys(shown)))  # a picture may be in two places


def _all(row: Mapping[str, str], column: str) -> tuple[str, ...]:
    """Return the texts of a column and of those numbered like it."""
    return tuple(text for key, text in row.items() if _base(key)[0] == column)
