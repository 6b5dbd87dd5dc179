"""The few types that travel through the pipeline.

Example:
    >>> case = EditCase(
    ...     EditRequest("vqa-0", "vqa", "images/cat.png", "what is this ?", "cat"),
    ...     (Probe("t_gen", Query("images/cat.png", "name this .", "cat")),),
    ...     facts=("cat/name",),
    ... )
    >>> case.request.query.answer
    'cat'
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from unike_lib.characters import visible
from unike_lib.probe_kinds import KINDS, Must

Task = Literal["vqa", "caption"]
TASKS: tuple[Task, ...] = get_args(Task)
PROBE_KINDS = tuple(name for name, kind in KINDS.items() if kind.aim)  # all edits of a file have one, or none has


class InputError(ValueError):
    """Bad input from outside: the message names the file, the record and the field, and what was expected."""

    def __str__(self) -> str:
        """Say it without what a terminal would obey: names of files may hold nearly anything."""
        return visible(super().__str__())


@dataclass(frozen=True)
class Query:
    """One question to a backbone: an image (path below the image root) or none, a prompt, an answer or none.

    A `question` is put into the backbone's question template; a `plain` prompt (captions, MMEdit's "nq question: ...")
    is passed as it stands. A `context` is text that goes before the prompt, template included.
    """

    image: str | None
    prompt: str
    answer: str | None = None
    style: Literal["question", "plain"] = "question"
    context: str = ""


@dataclass(frozen=True)
class EditRequest:
    """What an editor may see: the fact to install, about an image or without one, never its rephrasings or locality."""

    id: str
    task: Task
    image: str | None
    prompt: str
    target: str

    @property
    def query(self) -> Query:
        """The request as a question with its target as the answer."""
        return Query(self.image, self.prompt, self.target, "question" if self.task == "vqa" else "plain")


@dataclass(frozen=True)
class Probe:
    """One question asked after an edit, of a kind (`probe_kinds`).

    must: what its answer must do; None: what the library's kind of this name says. A dialect's own kind says it.
    aliases: other answers that are as right as the query's own, where texts are compared.
    A question whose answer must stay or differ needs no answer: the unedited model's own is taken.
    """

    kind: str
    query: Query
    must: Must | None = None
    aliases: tuple[str, ...] = ()

    @property
    def aim(self) -> Must:
        """What the answer must do."""
        return self.must or KINDS[self.kind].must


@dataclass(frozen=True)
class EditCase:
    """A request, its probes, and the facts it rests on (edits that share a fact are not independent).

    then: requests that are installed after the case's own, at the same place of a session, before any probe is asked.
    shown: (picture, entity) of what its pictures show, where the data say it.
    """

    request: EditRequest
    probes: tuple[Probe, ...]
    facts: tuple[str, ...]
    then: tuple[EditRequest, ...] = ()
    shown: tuple[tuple[str, str], ...] = ()

    @property
    def requests(self) -> tuple[EditRequest, ...]:
        """All requests, in the order in which they are installed."""
        return (self.request, *self.then)

    def asks(self, kind: str) -> bool:
        """Tell whether the case has a question of a probe kind."""
        return any(probe.kind == kind for probe in self.probes)

    def queries(self, kinds: Iterable[str]) -> list[Query]:
        """Return the questions of some probe kinds, as far as the case asks them, in the order of the kinds."""
        return [self.query(kind) for kind in kinds if self.asks(kind)]

    def probe(self, kind: str) -> Probe:
        """Return the probe of a kind.

        Raises:
            InputError: the case has no such probe.
        """
        for probe in self.probes:
            if probe.kind == kind:
                return probe
        raise InputError(f"record {self.request.id}: expected a probe {kind!r}, found {[p.kind for p in self.probes]}")

    def query(self, kind: str) -> Query:
        """Return the question of one probe kind; raise InputError as `probe` does."""
        return self.probe(kind).query


def beside_alike(query: Query) -> tuple[bool, str, int, str]:
    """Return the place of a question among others: beside those about the same picture, shorter ones first.

    Rows of a pass that begin alike share their beginning.
    """
    return query.image is None, query.image or "", len(query.prompt), str(query)


def kinds_of_all(cases: Iterable[EditCase], kinds: Iterable[str] = PROBE_KINDS) -> tuple[str, ...]:
    """Return those of some probe kinds that every case asks, in their order."""
    cases = list(cases)
    return tuple(kind for kind in kinds if all(case.asks(kind) for case in cases))
