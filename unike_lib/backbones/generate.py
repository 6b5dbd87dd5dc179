"""Greedy decoding that verifies a draft, so an answer that is already known costs one pass."""

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.edit import SessionEdit
from unike_lib.backbones.forward import AnswerLogits, answer_logits
from unike_lib.backbones.kv_cache import forward_with_cache
from unike_lib.backbones.positions import check_lengths
from unike_lib.types import Query


@torch.no_grad()
def generate(
    backbone: Backbone,
    queries: Sequence[Query],
    drafts: Sequence[Sequence[int]],
    patch: SessionEdit | None,
    max_new_tokens: int,
    asked: AnswerLogits | None = None,
) -> list[list[int]]:
    """Return the greedy answers as token ids, without the stop token.

    A pass checks a whole draft: the longest prefix that greedy decoding would have written stays, and the next token is
    the model's own. What follows is written behind kept keys and values, a token at a time, or as far as a draft that
    begins with what is written proves right. Finished rows leave the batch, as far as sessions keep equal numbers of
    rows. The result does not depend on the drafts.

    Args:
        backbone: the model.
        queries: rows in the patch's session order.
        drafts: a guess of each answer; may be empty.
        patch: the edit in force.
        max_new_tokens: longest answer, in tokens.
        asked: what the same rows say along other answers, which saves a pass; its keys and values are used up.
    """
    asked = asked or answer_logits(backbone, queries, patch, drafts)
    width = 1 if patch is None else len(queries) // patch.sessions
    writing = _Writing(drafts, width, backbone.stop_tokens, max_new_tokens)
    writing.take(writing.rows, asked.answer_ids, asked.greedy)
    if writing.sessions:
        _behind_past(backbone, queries, asked, patch, writing)
    return writing.answers


class _Writing:
    """Answers under way: the tokens by row that are final.

    `sessions` are those with an unfinished row; `rows` are as many of each as the one with most unfinished rows has:
    finished rows fill up.
    """

    def __init__(self, drafts: Sequence[Sequence[int]], width: int, stops: frozenset[int], limit: int) -> None:
        self.answers: list[list[int]] = [[] for _ in drafts]
        self._drafts = [list(draft) for draft in drafts]
        self._done = [False] * len(drafts)
        self.width, self._stops, self._limit = width, stops, limit
        self.sessions = list(range(len(drafts) // width))
        self.rows = list(range(len(drafts)))

    def guess(self, row: int) -> list[int]:
        """Return how the row's draft goes on after what is written; nothing if it began otherwise."""
        written, draft = self.answers[row], self._drafts[row]
        agrees = not self._done[row] and draft[: len(written)] == written
        return draft[len(written) : self._limit - 1] if agrees else []

    def tokens(self, row: int) -> int:
        """Return how many tokens the row's answer has with its guess; 0: it is finished."""
        return 0 if self._done[row] else len(self.answers[row]) + len(self.guess(row))

    def take(self, rows: Sequence[int], guesses: Sequence[Sequence[int]], along: Sequence[Sequence[int]]) -> None:
        """Go on with the greedy tokens after what is written and after each token of a guess, for each row."""
        for row, guess, predicted in zip(rows, guesses, along, strict=True):
            if not self._done[row]:
                room = self._limit - len(self.answers[row])
                more, self._done[row] = _accept(guess, predicted, self._stops, room)
                self.answers[row] += more
        under_way: dict[int, list[int]] = {session: [] for session in self.sessions}
        for row in self.rows:
            under_way[row // self.width].append(row)
        # Unfinished rows first, so that what is cut off is finished.
        groups = [sorted(group, key=lambda row: self._done[row]) for group in under_way.values()]
        most = max(sum(not self._done[row] for row in group) for group in groups)
        self.sessions = [group[0] // self.width for group in groups if not self._done[group[0]]]
        self.rows = [row for group in groups if not self._done[group[0]] for row in sorted(group[:most])]


def _behind_past(
    backbone: Backbone, queries: Sequence[Query], asked: AnswerLogits, patch: SessionEdit | None, writing: _Writing
) -> None:
    """Write behind the keys and values of the first pass; those of wrong guesses are masked."""
    past, device = asked.past, backbone.device
    if past is None:
        raise ValueError("asked: expected replies with keys and values kept")
    rows = list(range(len(writing.answers)))
    sessions, edit = list(range(len(rows) // writing.width)), patch
    counts = torch.tensor([len(answer) for answer in writing.answers], device=device)
    # The last token written is the model's own, and not among the keys yet; what the draft had there was wrong.
    past.mask &= torch.arange(past.mask.shape[1], device=device) < (asked.batch.last_prompt + counts)[:, None]
    prompts = (asked.batch.last_prompt + 1 - past.saved).tolist()
    while writing.sessions:
        lengths = [prompts[row] + writing.tokens(row) for row in writing.rows]
        check_lengths(backbone.decoder.limit, [queries[row] for row in writing.rows], lengths)
        edit = None if edit is None else edit.select([sessions.index(session) for session in writing.sessions])
        past.select(torch.tensor([rows.index(row) for row in writing.rows], device=device))
        rows, sessions = writing.rows, writing.sessions
        guesses = [writing.guess(row) for row in rows]
        # A finished row of an unfinished session goes on with any token; it is not read.
        parts = [[([0] + writing.answers[row])[-1], *guess] for row, guess in zip(rows, guesses, strict=True)]
        sizes = [len(part) for part in parts]
        places = torch.arange(max(sizes), device=device)
        real = places < torch.tensor(sizes, device=device)[:, None]
        ids = pad_sequence([torch.tensor(part, device=device) for part in parts], batch_first=True)
        hidden = forward_with_cache(backbone.decoder, backbone.embed(ids), past, real, edit)
        logits = backbone.decoder.logits(backbone.decoder.finish(hidden[real]))
        if edit is not None:
            answers = [writing.answers[row] + guess for row, guess in zip(rows, guesses, strict=True)]
            logits = edit.after([queries[row] for row in rows], answers, sizes, logits)
        best = logits.argmax(-1).split(sizes)
        written = [len(writing.answers[row]) for row in rows]
        writing.take(rows, guesses, [along.tolist() for along in best])
        more = [len(writing.answers[row]) - count for row, count in zip(rows, written, strict=True)]
        past.mask[:, -len(places) :] &= places < torch.tensor(more, device=device)[:, None]


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
