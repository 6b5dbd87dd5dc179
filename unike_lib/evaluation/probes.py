"""Ask a backbone, edited or not, the probes of cases, and score what it answers against the unedited answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.benchmark.answers import normalise_answer
from unike_lib.config import EvaluationConfig
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.metrics import exact_match, ordered_agreement, token_accuracy, top_ids, unchanged_targets
from unike_lib.evaluation.records import Before, Score
from unike_lib.types import PORTABILITY, PROBE_KINDS, EditCase, ProbeKind, Query

RANKS: dict[ProbeKind, int] = {"t_loc": 1, "m_loc": 10}
NOTHING = torch.zeros(0, 0, dtype=torch.long)
Named = tuple[str, ProbeKind]  # a case's id, and which of its probes


@dataclass(frozen=True)
class Answers:
    """What a backbone, edited or not, answers to rows of queries.

    best [row, token]: best id at every position read (0 elsewhere); answers and the position after them are read;
    targets [row, token]; tops: of rows of a locality kind the best ids [position, rank] over every real position, of
    others nothing; generated: greedy answers as ids; alphas [row]; finite [row]: whether the logits are numbers.
    """

    best: Tensor
    targets: Tensor
    tops: list[Tensor]
    generated: list[list[int]]
    alphas: Tensor
    finite: Tensor


@torch.no_grad()
def ask(
    backbone: Backbone,
    queries: Sequence[Query],
    kinds: Sequence[ProbeKind],
    patch: Patch | None,
    settings: EvaluationConfig,
    drafts: Sequence[Sequence[int]] | None = None,
) -> Answers:
    """Ask probes, each of its kind; rows are in the patch's session order.

    `drafts` are guesses of the greedy answers where they are not the queries' own: a matter of speed alone.

    Reading: a greedy answer is cut after `max_new_tokens` tokens, and criterion `generated` compares what is written. A
    target that is longer counts as not reached; of a long answer before the edit, only so much must stay.
    """
    everywhere = [kind in RANKS for kind in kinds]
    replies = answer_logits(backbone, queries, patch, everywhere=everywhere, keep=settings.generate)
    best, targets = replies.best, replies.batch.targets
    alphas = replies.notes.get("alpha", torch.full((len(queries),), torch.nan))
    parts = replies.logits.split(replies.where.sum(1).tolist())
    tops = [
        top_ids(part, RANKS[kind]).cpu() if kind in RANKS else NOTHING for part, kind in zip(parts, kinds, strict=True)
    ]
    generated: list[list[int]] = [[] for _ in queries]
    if settings.generate:
        generated = generate(backbone, queries, drafts or replies.answer_ids, patch, settings.max_new_tokens, replies)
    return Answers(best.cpu(), targets.cpu(), tops, generated, alphas.cpu(), replies.finite.cpu())


def answer_before(backbone: Backbone, cases: Sequence[EditCase], settings: EvaluationConfig) -> Before:
    """Return the unedited backbone's answers to every probe; all methods share them."""
    before = Before()
    asked = [(case, kind) for kind in kinds_of(cases) for case in cases if case.asks(kind)]
    asked.sort(key=lambda row: row[1] == "t_loc")  # questions without a picture are shorter
    for start in tqdm(range(0, len(asked), settings.sessions), desc="answers before", unit="batch"):
        part = asked[start : start + settings.sessions]
        queries, kinds = [probe_query(case, kind) for case, kind in part], [kind for _, kind in part]
        answers = ask(backbone, queries, kinds, None, settings)
        for row, (case, kind) in enumerate(part):
            best, ids = answers.best[row][answers.targets[row] != IGNORED], answers.generated[row]
            before.add(case.request.id, kind, best, answers.tops[row], ids, backbone.text(ids))
    return before


def score_kinds(
    backbone: Backbone,
    group: Sequence[Sequence[EditCase]],
    kinds: Sequence[ProbeKind],
    patch: Patch,
    before: Before,
    settings: EvaluationConfig,
) -> list[Score]:
    """Score probes of some kinds of sessions of equal length, session by session, kind by kind."""
    rows = [(case, kind) for session in group for kind in kinds for case in session]
    # Sessions keep equal row counts: a case without a question of a kind is asked its own edit, which is not scored.
    asked = [kind if case.asks(kind) else "rel" for case, kind in rows]
    places = [(case.request.id, kind) for (case, _), kind in zip(rows, asked, strict=True)]
    queries = [probe_query(case, kind) for (case, _), kind in zip(rows, asked, strict=True)]
    if patch.empty:
        answers = _recalled(backbone, queries, places, before)
    else:
        answers = ask(backbone, queries, asked, patch, settings, [before.generated_ids(*place) for place in places])
    local = torch.tensor([kind in RANKS for kind in asked])
    unchanged = unchanged_targets(_scatter(before, places, answers.targets), answers.targets)
    targets = torch.where(local[:, None], unchanged, answers.targets)
    tokens, exact = token_accuracy(answers.best, targets), exact_match(answers.best, targets)
    scores, width = [], len(group[0])
    for row, ((case, kind), query) in enumerate(zip(rows, queries, strict=True)):
        if not case.asks(kind):
            continue
        case_id, text = case.request.id, backbone.text(answers.generated[row])
        wanted = before.text(case_id, kind) if local[row] else query.answer or ""
        same = float(normalise_answer(text) == normalise_answer(wanted)) if settings.generate else np.nan
        token, whole = float(tokens[row]), float(exact[row])
        mmedit = ordered_agreement(before.tops(case_id, kind), answers.tops[row]) if local[row] else token
        if broken := not answers.finite[row]:
            token, mmedit, whole, same = 0.0, 0.0, 0.0, 0.0 * same  # NaN where nothing is generated
        scores.append(
            Score(
                case=case_id,
                facts=list(case.facts),
                kind=kind,
                token=token,
                mmedit=mmedit,
                exact=whole,
                generated=same,
                answer_tokens=int((targets[row] != IGNORED).sum()),
                target=query.answer or "",
                text_before=before.text(case_id, kind),
                text_after=text,
                alpha=float(answers.alphas[row]),
                status="failed: logits are not finite" if broken else "ok",
                session=row // (width * len(kinds)),
                position=row % width,
            )
        )
    return scores


def _recalled(backbone: Backbone, queries: Sequence[Query], places: Sequence[Named], before: Before) -> Answers:
    """Return what the unedited backbone answered, without asking it again."""
    targets = backbone.encode(queries).targets.cpu()
    best = _scatter(before, places, targets)
    tops = [before.tops(*place) if place[1] in RANKS else NOTHING for place in places]
    generated = [before.generated_ids(*place) for place in places]
    return Answers(best, targets, tops, generated, torch.full((len(places),), np.nan), torch.ones(len(places)) > 0)


def _scatter(before: Before, places: Sequence[Named], targets: Tensor) -> Tensor:
    """Lay the unedited answers out at the answer positions of `targets` [row, token]."""
    laid = torch.zeros_like(targets)
    for row, place in enumerate(places):
        laid[row, targets[row] != IGNORED] = before.answer(*place)
    return laid


def kinds_of(cases: Sequence[EditCase]) -> tuple[ProbeKind, ...]:
    """Return the probe kinds that the cases ask: those of every edit, and portability where a case has it."""
    return (*PROBE_KINDS, PORTABILITY) if any(case.asks(PORTABILITY) for case in cases) else PROBE_KINDS


def probe_query(case: EditCase, kind: ProbeKind) -> Query:
    """Return the question of one probe kind of a case."""
    return case.query(kind)
