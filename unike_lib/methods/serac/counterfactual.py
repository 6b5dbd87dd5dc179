"""Edits kept as text beside the model, and a second model that answers what falls in their scope (SERAC's inference).

The backbone stays as it is; where a query is in the scope of a stored edit, the second model has its say: its
probabilities are mixed into the backbone's, p = (1 - s) p_backbone + s p_second, s in [0, 1] ("soft"), or it answers
alone where s > 0.5 ("hard").
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from unike_lib.editing.patch import Part, bytes_as_texts, texts_as_bytes
from unike_lib.types import Query

Mixture = Literal["soft", "hard"]
Positions = Literal["all", "answer"]
SWITCH = 0.5  # a score above it, not one equal to it, is in scope (hard)


class Router(Protocol):
    """The two small models behind stored edits; sessions share them."""

    def scope(self, queries: Sequence[Query], edits: Sequence[Query]) -> Tensor:
        """Return how surely each query is in the scope of the edit beside it, [pair] in [0, 1]."""

    def answer(
        self,
        queries: Sequence[Query],
        edits: Sequence[Query],
        answers: Sequence[Sequence[int]],
        read: Sequence[int],
    ) -> Iterable[Tensor]:
        """Return the second model's logits for each query, given the edit beside it.

        Args:
            queries: the questions.
            edits: one edit per question, with its target as the answer.
            answers: token ids that follow each question.
            read: how many positions of each row are wanted: the last ones of edit, prompt and answer.

        Returns:
            Row after row, after each such token [position, vocabulary]; fewer where the row has no more.
        """


def mix_probabilities(base: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return log((1 - s) p_base + s p_second), [position, vocabulary].

    MMEdit's toolkit adds 1.2e-7 to the probabilities before the logarithm, which ranks none otherwise.

    Args:
        base: logits [position, vocabulary].
        second: logits [position, vocabulary].
        share: s in (0, 1], a number.
    """
    remains = base.log_softmax(-1) + torch.log1p(-share)
    return torch.logaddexp(remains, second.log_softmax(-1) + share.log())


@dataclass(frozen=True)
class CounterfactualMix(Part):
    """The edits of each session, oldest first, the models that answer for them, and how they have their say."""

    router: Router
    edits: tuple[tuple[Query, ...], ...]
    mixture: Mixture
    positions: Positions

    @property
    def empty(self) -> bool:
        """Whether no session has an edit."""
        return not any(self.edits)

    def tensors(self) -> dict[str, Tensor]:
        """Return the edits as JSON text, a row per session."""
        return {"edits": texts_as_bytes([json.dumps([vars(edit) for edit in own]) for own in self.edits])}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "CounterfactualMix":
        """Return the part with the edits that such a tensor holds."""
        texts = bytes_as_texts(tensors["edits"])
        return replace(self, edits=tuple(tuple(Query(**edit) for edit in json.loads(text)) for text in texts))

    def append(self, more: "CounterfactualMix") -> "CounterfactualMix":
        """Return the part with further edits of each session after those that it has."""
        return replace(self, edits=tuple((*old, *new) for old, new in zip(self.edits, more.edits, strict=True)))

    def revert(self, ok: Tensor, previous: "CounterfactualMix | None") -> "CounterfactualMix":
        """Return the part; where `ok` fails, with the edits that `previous` has."""
        old = ((),) * len(self.edits) if previous is None else previous.edits
        kept = zip(ok.tolist(), self.edits, old, strict=True)
        return replace(self, edits=tuple(mine if fine else before for fine, mine, before in kept))

    def select(self, sessions: Sequence[int]) -> "CounterfactualMix":
        """Return the part of some of the sessions, in the order given."""
        return replace(self, edits=tuple(self.edits[session] for session in sessions))

    def concat(self, others: Sequence["CounterfactualMix"]) -> "CounterfactualMix":
        """Return the part of these sessions and of others after them."""
        return replace(self, edits=(*self.edits, *(own for other in others for own in other.edits)))

    def after(
        self, queries: Sequence[Query], answers: Sequence[Sequence[int]], read: Sequence[int], logits: Tensor
    ) -> Tensor:
        """Return the backbone's logits [position read, vocabulary] after the second model had its say.

        Rows out of scope (score 0, hard: up to 0.5) keep the backbone's logits, bit for bit; hard rows in scope get the
        second model's own. Reading of `all`, as in MMEdit's toolkit: what the second model reads, the edit and then the
        question, is laid on the row with the ends together. The question so meets itself (but for chat marks behind
        it), and the places in front of it, those of a picture among them, meet the edit; places that it does not reach
        keep the backbone's logits. (In the toolkit it reads the picture too, in front of all, and so reaches every
        place.) `answer` (ours): from the last prompt token on; the places of the prompt are the backbone's own.

        Args:
            queries: the rows.
            answers: the token ids that follow each question.
            read: how many positions at the end of each row were read.
            logits: the backbone's, row after row; changed in place.
        """
        scores, best = self._best_edits(queries)
        rows = [row for row in best if scores[row] > (SWITCH if self.mixture == "hard" else 0)]
        if not rows:
            return logits
        asked, edits = [queries[row] for row in rows], [best[row] for row in rows]
        given = [answers[row] for row in rows]
        most = [read[row] if self.positions == "all" else min(read[row], len(answers[row]) + 1) for row in rows]
        ends, shares = list(itertools.accumulate(read)), scores.to(logits.device)
        # Row by row: copies of the logits of a whole pass would be most of the memory that a job takes.
        for row, second in zip(rows, self.router.answer(asked, edits, given, most), strict=True):
            span = slice(ends[row] - len(second), ends[row])
            hard = self.mixture == "hard"
            logits[span] = second if hard else mix_probabilities(logits[span], second, shares[row])
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
