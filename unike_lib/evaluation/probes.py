"""Ask a backbone, edited or not, the probes of cases, and score what it answers against the unedited answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criterion import Criterion, Reply, find_criteria
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.unedited_answers import UneditedAnswers
from unike_lib.probe_kinds import further_kinds
from unike_lib.records import Score
from unike_lib.types import PROBE_KINDS, EditCase, Probe, Query

RANKS_OF_TEXT, RANKS_OF_IMAGE = 1, 10  # best ids kept per position where an answer must stay (MMEdit's T-Loc, M-Loc)
NOTHING = torch.zeros(0, 0, dtype=torch.long)
NO_LOGITS = torch.zeros(0)
Named = tuple[str, str]  # a case's id, and which of its probes


@dataclass(frozen=True)
class AskedAnswers:
    """What a backbone, edited or not, answers to rows of queries.

    best [row, token]: best id at every position read (0 elsewhere); answers and the position after them are read;
    targets [row, token]; tops: of rows with ranks the best ids [position, rank] over every real position, of others
    nothing; generated: greedy answers as ids; alphas [row]; finite [row]: whether the logits are numbers; logits: of
    each row [position read, vocabulary], where read [row, token] says so; none of what was not asked again.
    """

    best: Tensor
    targets: Tensor
    tops: list[Tensor]
    generated: list[list[int]]
    alphas: Tensor
    finite: Tensor
    logits: Sequence[Tensor]
    read: Tensor


@dataclass(frozen=True)
class Row:
    """A question to ask.

    ranks: how many best ids of every position are kept; answer: token ids in the place of the query's answer; draft: a
    guess of the greedy answer where it is not the query's own, a matter of speed alone.
    """

    query: Query
    ranks: int = 0
    answer: Sequence[int] | None = None
    draft: Sequence[int] | None = None


@torch.no_grad()
def ask(backbone: Backbone, rows: Sequence[Row], patch: Patch | None, settings: EvaluationConfig) -> AskedAnswers:
    """Ask rows of questions, in the patch's session order.

    Reading: a greedy answer is cut after `max_new_tokens` tokens, and criteria that read it compare what is written. A
    target that is longer counts as not reached; of a long answer before the edit, only so much must stay.
    """
    queries, forced = [row.query for row in rows], None
    if any(row.answer is not None for row in rows):
        forced = [backbone.answer_ids(row.query.answer or "") if row.answer is None else row.answer for row in rows]
    everywhere = [row.ranks > 0 for row in rows]
    replies = answer_logits(backbone, queries, patch, forced, everywhere=everywhere, keep=settings.generate)
    best, targets = replies.best, replies.batch.targets
    alphas = replies.notes.get("alpha", torch.full((len(queries),), torch.nan))
    parts = replies.logits.split(replies.where.sum(1).tolist())
    tops = [top_ids(part, row.ranks).cpu() if row.ranks else NOTHING for part, row in zip(parts, rows, strict=True)]
    generated: list[list[int]] = [[] for _ in queries]
    if settings.generate:
        own = replies.answer_ids
        drafts = [ids if row.draft is None else row.draft for ids, row in zip(own, rows, strict=True)]
        generated = generate(backbone, queries, drafts, patch, settings.max_new_tokens, replies)
    finite, read = replies.finite.cpu(), replies.where.cpu()
    if patch is None:  # nobody scores these: the logits of one batch need not outlive it
        parts = ()
    return AskedAnswers(best.cpu(), targets.cpu(), tops, generated, alphas.cpu(), finite, parts, read)


def top_ids(logits: Tensor, ranks: int) -> Tensor:
    """Return the ids of the largest logits at each position, best first.

    Reading: MMEdit ranks the softmax of the logits. Where one id takes nearly all, a softmax in float32 rounds the
    others to equal numbers, and their order is chance; logits keep it. Without such ties both orders are the same.

    Args:
        logits: [..., vocabulary].
        ranks: how many ids; at most the vocabulary.

    Returns:
        [..., rank] int64 ids.
    """
    return logits.topk(ranks, dim=-1).indices


def ranks_of(probe: Probe) -> int:
    """Return how many best ids of every position are compared with the unedited model's; 0 if it must not stay."""
    if probe.aim == "become":
        return 0
    return RANKS_OF_TEXT if probe.query.image is None else RANKS_OF_IMAGE


def answer_before(backbone: Backbone, cases: Sequence[EditCase], settings: EvaluationConfig) -> UneditedAnswers:
    """Return the unedited backbone's answers to every probe; all methods share them."""
    before = UneditedAnswers()
    asked = [(case, case.probe(kind)) for kind in kinds_of(cases) for case in cases if case.asks(kind)]
    asked.sort(key=lambda row: row[1].query.image is None)  # questions without a picture are shorter
    for start in tqdm(range(0, len(asked), settings.sessions), desc="answers before", unit="batch"):
        part = asked[start : start + settings.sessions]
        answers = ask(backbone, [Row(probe.query, ranks_of(probe)) for _, probe in part], None, settings)
        found = [_own_answer(answers, row, probe) for row, (_, probe) in enumerate(part)]
        tops = answers.tops
        if any(probe.query.answer is None for _, probe in part):  # the edited rows will hold these answers, too
            with_answers = [
                Row(probe.query, ranks_of(probe), best.tolist() if probe.query.answer is None else None)
                for (_, probe), best in zip(part, found, strict=True)
            ]
            tops = ask(backbone, with_answers, None, settings.without_generation()).tops
        for (case, probe), best, top, ids in zip(part, found, tops, answers.generated, strict=True):
            before.add(case.request.id, probe.kind, best, top, ids, backbone.text(ids))
    return before


def _own_answer(answers: AskedAnswers, row: int, probe: Probe) -> Tensor:
    """Return the best ids along a probe's answer; without one, what is said, or that it ends at once."""
    if probe.query.answer is not None:
        return answers.best[row][answers.targets[row] != IGNORED]
    said = answers.generated[row]
    return torch.tensor(said) if said else answers.best[row][answers.read[row]][-1:]


def score_kinds(
    backbone: Backbone,
    group: Sequence[Sequence[EditCase]],
    kinds: Sequence[str],
    patch: Patch,
    before: UneditedAnswers,
    settings: EvaluationConfig,
) -> list[Score]:
    """Score probes of some kinds of sessions of equal length, session by session, kind by kind."""
    criteria, width = find_criteria(settings.criteria), len(group[0])
    rows = [(case, kind) for session in group for kind in kinds for case in session]
    # Sessions keep equal row counts: a case without a question of a kind is asked its own edit, which is not scored.
    asked = [(case, case.probe(kind if case.asks(kind) else "rel")) for case, kind in rows]
    with_probabilities = any(each.reads_probabilities for each in criteria)
    answers = _answers(backbone, asked, patch, before, settings, with_probabilities)
    scores = []
    for row, ((case, kind), (_, probe)) in enumerate(zip(rows, asked, strict=True)):
        if probe.kind != kind:
            continue
        place, text = (case.request.id, kind), backbone.text(answers.generated[row])
        reply = replace(_reply(place, probe, before, answers, row, with_probabilities), text=text)
        failed = not answers.finite[row]
        scores.append(
            Score(
                case=case.request.id,
                facts=list(case.facts),
                kind=kind,
                scores={each.name: _score(each, reply, failed, settings.generate) for each in criteria},
                answer_tokens=len(reply.wanted),
                target=probe.query.answer or "",
                aliases=list(probe.aliases),
                text_before=before.text(*place),
                text_after=text,
                cut=settings.generate and len(answers.generated[row]) == settings.max_new_tokens,
                alpha=float(answers.alphas[row]),
                status="failed: logits are not finite" if failed else "ok",
                session=row // (width * len(kinds)),
                position=row % width,
            )
        )
    return scores


def _answers(
    backbone: Backbone,
    asked: Sequence[tuple[EditCase, Probe]],
    patch: Patch,
    before: UneditedAnswers,
    settings: EvaluationConfig,
    again: bool,
) -> AskedAnswers:
    """Ask probes; what the unedited backbone answered is taken from there, unless it must be asked again."""
    places = [(case.request.id, probe.kind) for case, probe in asked]
    rows = [
        Row(
            probe.query,
            ranks_of(probe),
            before.answer(*place).tolist() if probe.query.answer is None else None,
            before.generated_ids(*place),
        )
        for (_, probe), place in zip(asked, places, strict=True)
    ]
    if again or not patch.empty:
        return ask(backbone, rows, patch, settings)
    own = [backbone.answer_ids(row.query.answer or "") if row.answer is None else row.answer for row in rows]
    targets = backbone.encode([row.query for row in rows], own).targets.cpu()
    best = torch.zeros_like(targets)
    for row, place in enumerate(places):
        best[row, targets[row] != IGNORED] = before.answer(*place)
    tops = [before.tops(*place) if row.ranks else NOTHING for place, row in zip(places, rows, strict=True)]
    alphas, finite = torch.full((len(places),), torch.nan), torch.ones(len(places), dtype=torch.bool)
    generated = [before.generated_ids(*place) for place in places]
    return AskedAnswers(best, targets, tops, generated, alphas, finite, (), targets != IGNORED)


def _reply(
    place: Named, probe: Probe, before: UneditedAnswers, answers: AskedAnswers, row: int, with_probabilities: bool
) -> Reply:
    """Return one answer, without its text, and what is wanted of it: the target, or what the unedited model said."""
    becomes, read = probe.aim == "become", answers.targets[row] != IGNORED
    if not read.any():
        raise ValueError(f"case {place[0]}, kind {place[1]}: no answer token; every probe needs at least one")
    wanted = answers.targets[row][read] if becomes else before.answer(*place)
    probabilities = NO_LOGITS
    if with_probabilities:
        logits = answers.logits[row][read[answers.read[row]].to(answers.logits[row].device)]
        probabilities = logits.log_softmax(-1).cpu().gather(-1, wanted[:, None])[:, 0]
    return Reply(
        query=probe.query,
        must=probe.aim,
        wanted=wanted,
        best=answers.best[row][read],
        log_probabilities=probabilities,
        ranks_before=NOTHING if becomes else before.tops(*place),
        ranks_after=NOTHING if becomes else answers.tops[row],
        text="",
        accepted=(probe.query.answer or "", *probe.aliases) if becomes else (before.text(*place),),
    )


def _score(criterion: Criterion, reply: Reply, failed: bool, generated: bool) -> float:
    """Return a reply's score; NaN where a criterion reads greedy answers and there are none."""
    if criterion.reads_text and not generated:
        return float("nan")
    return criterion.failed if failed else criterion.of(reply)


def kinds_of(cases: Sequence[EditCase]) -> tuple[str, ...]:
    """Return the probe kinds that the cases ask: those of every edit, and what else a case has."""
    found = {probe.kind for case in cases for probe in case.probes}
    return (*(kind for kind in PROBE_KINDS if kind in found), *further_kinds(found, PROBE_KINDS))
