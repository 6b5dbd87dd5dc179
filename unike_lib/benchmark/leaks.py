"""What splits share and must not: facts, edited pictures, and locality probes of the evaluation.

Checked for the embedded benchmark and for users' data. A fact or an edited picture in two splits is an error, and so is
a locality probe of the evaluation that another split has. What a user's evaluation files themselves share with his
training files (MMEdit's and VLKEB's do) is counted, and an error only where it was to be left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unike_lib.benchmark.text_questions import plain_text
from unike_lib.types import EditCase, InputError, Query

LEAKS_SHOWN = 10
EVALUATED = ("eval",)
EDITED_KINDS = ("rel", "m_gen")  # the probes whose pictures an edit is about: its own and the rephrased one

Role = Literal["fact", "edited", "asked", "t_loc", "m_loc", "probed"]
Footprint = tuple[Role, str | tuple[str | None, str]]
Sharing = Literal["t_loc", "m_loc", "edited", "probed"]
EDITS: tuple[Role, ...] = ("fact", "edited")  # what an edit is about: in one split only
# How an edit shares a locality probe with another split: what of the edit, what of the other split.
SHARING: Mapping[Sharing, tuple[Role, Role]] = {
    "t_loc": ("t_loc", "asked"),
    "m_loc": ("m_loc", "asked"),
    "edited": ("probed", "edited"),
    "probed": ("edited", "probed"),
}
LEAK_KINDS: Mapping[str, str] = {
    "fact": "fact",
    "image": "image",
    "t_loc": "T-Loc. question",
    "m_loc": "M-Loc. question",
    "edited": "image of an M-Loc. question and of an edit",
    "probed": "image of an M-Loc. question and of an edit",
}


@dataclass(frozen=True)
class Leak:
    """Something that splits share: its kind (`LEAK_KINDS`), what it is, and a record of each split that has it."""

    kind: str
    value: str
    places: tuple[tuple[str, str], ...]

    @property
    def locality(self) -> bool:
        """Whether it is a locality probe, or the image of one, that is shared."""
        return self.kind not in (LEAK_KINDS["fact"], LEAK_KINDS["image"])

    @property
    def of_files(self) -> bool:
        """Whether it is shared with the evaluation alone, whose files a user brings."""
        return len({split for split, _ in self.places} - set(EVALUATED)) < 2

    def __str__(self) -> str:
        return f"{self.kind} {self.value} is in " + ", ".join(f"{s} (record {record})" for s, record in self.places)


def question_of(query: Query) -> tuple[str | None, str]:
    """Return image and text of a question as splits compare them (`plain_text`)."""
    return query.image, plain_text(query.prompt)


def edited_images(cases: Iterable[EditCase]) -> set[str]:
    """Return the images that edits are about, original and rephrased ones."""
    return {str(value) for case in cases for role, value in traces(case) if role == "edited"}


def traces(case: EditCase) -> Iterator[Footprint]:
    """Yield what a case leaves in its split.

    `fact`; `edited`: image of the edit or rephrased one; `asked`: any question, requests' too; `t_loc`, `m_loc`:
    question of that probe; `probed`: image of the M-Loc. probe.
    """
    for fact in case.facts:
        yield "fact", fact
    for request in case.then:
        yield "asked", question_of(request.query)
        if request.image is not None:
            yield "edited", request.image
    for probe in case.probes:
        yield "asked", question_of(probe.query)
        if probe.kind in EDITED_KINDS and probe.query.image is not None:
            yield "edited", probe.query.image
        if probe.kind == "t_loc":
            yield "t_loc", question_of(probe.query)
        if probe.kind == "m_loc":
            yield "m_loc", question_of(probe.query)
            if probe.query.image is not None:
                yield "probed", probe.query.image


def edits_of(case: EditCase) -> set[Footprint]:
    """Return the facts and pictures that a case edits."""
    return {trace for trace in traces(case) if trace[0] in EDITS}


def edit_groups(cases: Sequence[EditCase]) -> list[int]:
    """Return for each case the first that it is joined with: both edit a fact or picture, or others link them."""
    parents = list(range(len(cases)))
    first: dict[Footprint, int] = {}

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for place, case in enumerate(cases):
        for trace in edits_of(case):
            low, high = sorted((root(first.setdefault(trace, place)), root(place)))
            parents[high] = low
    return [root(place) for place in range(len(cases))]


def index_of(cases: Iterable[EditCase]) -> dict[Footprint, str]:
    """Return every trace of the cases, with the first record that leaves it."""
    found: dict[Footprint, str] = {}
    for case in cases:
        for trace in traces(case):
            found.setdefault(trace, case.request.id)
    return found


def shared_by(case: EditCase, others: Mapping[Footprint, str]) -> set[Sharing]:
    """Return how an evaluated edit shares its locality with other cases, given their index."""
    own = list(traces(case))
    return {
        kind
        for kind, (mine, theirs) in SHARING.items()
        if any((theirs, value) in others for role, value in own if role == mine)
    }


def shares_evaluated(case: EditCase, evaluated: Mapping[Footprint, str]) -> bool:
    """Say whether a case shares locality with evaluated edits, given their index: `shared_by` from the other side."""
    own = list(traces(case))
    return any((mine, value) in evaluated for mine, theirs in SHARING.values() for role, value in own if role == theirs)


def find_leaks(splits: Mapping[str, Sequence[EditCase]], evaluated: Sequence[str] = EVALUATED) -> list[Leak]:
    """Return what two splits share and must not.

    Facts and edited images (original and rephrased) may be in one split only. Locality probes of an evaluated split may
    be met in no other: neither their questions (image and text) nor the images of M-Loc. probes as edits there, nor the
    split's edited images in M-Loc. probes there.

    Args:
        splits: split name -> its cases; the tasks of a split together.
        evaluated: the splits whose locality probes are looked for in all others.
    """
    indexes = {split: index_of(cases) for split, cases in splits.items()}
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    _collect(found, "fact", "fact", "fact", indexes, list(splits))
    _collect(found, "image", "edited", "edited", indexes, list(splits))
    for kind, (mine, theirs) in SHARING.items():
        _collect(found, kind, mine, theirs, indexes, [split for split in evaluated if split in splits])
    return [Leak(kind, value, tuple(sorted(places.items()))) for (kind, value), places in found.items()]


def _collect(
    found: dict[tuple[str, str], dict[str, str]],
    kind: str,
    mine: Role,
    theirs: Role,
    indexes: Mapping[str, Mapping[Footprint, str]],
    firsts: Sequence[str],
) -> None:
    """Add what any of the `firsts` holds as `mine` and another split as `theirs`."""
    for first in firsts:
        for (role, value), record in indexes[first].items():
            if role != mine:
                continue
            for other, index in indexes.items():
                if other != first and (theirs, value) in index:
                    places = found[LEAK_KINDS[kind], _shown(value)]
                    places.setdefault(first, record)
                    places.setdefault(other, index[theirs, value])


def _shown(value: str | tuple[str | None, str]) -> str:
    if isinstance(value, str):
        return repr(value)
    image, text = value
    return repr(text) if image is None else f"{text!r} about {image!r}"


def check_leaks(splits: Mapping[str, Sequence[EditCase]], locality: bool = False, edits: bool = True) -> None:
    """Raise InputError, with a count and the first ten leaks, if splits share a fact or an edited image.

    Args:
        splits: as in `find_leaks`.
        locality: raise for shared locality probes of the evaluation, too.
        edits: raise for facts and images that another split shares with the evaluation, too.
    """
    found = find_leaks(splits)
    leaks = [leak for leak in found if (locality if leak.locality else edits or not leak.of_files)]
    if leaks:
        raise InputError(
            f"benchmark: {len(leaks)} leaks between splits, expected none: " + "; ".join(map(str, leaks[:LEAKS_SHOWN]))
        )
