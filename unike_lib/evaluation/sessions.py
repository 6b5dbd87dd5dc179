"""Run edits in sessions and score them: editing is a fold over the K positions, batched over sessions.

One-step editing is K = 1. All K cases of a session are scored after its K edits, against the unedited backbone.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.oom import peak_mb
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criterion import find_criteria
from unike_lib.editing.editor import Editor
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.probes import kinds_of, score_kinds
from unike_lib.evaluation.tiers import still_fair
from unike_lib.evaluation.unedited_answers import UneditedAnswers
from unike_lib.records import Score, score_schema
from unike_lib.types import EditCase

TOKENS_PER_PASS = 3584  # tokens of a pass whose logits are kept: 0.7 GB with a vocabulary of 49,152


def run_edits(
    backbone: Backbone,
    editor: Editor,
    cases: Mapping[int, Sequence[EditCase]],
    before: UneditedAnswers,
    settings: EvaluationConfig,
) -> list[Score]:
    """Edit and score cases in sessions of K, for every K; a last partial session is scored with its true length.

    Sessions that begin with the same edits share them: those of 20 are scored after 10 edits too, if one of 10 begins
    where they do. Where K > 1, the `rel` scores also say what the item scored right after its own edit. A session whose
    edit failed is scored as it stands without that edit, and its status says why. A probe whose logits are not finite
    has failed too, and has the worst score.

    Args:
        backbone: the model.
        editor: the method.
        cases: K -> the cases in the order of editing, each K of them a session.
        before: the unedited backbone's answers to their probes.
        settings: how many sessions are edited side by side, and what is asked.
    """
    runs = _runs(cases)
    scores: list[Score] = []
    amount = sum(len(run.cases) + sum(run.sessions) for run in runs)
    with tqdm(total=amount, desc="edits made, then scored", unit="edit") as progress:
        for start in range(0, len(runs), settings.sessions):
            scores += _edit_side_by_side(
                backbone, editor, runs[start : start + settings.sessions], before, settings, progress
            )
    return scores


@dataclass
class _Run:
    """Edits made one after the other, for all sessions that begin with them, and what came of them so far.

    sessions: how many edits they have -> what they are, as K and number; failures: of each edit, None if it worked;
    right_after: the `rel` score of each item with its own edit as the last one, for all items but the last; seconds: of
    editing.
    """

    cases: Sequence[EditCase]
    sessions: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    failures: list[str | None] = field(default_factory=list)
    right_after: list[Score] = field(default_factory=list)
    seconds: float = 0.0

    def begins_with(self, cases: Sequence[EditCase]) -> bool:
        return all(mine.request.id == other.request.id for mine, other in zip(self.cases, cases, strict=False))


def _runs(cases: Mapping[int, Sequence[EditCase]]) -> list[_Run]:
    """Return the runs of edits that all sessions of every K need, the longest first."""
    sessions = [
        (k, number, every[start : start + k])
        for k, every in cases.items()
        for number, start in enumerate(range(0, len(every), k))
    ]
    by_first: defaultdict[str, list[_Run]] = defaultdict(list)
    runs: list[_Run] = []
    for k, number, session in sorted(sessions, key=lambda each: -len(each[2])):
        alike = by_first[session[0].request.id]
        run = next((run for run in alike if run.begins_with(session)), None)
        if run is None:
            run = _Run(session)
            runs.append(run)
            alike.append(run)
        run.sessions.setdefault(len(session), []).append((k, number))
    return runs


def _edit_side_by_side(
    backbone: Backbone,
    editor: Editor,
    runs: Sequence[_Run],
    before: UneditedAnswers,
    settings: EvaluationConfig,
    progress: "tqdm[Any]",
) -> list[Score]:
    """Make the edits of some runs, the longest first, position by position; score a session when its edits are made."""
    patch, quick = editor.start(len(runs)), settings.without_generation()
    scores: list[Score] = []
    for position in range(len(runs[0].cases)):
        editing = [run for run in runs if len(run.cases) > position]
        going_on = [run for run in runs if len(run.cases) > position + 1]
        with backbone.cache.remembering():  # the request is asked again right after its edit
            patch = patch.select(range(len(editing)))
            patch, installed = install(editor, [run.cases[position] for run in editing], patch, backbone.device)
            for run, (failure, seconds) in zip(editing, installed, strict=True):
                run.failures.append(failure)
                run.seconds += seconds
            if going_on:
                items, earlier = [run.cases[position : position + 1] for run in going_on], range(len(going_on))
                for run, score in zip(
                    going_on, score_kinds(backbone, items, ("rel",), patch.select(earlier), before, quick), strict=True
                ):
                    run.right_after.append(score)
        progress.update(len(editing))
        ended = [number for number, run in enumerate(editing) if position + 1 in run.sessions]
        if ended:
            scores += _score_ended(
                backbone, [editing[number] for number in ended], patch.select(ended), before, settings
            )
            progress.update(len(ended) * (position + 1))
    return scores


def install(
    editor: Editor, cases: Sequence[EditCase], patch: Patch, device: torch.device
) -> tuple[Patch, list[tuple[str | None, float]]]:
    """Install the requests of a case per session, one after the other, each number of them side by side.

    A session whose case has fewer requests is edited beside the others with its own one again, and that is taken back:
    patches of sessions have one form.

    Returns:
        the patch, and per session why its edits failed (None: they did not) and the seconds of its edits.
    """
    failures: list[list[str]] = [[] for _ in cases]
    seconds = [0.0] * len(cases)
    for number in range(max(len(case.requests) for case in cases)):
        has = [len(case.requests) > number for case in cases]
        requests = [case.requests[number] if own else case.request for case, own in zip(cases, has, strict=True)]
        started = time.perf_counter()
        outcome = editor.edit(requests, patch)
        share = (time.perf_counter() - started) / len(cases)
        patch = outcome.patch if all(has) else outcome.patch.revert(torch.tensor(has, device=device), patch)
        for session in (session for session, own in enumerate(has) if own):
            failures[session] += [why for why in outcome.failures[session : session + 1] if why is not None]
            seconds[session] += share
    return patch, [("; ".join(why) or None, spent) for why, spent in zip(failures, seconds, strict=True)]


def _score_ended(
    backbone: Backbone, runs: Sequence[_Run], patch: Patch, before: UneditedAnswers, settings: EvaluationConfig
) -> list[Score]:
    """Score the sessions that are the edits made so far, equally many of each run, for every K that has them."""
    edits = len(runs[0].failures)
    kept, peak = sum(part.nbytes for part in patch.tensors().values()) / patch.sessions, peak_mb(backbone.device)
    scores = []
    asked = [still_fair(run.cases[:edits]) for run in runs]
    for score in _score_group(backbone, asked, patch, before, settings):
        run = runs[score.session]
        failure = run.failures[score.position]
        score.status = score.status if failure is None else f"failed: {failure}"
        score.edit_seconds, score.edit_bytes, score.peak_mb = run.seconds / edits, kept / edits, peak
        scores += [_of_session(score, run, k, number) for k, number in run.sessions[edits]]
    return scores


def _of_session(score: Score, run: _Run, k: int, number: int) -> Score:
    """Return a score as that of a session of K; of a last edit, the score right after it is the same."""
    score = replace(score, k=k, session=number)
    if k == 1 or score.kind != "rel":
        return score
    own = run.right_after[score.position] if score.position < len(run.failures) - 1 else score
    return replace(score, right_after=own.scores)


def _score_group(
    backbone: Backbone,
    group: Sequence[Sequence[EditCase]],
    edited: Patch,
    before: UneditedAnswers,
    settings: EvaluationConfig,
) -> list[Score]:
    """Score every case of sessions of equal length after all their edits; sessions are numbered within the group.

    As many cases of a session, sessions and kinds of probes are asked together as keep a pass at `settings.sessions`
    rows and at TOKENS_PER_PASS: what a pass needs in memory does not grow with the length of sessions,
    nor with that of contexts.
    """
    width = len(group[0])
    asked = edited.before([case.query("rel") for session in group for case in session])
    starts = range(0, len(asked), settings.sessions)
    longest = max(int(backbone.encode(asked[s : s + settings.sessions]).lengths.max()) for s in starts)
    rows = max(1, min(settings.sessions, TOKENS_PER_PASS // longest))
    size, cases = max(1, rows // width), min(width, rows)
    scores: list[Score] = []
    for start, first in itertools.product(range(0, len(group), size), range(0, width, cases)):
        numbers = range(start, min(start + size, len(group)))
        part, patch = [group[number][first : first + cases] for number in numbers], edited.select(numbers)
        for together in _asked_together(part, rows // (len(part) * len(part[0]))):
            for score in score_kinds(backbone, part, together, patch, before, settings):
                score.session += start
                score.position += first
                scores.append(score)
    return scores


def _asked_together(group: Sequence[Sequence[EditCase]], most: int) -> Iterator[Sequence[str]]:
    """Yield kinds of probes that are asked in one pass; questions without a picture are shorter, and asked alone."""
    cases = [case for session in group for case in session]
    kinds = kinds_of(cases)
    with_picture = {probe.kind for case in cases for probe in case.probes if probe.query.image is not None}
    yield from ((kind,) for kind in kinds if kind not in with_picture)
    pictured = [kind for kind in kinds if kind in with_picture]
    for start in range(0, len(pictured), max(1, most)):
        yield pictured[start : start + max(1, most)]


def records_table(
    scores: Sequence[Score], labels: dict[str, object], settings: EvaluationConfig, first: int = 0
) -> pd.DataFrame:
    """Return one row per score, session by session, the run's labels (backbone ... fingerprint) in front.

    `first`: how many cases of the cell lie before a shard's; sessions are numbered in the whole cell.
    """
    criteria = find_criteria(settings.criteria)
    frame = pd.DataFrame([score.row(criteria) for score in scores], columns=score_schema(criteria).names)
    frame["session"] += first // frame["k"]
    frame = frame.sort_values(["k", "session"], kind="stable", ignore_index=True)
    return pd.concat([pd.DataFrame([labels] * len(frame), columns=list(labels)), frame], axis=1)
