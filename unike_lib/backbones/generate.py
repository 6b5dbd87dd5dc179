"""Greedy decoding that verifies a draft, so an answer that is already known costs one pass."""

from collections.abc import Sequence

import torch

from unike_lib.backbones.base import Backbone
from unike_lib.backbones.decoder import SessionEdit
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

    Each pass checks a whole draft at once: the longest prefix that greedy decoding would have written stays, the next
    token is the model's own, and what the model said along the rest serves as the next draft. Sessions whose rows are
    all finished leave the batch. The result does not depend on the drafts.

    Args:
        backbone: the model.
        queries: rows in the patch's session order.
        drafts: a guess of each answer; may be empty.
        patch: the edit in force.
        max_new_tokens: longest answer, in tokens.
        first: the greedy token after the prompt and after each draft token, if already known.
    """
    answers = [list(draft) for draft in drafts]
    done = [False] * len(answers)
    width = len(answers) // patch.sessions if patch is not None else 1
    active = list(range(len(answers) // width))
    while active:
        rows = [session * width + place for session in active for place in range(width)]
        if first is None:
            # A finished row of an unfinished session stays, with its answer cut off: sessions keep equal row counts.
            parts = [[] if done[row] else answers[row] for row in rows]
            part_of_patch = None if patch is None else patch.select(active)
            first = _greedy_along(backbone, [queries[row] for row in rows], parts, part_of_patch)
        for row, predicted in zip(rows, first, strict=True):
            if not done[row]:
                answers[row], done[row] = _accept(answers[row], predicted, backbone.stop_tokens, max_new_tokens)
        first = None
        active = [s for s in active if not all(done[s * width : (s + 1) * width])]
    return answers


def _greedy_along(
    backbone: Backbone, queries: Sequence[Query], rows: list[list[int]], patch: SessionEdit | None
) -> list[list[int]]:
    """Return, for each row, the greedy token after the prompt and after each draft token."""
    batch = backbone.encode(queries, rows)
    where = batch.answered
    best = backbone.head(backbone.trunk(batch), patch, where).argmax(-1)
    return [part.tolist() for part in best.split(where.sum(1).tolist())]


def _accept(draft: list[int], predicted: Sequence[int], stops: frozenset[int], limit: int) -> tuple[list[int], bool]:
    """Return the answer and True if it is complete, else the next draft and False.

    The draft is right up to the first token that differs from the prediction; the token predicted there is right too.
    The next draft is that prefix and, as a guess, what was predicted along the wrong rest, up to a stop.
    """
    kept: list[int] = []
    for position, token in enumerate(predicted):
        if token in stops:
            return kept, True
        kept.append(token)
        if len(kept) == limit:
            return kept, True
        if position == len(draft) or draft[position] != token:
            break
    for token in predicted[len(kept) : limit - 1]:
        if token in stops:
            break
        kept.append(token)
    return kept, False
