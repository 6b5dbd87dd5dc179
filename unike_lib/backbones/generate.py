"""Greedy decoding that verifies a draft, so an answer that is already known costs one pass."""

import itertools
from collections.abc import Sequence

import torch

from unike_lib.backbones.base import Backbone
from unike_lib.backbones.past import Past, extend
from unike_lib.backbones.replies import SessionEdit, reply
from unike_lib.types import Query


@torch.no_grad()
def generate(
    backbone: Backbone,
    queries: Sequence[Query],
    drafts: Sequence[Sequence[int]],
    patch: SessionEdit | None = None,
    max_new_tokens: int = 16,
    first: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """Return the greedy answers as token ids, without the stop token.

    The unedited model checks the drafts in one pass, then writes token by token behind kept keys and values. Under an
    edit each pass checks a whole draft: the longest prefix that greedy decoding would have written stays, the next
    token is the model's own, and what the model said along the rest serves as the next draft. Sessions whose rows are
    all finished leave the batch. The result does not depend on the drafts. Written tokens are final: in bfloat16 a
    later pass, at another length, may prefer another token on a near tie.

    Args:
        backbone: the model.
        queries: rows in the patch's session order.
        drafts: a guess of each answer; may be empty.
        patch: the edit in force.
        max_new_tokens: longest answer, in tokens.
        first: the greedy token after the prompt and after each draft token, if already known.
    """
    if patch is None or patch.empty:
        return _unedited(backbone, queries, drafts, max_new_tokens)
    answers = [list(draft) for draft in drafts]
    written = [0] * len(answers)
    done = [False] * len(answers)
    width = len(answers) // patch.sessions
    active = list(range(len(answers) // width))
    while active:
        rows = [session * width + place for session in active for place in range(width)]
        if first is None:
            # A finished row of an unfinished session stays, with its answer cut off: sessions keep equal row counts.
            parts = [[] if done[row] else answers[row] for row in rows]
            first = _greedy_along(backbone, [queries[row] for row in rows], parts, patch.select(active))
        for row, predicted in zip(rows, first, strict=True):
            if not done[row]:
                known = answers[row][: written[row]]
                more, done[row] = _accept(
                    answers[row][written[row] :],
                    predicted[written[row] :],
                    backbone.stop_tokens,
                    max_new_tokens - written[row],
                )
                written[row] += len(more)
                guess = [] if done[row] else _guess(predicted[written[row] : max_new_tokens - 1], backbone.stop_tokens)
                answers[row] = [*known, *more, *guess]
        first = None
        active = [s for s in active if not all(done[s * width : (s + 1) * width])]
    return answers


def _unedited(
    backbone: Backbone, queries: Sequence[Query], drafts: Sequence[Sequence[int]], limit: int
) -> list[list[int]]:
    """Check the drafts in one pass, then write token by token; keys and values of what is written are kept."""
    batch = backbone.encode(queries, drafts)
    past, decoder = Past(len(queries), backbone.device), backbone.decoder
    hidden = extend(decoder, batch.embeddings, past, batch.real, batch.positions)
    where = batch.answered
    best = decoder.logits(decoder.finish(hidden[where])).argmax(-1).split(where.sum(1).tolist())
    accepted = [
        _accept(draft, along.tolist(), backbone.stop_tokens, limit) for draft, along in zip(drafts, best, strict=True)
    ]
    answers, done = [answer for answer, _ in accepted], [finished for _, finished in accepted]
    # The last token of each answer is not in the cache yet; what follows it in the draft was wrong.
    kept = batch.last_prompt + torch.tensor([len(answer) for answer in answers], device=backbone.device)
    past.real &= torch.arange(past.real.shape[1], device=backbone.device) < kept[:, None]
    active = list(range(len(queries)))
    while not all(done):
        going = [place for place, row in enumerate(active) if not done[row]]
        active = [active[place] for place in going]
        past.select(torch.tensor(going, device=backbone.device))
        last = torch.tensor([[answers[row][-1]] for row in active], device=backbone.device)
        hidden = extend(decoder, backbone.embed(last), past, torch.ones_like(last, dtype=torch.bool))
        for row, token in zip(active, decoder.logits(decoder.finish(hidden[:, -1])).argmax(-1).tolist(), strict=True):
            more, done[row] = _accept([], [token], backbone.stop_tokens, limit - len(answers[row]))
            answers[row] += more
    return answers


def _greedy_along(
    backbone: Backbone, queries: Sequence[Query], rows: list[list[int]], patch: SessionEdit
) -> list[list[int]]:
    """Return, for each row, the greedy token after the prompt and after each draft token."""
    replies = reply(backbone, queries, patch, rows)
    return [part.tolist() for part in replies.logits.argmax(-1).split(replies.where.sum(1).tolist())]


def _accept(
    draft: Sequence[int], predicted: Sequence[int], stops: frozenset[int], limit: int
) -> tuple[list[int], bool]:
    """Return the verified prefix of a draft plus one token, and whether the answer is complete."""
    kept: list[int] = []
    for position, token in enumerate(predicted):
        if token in stops:
            return kept, True
        kept.append(token)
        if len(kept) == limit:
            return kept, True
        if position == len(draft) or draft[position] != token:
            break
    return kept, False


def _guess(predicted: Sequence[int], stops: frozenset[int]) -> list[int]:
    """Return what was predicted along the wrong rest of a draft, up to a stop."""
    return list(itertools.takewhile(lambda token: token not in stops, predicted))
