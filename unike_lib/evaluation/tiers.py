"""Locality tiers of any benchmark: questions ever nearer to an edit, found by search in the data.

`near_picture`: the edit's question with the most similar other picture; `near_question`: another question of the data
about the same picture, else about the most similar one that has any; `no_picture`: the edit's question alone. None has
an answer: what the unedited model says must stay. A probe whose right answer is known to be the edit's target is left
out and counted; so is such a probe `identity` of a dialect.

Reading: pictures are alike as the backbone sees them: mean of its visual tokens, centred over the pictures, cosine.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.benchmark.images import image_names
from unike_lib.benchmark.leaks import EDITED_KINDS, edited_images
from unike_lib.io import write_csv
from unike_lib.probe_kinds import REACHED
from unike_lib.types import EditCase, Probe, Query

TIERS = ("near_picture", "near_question", "no_picture", "identity")
WORDED = (*REACHED, "t_gen_far")  # kinds that ask for the edit itself
DIGITS = 9  # of a cosine: what differs less is a tie, and goes by name

Seen = Callable[[Sequence[str]], Tensor]


class Likeness:
    """How alike pictures look to a backbone.

    Args:
        names: of the pictures.
        seen: names -> visual tokens [picture, token, d].
    """

    def __init__(self, names: Sequence[str], seen: Seen) -> None:
        self._names = sorted(set(names))
        self._places = {name: place for place, name in enumerate(self._names)}
        means = [seen([name])[0].double().mean(0).numpy() for name in self._names]
        self._means: NDArray[np.float64] = np.stack(means)
        centred = self._means - self._means.mean(0)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        self._directions = centred / np.where(lengths > 0, lengths, 1)

    def nearest(self, name: str) -> list[str]:
        """Return the other pictures, the most similar first; those that look exactly the same are no others."""
        place = self._places[name]
        cosines = (self._directions @ self._directions[place]).round(DIGITS)
        other = (self._means != self._means[place]).any(1)
        return [self._names[each] for each in np.argsort(-cosines, kind="stable") if other[each]]


class Wordings:
    """Which prompts ask the same: an edit's and its rephrasings, and those that other cases rephrase by one of them."""

    def __init__(self, cases: Sequence[EditCase]) -> None:
        self._above: dict[str, str] = {}
        for case in cases:
            for probe in case.probes:
                if probe.kind in WORDED:
                    self._above[self(probe.query.prompt)] = self(case.request.prompt)

    def __call__(self, prompt: str) -> str:
        """Return the prompt that stands for all wordings of this one."""
        while (above := self._above.get(prompt, prompt)) != prompt:
            prompt = above
        return prompt


def still_fair(session: Sequence[EditCase]) -> list[EditCase]:
    """Return the cases of a session without tiers that another of its edits is about.

    That is a tier about a picture of the other edit, or one that asks what the other edit asks, of a picture that is
    known to show the same thing (`EditCase.shown`). There the other edit may rightly change the answer.
    """
    meaning = Wordings(session)
    about = [_about(case, meaning) for case in session]
    often = Counter(each for own in about for each in own)
    fair = []
    for case, own in zip(session, about, strict=True):
        others = {each for each, count in often.items() if count > (each in own)}
        kept = []
        for probe in case.probes:
            picture, asked = probe.query.image, meaning(probe.query.prompt)
            things = {(entity, asked) for name, entity in case.shown if name == picture}
            if probe.kind not in TIERS or others.isdisjoint({picture, *things}):
                kept.append(probe)
        fair.append(case if len(kept) == len(case.probes) else replace(case, probes=tuple(kept)))
    return fair


def _about(case: EditCase, meaning: Wordings) -> set[str | tuple[str, str]]:
    """Return what an edit is about: its pictures, and the things that they show, each with what is asked of it."""
    pictures = edited_images([case])
    things = {entity for picture, entity in case.shown if picture in pictures}
    asked = {meaning(request.prompt) for request in case.requests}
    return {*pictures, *((entity, prompt) for entity in things for prompt in asked)}


class TierSearch:
    """Finds the tiers of cases, all tasks together; `counts`: (task, kind, "asked" or "left_out") -> edits."""

    def __init__(self, cases: Sequence[EditCase], seen: Seen) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self._cases, self._likeness, self._meaning = cases, Likeness(image_names(cases), seen), Wordings(cases)
        self._related: defaultdict[str, list[EditCase]] = defaultdict(list)
        self._shown: defaultdict[str, set[str]] = defaultdict(set)
        self._questions: defaultdict[str, list[Query]] = defaultdict(list)
        self._known: defaultdict[tuple[str | None, str], set[str]] = defaultdict(set)
        for case in cases:
            self._index(case)

    def _index(self, case: EditCase) -> None:
        edited = edited_images([case])
        for trait in {*case.facts, *edited}:
            self._related[trait].append(case)
        for picture, entity in case.shown:
            self._shown[picture].add(entity)
        # Also to a rephrasing in text of the rephrased picture, which no probe asks.
        for query in case.queries(EDITED_KINDS):
            known = self._known[query.image, self._meaning(case.request.prompt)]
            known.add(normalise_answer(case.request.target))
        for request in case.then:
            self._known[request.image, self._meaning(request.prompt)].add(normalise_answer(request.target))
        for probe in case.probes:
            query = probe.query
            right = {normalise_answer(each) for each in (query.answer, *probe.aliases) if each is not None}
            self._known[query.image, self._meaning(query.prompt)] |= right
            if query.image is not None:
                self._questions[query.image].append(replace(query, answer=None))

    def with_tiers(self, case: EditCase) -> EditCase:
        """Return a case with its tiers behind its own probes, without what is left out."""
        given = [probe for probe in case.probes if probe.kind in TIERS]
        kept = [probe for probe in case.probes if probe.kind not in TIERS]
        own = {probe.kind for probe in given}
        for probe in (*(each for each in self._tiers(case) if each.kind not in own), *given):
            out = self._is_reached(probe, case)
            self.counts[case.request.task, probe.kind, "left_out" if out else "asked"] += 1
            kept += [probe] * (not out)
        pictures = {probe.query.image for probe in kept} - {picture for picture, _ in case.shown}
        shown = [(picture, entity) for picture in filter(None, pictures) for entity in self._shown[picture]]
        return replace(case, probes=tuple(kept), shown=(*case.shown, *sorted(shown)))

    def _tiers(self, case: EditCase) -> Iterator[Probe]:
        own, picture = replace(case.request.query, answer=None), case.request.image
        if picture is None:  # the edit's question alone is the edit itself
            return
        others = self._other_pictures(case, picture)
        if others:
            yield Probe("near_picture", replace(own, image=others[0]))
        for near in (picture, *others):
            if found := self._other_questions(case, near):
                yield Probe("near_question", found[0])
                break
        yield Probe("no_picture", replace(own, image=None))

    def _other_pictures(self, case: EditCase, picture: str) -> list[str]:
        """Return pictures by likeness, without those of a case of the same fact or picture, or that show its entity."""
        edited = edited_images([case])
        excluded = set(image_names(each for trait in {*case.facts, *edited} for each in self._related[trait]))
        entities = set().union(*(self._shown[picture] for picture in edited))
        near = self._likeness.nearest(picture)
        return [each for each in near if each not in excluded and not entities & self._shown[each]]

    def _other_questions(self, case: EditCase, picture: str) -> list[Query]:
        """Return the questions about a picture, by prompt: none that the case asks of it or that word its edit."""
        own = self._meaning(case.request.prompt)
        asked = {
            probe.query.prompt
            for probe in case.probes
            if probe.query.image == picture or probe.query.answer == case.request.target
        }
        found = [query for query in self._questions[picture] if self._meaning(query.prompt) != own]
        return sorted((query for query in found if query.prompt not in asked), key=lambda query: query.prompt)

    def _is_reached(self, probe: Probe, case: EditCase) -> bool:
        """Tell whether the right answer to a probe is known to be the edit's target."""
        known = self._known[probe.query.image, self._meaning(probe.query.prompt)]
        return normalise_answer(case.request.target) in known


def write_tiers(
    files: Sequence[Path], split: str, seen: Seen, edits: int | None, outs: Sequence[Path], counts: Path
) -> None:
    """Write the cases of a split with their tiers, file by file, and count them.

    Args:
        files: the cases of each task.
        split: their split.
        seen: names of pictures -> visual tokens [picture, token, d].
        edits: so many cases of each task are searched, the others stay as they are; None: all.
        outs: where they go.
        counts: CSV with a row per task and tier: `edits` that were searched; `asked`; `left_out`, because the right
            answer is the target. Of the rest, there is none.
    """
    import pandas as pd

    tasks = [read_cases(path) for path in files]
    search = TierSearch([case for cases in tasks for case in cases[:edits]], seen)
    rows = []
    for cases, out in zip(tasks, outs, strict=True):
        task, searched = cases[0].request.task, cases[:edits]
        write_cases(out, split, task, [*map(search.with_tiers, searched), *cases[len(searched) :]])
        for kind in TIERS:
            found = {what: search.counts[task, kind, what] for what in ("asked", "left_out")}
            rows.append({"task": task, "kind": kind, "edits": len(searched), **found})
    write_csv(counts, pd.DataFrame(rows))
