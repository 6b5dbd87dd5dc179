"""What a session of many edits is made of, and the fixed questions that none of its edits concerns."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from unike_lib.benchmark.leaks import EDITED_KINDS, edited_images, question_of
from unike_lib.evaluation.session_layout import session_cases
from unike_lib.types import EditCase, InputError, Probe

log = logging.getLogger(__name__)
TAUGHT, GENERAL = "taught", "general"
ASKED_KINDS = (*EDITED_KINDS, "t_gen")  # the probes whose answers an edit means to change


@dataclass(frozen=True)
class FixedQuestion:
    """A question with its right answers, and what makes it depend on others: its facts, or its answer."""

    id: str
    probe: Probe
    clusters: tuple[str, ...]


@dataclass(frozen=True)
class RetentionPlan:
    """One session of edits, and what is asked on the way.

    ks: numbers of edits after which everything is asked; questions, left_out: by set, what is asked, and how many
    questions were left out because an edit concerns them.
    """

    edits: tuple[EditCase, ...]
    ks: tuple[int, ...]
    questions: Mapping[str, tuple[FixedQuestion, ...]]
    left_out: Mapping[str, int]


def plan_retention(
    edited: Sequence[Sequence[EditCase]],
    taught: Sequence[Sequence[EditCase]],
    ks: Sequence[int],
    questions: int,
    seed: int,
) -> RetentionPlan:
    """Return a session of as many edits as the largest of `ks`, the tasks in turn, and the questions asked on the way.

    Where there are fewer, as many as the tasks have in equal shares are made, and their number takes the place of what
    is larger.

    Args:
        edited: the evaluation edits of each task; their T-Loc. questions are the general ones.
        taught: what the backbone was taught, of each task.
        ks: numbers of edits.
        questions: most questions of each set.
        seed: of the order within each pair of edits.

    Raises:
        InputError: there is no edit.
    """
    edits = session_cases(edited, len(edited), None, seed)[: max(ks)]
    if not edits:
        raise InputError("retention: expected at least one edit of each task, found none")
    if len(edits) < max(ks):
        log.warning("retention.ks: %d edits are asked for, the tasks have %d in equal shares", max(ks), len(edits))
    concerned = _Concerned(edits)
    pools = {TAUGHT: list(_taught(taught)), GENERAL: list(_general(case for cases in edited for case in cases))}
    free = {name: [each for each in pool if not concerned(each)] for name, pool in pools.items()}
    left_out = {name: len(pools[name]) - len(free[name]) for name in pools}
    log.info("retention: left out because an edit concerns them: %s", left_out)
    return RetentionPlan(
        tuple(edits),
        tuple(sorted({min(k, len(edits)) for k in ks})),
        {name: tuple(found[:questions]) for name, found in free.items()},
        left_out,
    )


def asked_cases(plan: RetentionPlan) -> list[EditCase]:
    """Return cases that hold all that is asked, edits and fixed questions: their pictures are what must be seen."""
    fixed = tuple(each.probe for found in plan.questions.values() for each in found)
    edits = [replace(case, probes=(case.probe("rel"),)) for case in plan.edits]
    return [*edits, replace(plan.edits[0], probes=fixed)]


def look_alikes(edits: Sequence[EditCase], count: int) -> list[EditCase]:
    """Return edits again and again, up to `count`: each round under new ids, with targets of other edits of the task.

    They are for time and memory alone: nothing they say is right.
    """
    targets: defaultdict[str, list[str]] = defaultdict(list)
    places = []
    for case in edits:
        places.append(len(targets[case.request.task]))
        targets[case.request.task].append(case.request.target)
    found = []
    for number in range(count):
        again, index = divmod(number, len(edits))
        request = edits[index].request
        others = targets[request.task]
        target = others[(places[index] + again) % len(others)]
        name = f"{request.id}-again-{again}" if again else request.id
        found.append(replace(edits[index], request=replace(request, id=name, target=target)))
    return found


class _Concerned:
    """Says of a question whether some edits concern it: a fact of it, its picture, or the question itself is theirs."""

    def __init__(self, edits: Sequence[EditCase]) -> None:
        self._facts = {fact for case in edits for fact in case.facts}
        self._images = edited_images(edits)
        probes = [probe for case in edits for probe in case.probes if probe.kind in ASKED_KINDS]
        self._questions = {question_of(probe.query) for probe in probes}
        self._questions |= {question_of(request.query) for case in edits for request in case.then}

    def __call__(self, question: FixedQuestion) -> bool:
        query = question.probe.query
        return (
            not self._facts.isdisjoint(question.clusters)
            or query.image in self._images
            or question_of(query) in self._questions
        )


def _taught(tasks: Sequence[Sequence[EditCase]]) -> Iterator[FixedQuestion]:
    """Yield what was taught, the tasks in turn as long as they have something."""
    for together in itertools.zip_longest(*tasks):
        for case in filter(None, together):
            yield FixedQuestion(case.request.id, case.probe("rel"), case.facts)


def _general(cases: Iterable[EditCase]) -> Iterator[FixedQuestion]:
    """Yield the text-only questions of cases, each once; those with the same answer may ask for one fact."""
    seen = set()
    for probe in (case.probe("t_loc") for case in cases if case.asks("t_loc")):
        if question_of(probe.query) not in seen:
            seen.add(question_of(probe.query))
            yield FixedQuestion(probe.query.prompt, probe, (f"answer {probe.query.answer}",))
