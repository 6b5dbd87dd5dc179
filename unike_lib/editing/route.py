"""Edits kept as text beside the model, and a second model that answers what falls in their scope (SERAC's inference).

The backbone stays as it is; where a query is in the scope of a stored edit, the second model's probabilities are mixed
into the backbone's: p = (1 - s) p_backbone + s p_second, s in [0, 1].
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from unike_lib.types import Query


class Router(Protocol):
    """The two small models behind a route; sessions share them."""

    def scope(self, queries: Sequence[Query], edits: Sequence[Query]) -> Tensor:
        """Return how surely each query is in the scope of the edit beside it, [pair] in [0, 1]."""

    def answer(self, queries: Sequence[Query], edits: Sequence[Query], answers: Sequence[Sequence[int]]) -> Tensor:
        """Return the second model's logits for each query, given the edit beside it.

        Args:
            queries: the questions.
            edits: one edit a question, with its target as the answer.
            answers: token ids that follow each question.

        Returns:
            Row after row, after the last prompt token and after each answer token: [position, vocabulary].
        """


def mix_probabilities(base: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return log((1 - s) p_base + s p_second), [position, vocabulary].

    Args:
        base: logits [position, vocabulary].
        second: logits [position, vocabulary].
        share: s in (0, 1], [position].
    """
    remains = base.log_softmax(-1) + torch.log1p(-share)[:, None]
    return torch.logaddexp(remains, second.log_softmax(-1) + share.log()[:, None])


@dataclass(frozen=True)
class Route:
    """The edits of each session, oldest first, and the models that answer for them."""

    router: Router
    edits: tuple[tuple[Query, ...], ...]

    def joined(self, more: Sequence[Query]) -> "Route":
        """Return this route with one more edit a session."""
        return replace(self, edits=tuple((*old, new) for old, new in zip(self.edits, more, strict=True)))

    def select(self, sessions: Sequence[int]) -> "Route":
        """Return the route of some of the sessions."""
        return replace(self, edits=tuple(self.edits[session] for session in sessions))

    def kept(self, keep: Sequence[bool], otherwise: "Route | None") -> "Route":
        """Return this route where `keep` [session] holds and, elsewhere, the edits that `otherwise` has."""
        old = ((),) * len(self.edits) if otherwise is None else otherwise.edits
        return replace(self, edits=tuple(m if ok else o for ok, m, o in zip(keep, self.edits, old, strict=True)))

    def mixed(
        self, queries: Sequence[Query], answers: Sequence[Sequence[int]], read: Sequence[int], logits: Tensor
    ) -> Tensor:
        """Return the backbone's logits [position read, vocabulary] with the second model's probabilities mixed in.

        Reading: from the last prompt token on; the positions of the prompt are the backbone's own. Rows whose scope
        score is exactly 0 keep the backbone's logits, bit for bit.

        Args:
            queries: the rows.
            answers: the token ids that follow each question.
            read: how many positions at the end of each row were read.
            logits: the backbone's, row after row; changed in place.
        """
        scores, best = self._best_edits(queries)
        rows = [row for row, edit in best.items() if scores[row] > 0]
        if not rows:
            return logits
        given = [answers[row] for row in rows]
        said = self.router.answer([queries[row] for row in rows], [best[row] for row in rows], given)
        ends, shares = list(itertools.accumulate(read)), scores.to(logits.device)
        # Row by row: copies of the logits of a whole pass would be most of the memory that a job takes.
        for row, part in zip(rows, said.split([len(answer) + 1 for answer in given]), strict=True):
            second = part[-min(len(part), read[row]) :]
            span = slice(ends[row] - len(second), ends[row])
            logits[span] = mix_probabilities(logits[span], second, shares[row].expand(len(second)))
        return logits

    def _best_edits(self, queries: Sequence[Query]) -> tuple[Tensor, dict[int, Query]]:
        """Return the highest scope score of each query [row], 0 where its session has no edit, and the edits.

        Reading: of edits that match equally well, the latest counts.
        """
        width = len(queries) // len(self.edits)
        pairs = [(row, edit) for row in range(len(queries)) for edit in self.edits[row // width]]
        if not pairs:
            return torch.zeros(len(queries)), {}
        scores = self.router.scope([queries[row] for row, _ in pairs], [edit for _, edit in pairs])
        highest, best = [0.0] * len(queries), dict[int, Query]()
        for (row, edit), score in zip(pairs, scores.tolist(), strict=True):
            if row not in best or score >= highest[row]:
                highest[row], best[row] = score, edit
        return torch.tensor(highest, device=scores.device), best
