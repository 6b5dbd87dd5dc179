"""Greedy decoding that verifies a draft, so an answer that is already known costs one pass."""

from collections.abc import Sequence

import torch

from unike_lib.backbones.base import IGNORED, Backbone
from unike_lib.backbones.decoder import Edit
from unike_lib.types import Query


@torch.no_grad()
def generate(
    backbone: Backbone,
    queries: Sequence[Query],
    drafts: Sequence[Sequence[int]],
    patch: Edit | None = None,
    max_new_tokens: int = 16,
) -> list[list[int]]:
    """Return the greedy answers as token ids, without the stop token.

    Each pass checks a whole draft at once: the longest prefix that greedy decoding would have written stays, the next
    token is the model's own, and the rest of the draft is dropped. The result does not depend on the drafts. Written
    tokens are final: in bfloat16 a later pass, at another length, may prefer another token on a near tie.

    Args:
        backbone: the model.
        queries: rows in the patch's session order.
        drafts: a guess of each answer; may be empty.
        patch: the edit in force.
        max_new_tokens: longest answer, in tokens.
    """
    answers = [list(draft[: max_new_tokens - 1]) for draft in drafts]
    written = [0] * len(answers)
    done = [False] * len(answers)
    while not all(done):
        # Finished rows stay in the batch, with their answer cut off, because sessions must keep equal row counts.
        rows = [[] if finished else answer for answer, finished in zip(answers, done, strict=True)]
        predicted = _greedy_along(backbone, queries, rows, patch)
        for row, tokens in enumerate(predicted):
            if not done[row]:
                known, draft = rows[row][: written[row]], rows[row][written[row] :]
                more, done[row] = _accept(
                    draft, tokens[written[row] :], backbone.stop_tokens, max_new_tokens - len(known)
                )
                answers[row], written[row] = known + more, len(known) + len(more)
    return answers


def _greedy_along(
    backbone: Backbone, queries: Sequence[Query], rows: list[list[int]], patch: Edit | None
) -> list[list[int]]:
    """Return, for each row, the greedy token after the prompt and after each draft token."""
    batch = backbone.encode(queries, rows)
    where = batch.targets != IGNORED
    where[torch.arange(len(rows)), batch.lengths - 1] = True
    best = backbone.head(backbone.trunk(batch), patch, where).argmax(-1)
    return [part.tolist() for part in best.split(where.sum(1).tolist())]


def _accept(draft: list[int], predicted: list[int], stops: frozenset[int], limit: int) -> tuple[list[int], bool]:
    """Keep the verified prefix plus one token; report whether the answer is complete."""
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
