"""What a dialect is, and what readers of records share: someone's benchmark files become edit cases.

A dialect is one module in `benchmark/formats/` with an entry `DIALECT`; or an entry of an installed package or of a
user's own file (`benchmark.format`). Most are a `Table`: which keys of a record hold which probe.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from unicodedata import category

from unike_lib.characters import control_in, without_controls
from unike_lib.config.benchmark import FORMATS
from unike_lib.io import read_json
from unike_lib.json_text import RepeatedKeyError, parse_json
from unike_lib.probe_kinds import Must
from unike_lib.registry import find_entry
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query, Task

PLAIN_PREFIX = "nq question"  # MMEdit's text-only questions bring their own wording
PROBLEMS_SHOWN = 20
UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")  # Unicode's kinds of spaces, controls and marks of layout
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A file to read, and what the settings say of it: its task and its part.

    A file may hold both parts or several tasks; its dialect then gives those cases that are asked for.
    images: the folder of pictures, to which a dialect writes those that its files hold.
    """

    path: Path
    task: Task
    part: Literal["train", "eval"]
    images: Path | None = None


@dataclass(frozen=True)
class Dialect:
    """How the files of a benchmark are read.

    `read` gives the cases of a source in their order. A request without an id of its own has the id "": it is named by
    file and place. `pictures`: probe kind -> the field of a record that names its picture, for messages. `may_lack`:
    probes of every edit that a file may lack: then no record of it has them. `holds_pictures`: the files hold the
    pictures themselves, and reading them writes those out.
    """

    name: str
    read: Callable[[Source], Iterable[EditCase]]
    pictures: Mapping[str, str] = field(default_factory=dict)
    may_lack: frozenset[str] = frozenset()
    holds_pictures: bool = False


def find_dialect(name: str) -> Dialect:
    """Return a dialect by its name, or by "path/to/file.py:NAME"; raise InputError if there is none."""
    dialect: Dialect = find_entry(name, *FORMATS, Dialect)
    return dialect


@dataclass(frozen=True)
class Ask:
    """A probe and the keys of its question, answer and picture; without a picture, it is text only.

    must: what the answer must do; None: what the library's kind of this name says.
    """

    kind: str
    prompt: str
    answer: str
    image: str | None = None
    must: Must | None = None


class Further(Protocol):
    """Probes that are written otherwise than as one text per key."""

    def problems(self, record: Record, index: int) -> list[str]:
        """Say what is wrong with a record."""

    def probes(self, record: Record) -> Iterator[Probe]:
        """Yield a record's probes."""


@dataclass(frozen=True)
class Table:
    """Reads lists of records: a row per probe, that of the edit itself first.

    A record may have an `id` (text) and `facts` (list of text), too, and `aliases` (list of text): other answers that
    are as right as the edit's. Questions with the edit's answer are other wordings of it, and are put to the model as
    it is; others are questions, unless they bring MMEdit's wording. A record without facts rests on one: `fact`.
    """

    asks: tuple[Ask, ...]
    further: tuple[Further, ...] = ()
    fact: Callable[[EditRequest], str] = lambda request: f"{request.image} {request.prompt}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that a record must have, each once."""
        named = [key for ask in self.asks for key in (ask.prompt, ask.answer, ask.image)]
        return tuple(dict.fromkeys(key for key in named if key is not None))

    @property
    def pictures(self) -> dict[str, str]:
        """Probe kind -> the key of its picture."""
        return {ask.kind: ask.image for ask in self.asks if ask.image is not None}

    def __call__(self, source: Source) -> Iterator[EditCase]:
        """Yield the cases of a file; raise InputError as `check` does."""
        records = read_records(source.path)
        self.check(source.path, records)
        for record in records:
            yield self.case(record, source.task)

    def check(self, path: Path, records: Sequence[Any]) -> None:
        """Raise InputError with the first twenty problems of all records: file, record, field, expected, found."""
        require_none(path, [each for index, record in enumerate(records) for each in self._problems(record, index)])

    def _problems(self, record: Any, index: int) -> list[str]:
        found = text_problems(record, index, self.keys)
        if not isinstance(record, dict):
            return found
        if "id" in record and not is_text(record["id"]):
            found.append(
                f"record {index}: field 'id': expected {without_controls(record['id'])}, found {record['id']!r}"
            )
        for key in ("facts", "aliases"):
            texts = record.get(key, ["-"])
            if not isinstance(texts, list) or not all(map(is_text, texts)) or (key == "facts" and not texts):
                expected = without_controls(texts, "a list of non-empty texts")
                found.append(f"record {index}: field '{key}': expected {expected}, found {texts!r}")
        return found + [problem for further in self.further for problem in further.problems(record, index)]

    def case(self, record: Record, task: Task) -> EditCase:
        """Return the case of a record that has been checked."""
        text = {key: record[key].strip() for key in self.keys}
        own = self.asks[0]
        request = EditRequest(record.get("id", ""), task, text[str(own.image)], text[own.prompt], text[own.answer])
        wordings = {text[ask.prompt] for ask in self.asks if ask.answer == own.answer}
        aliases = tuple(alias.strip() for alias in record.get("aliases", ()))
        probes = []
        for ask in self.asks:
            query = text_query(text[ask.prompt], text[ask.answer])
            if ask.image is not None:
                style = request.query.style if query.prompt in wordings else "question"
                query = Query(text[ask.image], query.prompt, query.answer, style)
            probes.append(Probe(ask.kind, query, ask.must, aliases if ask.answer == own.answer else ()))
        probes += [probe for further in self.further for probe in further.probes(record)]
        facts = record.get("facts", [self.fact(request)])
        return EditCase(request, tuple(probes), tuple(facts))


def text_query(prompt: str, answer: str) -> Query:
    """Return a text-only question."""
    return Query(None, prompt, answer, "plain" if prompt.lower().startswith(PLAIN_PREFIX) else "question")


def read_records(path: Path) -> list[Any]:
    """Read a list of records: JSON, or JSONL (a record per line) where the file's name ends so.

    Raises:
        InputError: a missing or malformed file, or no record.
    """
    records = [record for _, record in read_lines(path)] if path.suffix == ".jsonl" else read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of records, found {type(records).__name__}")
    if not records:
        raise InputError(f"{path}: no records: this split is empty")
    return records


def read_lines(path: Path, loads: Callable[[str], Any] = parse_json) -> list[tuple[int, Any]]:
    """Read JSONL: the values of lines that are not blank, with the lines' numbers from 1; only "\\n" ends a line.

    `loads` gives the value of a line.

    Raises:
        InputError: a missing file, or lines that are not JSON or have a key twice; names file and lines.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8 ({error})") from None
    values, problems = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                values.append((number, loads(line)))
            except RepeatedKeyError as error:
                problems.append(f"line {number}: {error}")
            except (ValueError, RecursionError) as error:
                problems.append(f"line {number}: not valid JSON; expected one record, whole, a line ({error})")
    require_none(path, problems)
    return values


def require_none(path: Path, problems: Sequence[str]) -> None:
    """Raise one InputError that names a file and its first twenty problems, if it has any."""
    if problems:
        more = f" (and {len(problems) - PROBLEMS_SHOWN} more)" if len(problems) > PROBLEMS_SHOWN else ""
        raise InputError("; ".join(f"{path}: {problem}" for problem in problems[:PROBLEMS_SHOWN]) + more)


def text_problems(record: Any, index: int, keys: Sequence[str]) -> list[str]:
    """Say which keys of a record hold no text."""
    if not isinstance(record, dict):
        return [f"record {index}: expected an object, found {type(record).__name__}"]
    return [
        f"record {index}: field '{key}': expected {without_controls(record.get(key))}, found {shown(record, key)}"
        for key in keys
        if not is_text(record.get(key))
    ]


def shown(record: Record, key: str) -> str:
    """Return what a record holds under a key, as messages show it."""
    return repr(record[key])[:60] if key in record else "nothing"


def is_text(value: Any) -> bool:
    """Say whether a value is text that can be seen and written: without control characters and halves of pairs."""
    return isinstance(value, str) and any(category(char) not in UNSEEN for char in value) and control_in(value) is None
