"""Greedy decoding that verifies a draft, so an answer that is already known costs one pass."""

import itertools
from collections.abc import Sequence

import torch

from unike_lib.backbones.base import Backbone
from unike_lib.backbones.decoder import Place
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

    A pass checks a whole draft: the longest prefix that greedy decoding would have written stays, the next token is the
    model's own, and what the model said along the rest serves as the next draft. From then on each token is written
    behind kept keys and values; where a second model has its say, passes go on instead. Sessions whose rows are all
    finished leave the batch. The result does not depend on the drafts. Written tokens are final: in bfloat16 a later
    pass, at another length, may prefer another token on a near tie.

    Args:
        backbone: the model.
        queries: rows in the patch's session order.
        drafts: a guess of each answer; may be empty.
        patch: the edit in force.
        max_new_tokens: longest answer, in tokens.
        first: the greedy token after the prompt and after each draft token, if already known.
    """
    width = 1 if patch is None else len(queries) // patch.sessions
    writing = _Writing(drafts, width, backbone.stop_tokens, max_new_tokens)
    if first is not None:
        writing.take(writing.rows, first)
    if patch is not None and patch.second_model:
        _in_passes(backbone, queries, patch, writing)
    elif writing.sessions:
        _behind_past(backbone, queries, patch, writing)
    return writing.answers


class _Writing:
    """Answers under way: `answers` by row, of which the first `written` tokens are final and the rest is a guess.

    `sessions` are those with an unfinished row, `rows` all their rows: sessions keep equal row counts.
    """

    def __init__(self, drafts: Sequence[Sequence[int]], width: int, stops: frozenset[int], limit: int) -> None:
        self.answers = [list(draft) for draft in drafts]
        self.written = [0] * len(drafts)
        self._done = [False] * len(drafts)
        self._width, self._stops, self._limit = width, stops, limit
        self.sessions = list(range(len(drafts) // width))

    @property
    def rows(self) -> list[int]:
        return [session * self._width + place for session in self.sessions for place in range(self._width)]

    def take(self, rows: Sequence[int], predicted: Sequence[Sequence[int]]) -> None:
        """Go on with the greedy tokens after what is written and after each token of the guess, for each row."""
        for row, along in zip(rows, predicted, strict=True):
            if self._done[row]:
                continue
            start = self.written[row]
            more, self._done[row] = _accept(self.answers[row][start:], along, self._stops, self._limit - start)
            self.written[row] += len(more)
            rest = along[len(more) : self._limit - 1 - start]
            guess = itertools.takewhile(lambda token: token not in self._stops, [] if self._done[row] else rest)
            self.answers[row] = [*self.answers[row][:start], *more, *guess]
        spans = {session: slice(session * self._width, (session + 1) * self._width) for session in self.sessions}
        self.sessions = [session for session, span in spans.items() if not all(self._done[span])]

    def drop_guesses(self) -> None:
        """Keep what is final only."""
        self.answers = [answer[:count] for answer, count in zip(self.answers, self.written, strict=True)]


def _in_passes(backbone: Backbone, queries: Sequence[Query], patch: SessionEdit, writing: _Writing) -> None:
    """Ask anew, with what is written and the guesses, until all is written."""
    while rows := writing.rows:
        parts = [writing.answers[row] for row in rows]
        best = _greedy_along(backbone, [queries[row] for row in rows], parts, patch.select(writing.sessions))
        writing.take(rows, [along[writing.written[row] :] for row, along in zip(rows, best, strict=True)])


def _greedy_along(
    backbone: Backbone, queries: Sequence[Query], rows: list[list[int]], patch: SessionEdit
) -> list[list[int]]:
    """Return, for each row, the greedy token after the prompt and after each draft token."""
    replies = reply(backbone, queries, patch, rows)
    return [part.tolist() for part in replies.logits.argmax(-1).split(replies.where.sum(1).tolist())]


def _behind_past(backbone: Backbone, queries: Sequence[Query], patch: SessionEdit | None, writing: _Writing) -> None:
    """Check the guesses in one pass, then write token by token; keys and values of what is written are kept."""
    decoder, rows, sessions = backbone.decoder, writing.rows, writing.sessions
    edit = None if patch is None else patch.select(sessions)
    asked = [queries[row] for row in rows]
    parts = [writing.answers[row] for row in rows]
    batch = backbone.encode(asked if edit is None else edit.in_context(asked), parts)
    past = Past(Place(batch.last_prompt))
    hidden, where = extend(decoder, batch.embeddings, past, batch.real, edit, batch.positions), batch.answered
    best = decoder.logits(decoder.finish(hidden[where])).argmax(-1).split(where.sum(1).tolist())
    writing.take(rows, [along[writing.written[row] :].tolist() for row, along in zip(rows, best, strict=True)])
    writing.drop_guesses()
    # The last token of each answer is not in the cache yet; what follows it in the draft was wrong.
    kept = batch.last_prompt + torch.tensor([writing.written[row] for row in rows], device=backbone.device)
    past.real &= torch.arange(past.real.shape[1], device=backbone.device) < kept[:, None]
    while writing.sessions:
        places = [sessions.index(session) for session in writing.sessions]
        stay = torch.tensor([rows.index(row) for row in writing.rows], device=backbone.device)
        rows, sessions = writing.rows, writing.sessions
        past.select(stay)
        edit = None if edit is None else edit.select(places)
        # A finished row of an unfinished session goes on with any token; it is not read.
        last = torch.tensor([[([0] + writing.answers[row])[-1]] for row in rows], device=backbone.device)
        hidden = extend(decoder, backbone.embed(last), past, torch.ones_like(last, dtype=torch.bool), edit)
        writing.take(rows, decoder.logits(decoder.finish(hidden)).argmax(-1).tolist())


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
