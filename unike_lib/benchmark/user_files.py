"""The files of a user's benchmark: annotations, read by their dialect, and triplet sources."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from unike_lib.benchmark.cases import repeated_ids
from unike_lib.benchmark.dialect import Source, find_dialect, is_text, require_none
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.characters import control_in, without_controls
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.probe_kinds import KINDS, can_name_kind
from unike_lib.types import PROBE_KINDS, EditCase, InputError, Task

log = logging.getLogger(__name__)


@dataclass
class UserFile:
    """A file, its cases, and what became of them.

    `name`: what messages call it, with task and part if several are read from it; `pictures`: probe kind -> the field
    of a record that names its picture; `unnamed`: ids that are not the records' own, but given by file and place;
    `counts`: its records, those left out by reason, those kept.
    """

    path: Path
    name: str
    cases: list[EditCase]
    pictures: Mapping[str, str]
    unnamed: frozenset[str] = field(default_factory=frozenset)
    counts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = {"records": len(self.cases), "missing": 0, "evaluated": 0, "kept": len(self.cases)}

    def keep(self, cases: list[EditCase], reason: str) -> None:
        """Leave all other cases out; log and count them."""
        self.counts[reason] = left_out = len(self.cases) - len(cases)
        if left_out:
            log.warning("%s: %d of %d records left out: %s", self.name, left_out, len(self.cases), reason)
        self.cases = cases
        self.counts["kept"] = len(cases)


def read_user_file(task: Task, part: Literal["train", "eval"], config: BenchmarkConfig) -> UserFile:
    """Read a task's file of edits.

    Raises:
        InputError: it is missing or malformed, has no records, or its dialect gives no whole cases.
    """
    path = Path(str(config.annotations)) / str(getattr(config.files[task], part))
    dialect = find_dialect(config.format)
    found = list(dialect.read(Source(path, task, part, None if config.images is None else Path(config.images))))
    if not found:
        raise InputError(f"{path}: no records: this split is empty")
    asked = {probe.kind for case in found if isinstance(case, EditCase) for probe in case.probes}
    needed = tuple(kind for kind in PROBE_KINDS if kind in asked or kind not in dialect.may_lack)
    require_none(path, [problem for index, case in enumerate(found) for problem in _problems(case, index, needed)])
    cases = [named(case, case.request.id or f"{path.stem}-{index}") for index, case in enumerate(found)]
    require_none(path, repeated_ids(cases))
    unnamed = {named.request.id for named, case in zip(cases, found, strict=True) if not case.request.id}
    names = [name for pair in config.files.values() for name in (pair.train, pair.eval)]
    name = path.name if names.count(getattr(config.files[task], part)) == 1 else f"{path.name} ({task}, {part})"
    return UserFile(path, name, cases, dialect.pictures, frozenset(unnamed))


def read_source_file(name: str) -> UserFile:
    """Read a triplet source; raise InputError if it is missing or malformed."""
    return UserFile(Path(name), Path(name).name, read_triplet_source(Path(name)), {"rel": "image"})


def read_user_files(config: BenchmarkConfig) -> Iterator[UserFile]:
    """Yield all files: every task's, then triplet sources; raise InputError as the others do."""
    for task in config.tasks:
        if config.files[task].train is not None:
            yield read_user_file(task, "train", config)
        yield read_user_file(task, "eval", config)
    yield from map(read_source_file, config.triplet_sources)


def numbered(case: EditCase, prefix: str, index: int) -> EditCase:
    """Return a case with an id that says its place."""
    return named(case, f"{prefix}-{index}")


def named(case: EditCase, name: str) -> EditCase:
    """Return a case with this id; requests after its own have the id with their number."""
    then = tuple(replace(request, id=f"{name}+{number}") for number, request in enumerate(case.then, 1))
    return replace(case, request=replace(case.request, id=name), then=then)


def _problems(case: EditCase, index: int, needed: tuple[str, ...]) -> list[str]:
    """Say what a dialect left out of a case, which needs probes of some kinds."""
    if not isinstance(case, EditCase):
        return [f"record {index}: expected an EditCase of the dialect, found {type(case).__name__}"]
    kinds = [probe.kind for probe in case.probes]
    if any(kinds.count(kind) != 1 for kind in needed):
        return [f"record {index}: expected one probe each of {', '.join(needed)}, found {', '.join(kinds)}"]
    for probe in case.probes:
        known = probe.kind in KINDS or (probe.must is not None and can_name_kind(probe.kind))
        if not known or kinds.count(probe.kind) > 1:
            expected = "a free name of letters, digits and _, what it must do (become, stay or differ), once per case"
            return [f"record {index}: probe {probe.kind!r}: expected one of {', '.join(KINDS)}, or {expected}"]
    if case.request.image is None:
        return [f"record {index}: field 'request': expected a picture; requests after it (`then`) may have none"]
    queries = [("request", case.request.query), *(("then", request.query) for request in case.then)]
    queries += [(probe.kind, probe.query) for probe in case.probes]
    found = []
    for kind, query in queries:
        texts = query.prompt, query.answer, "-" if query.image is None else query.image
        if not all(map(is_text, texts)):
            expected = without_controls(texts, "a question and an answer, non-empty texts")
            found.append(f"record {index}: field '{kind}': expected {expected}, found {query}")
    beside = {"id": (case.request.id or "-",), "facts": case.facts, "shown": [t for each in case.shown for t in each]}
    beside["aliases"] = [text for probe in case.probes for text in probe.aliases]
    for name, values in beside.items():
        if control_in(list(values)) is not None:
            expected = without_controls(list(values))
            found.append(f"record {index}: field '{name}': expected {expected}, found {list(values)!r:.60}")
    return found
