"""What a backbone, edited or not, says to rows of queries: the one way from queries to logits.

An edit may act before the model (on the question), inside it (`Edit`), and behind it (on the logits). All who ask an
edited backbone, in scoring and in generation, come through `answer_logits`.

Example:
    >>> replies = answer_logits(backbone, queries, patch)                 # doctest: +SKIP
    >>> replies.logits.argmax(-1).split(replies.where.sum(1).tolist())  # doctest: +SKIP
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Answers, Batch
from unike_lib.backbones.edit import SessionEdit, Trace
from unike_lib.backbones.finite import refuse_unfinite
from unike_lib.backbones.kv_cache import KVCache
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.types import Query


@dataclass(frozen=True)
class AnswerLogits:
    """The rows as laid out, the positions read, bool [row, token], and the logits [position read, vocabulary].

    Logits that an edit changed behind the model may be log-probabilities: equal to logits up to a constant. `notes` are
    what the edit noted of the rows, by name, means over layers [row]; `past` has the rows' keys and values, if they
    were kept, so that answers can be written behind them.
    """

    batch: Batch
    where: Tensor
    logits: Tensor
    notes: dict[str, Tensor]
    past: KVCache | None

    @cached_property
    def best(self) -> Tensor:
        """The best id at every position read, 0 elsewhere: [row, token]."""
        best = torch.zeros_like(self.batch.targets)
        best[self.where] = self.logits.argmax(-1)
        return best

    @property
    def finite(self) -> Tensor:
        """Whether the logits of each row are numbers: one that is not spreads over its position's whole vocabulary."""
        return torch.stack([part.isfinite().all() for part in self.logits[:, 0].split(self.where.sum(1).tolist())])

    @property
    def answer_ids(self) -> list[list[int]]:
        """The answer tokens of each row."""
        return [row[row != IGNORED].tolist() for row in self.batch.targets]

    @property
    def greedy(self) -> list[list[int]]:
        """The greedy tokens of each row, after the prompt and after each of its answer tokens."""
        counts = self.batch.answered.sum(1).tolist()
        return [part.tolist() for part in self.best[self.batch.answered].split(counts)]


def answer_logits(
    backbone: Backbone,
    queries: Sequence[Query],
    edit: SessionEdit | None = None,
    answers: Answers | None = None,
    everywhere: bool | Sequence[bool] = False,
    keep: bool = True,
) -> AnswerLogits:
    """Ask rows of queries; what the layers below the edit make of them is taken from the backbone's cache.

    Args:
        backbone: the model.
        queries: rows in the edit's session order.
        edit: the edit in force; None is the unedited model.
        answers: token ids that take the place of the queries' own answers.
        everywhere: read all real positions, not only those from the last prompt token on; of all rows or of some.
        keep: keep keys and values. Without, and without `answers`, rows that the cache remembers are run faster.

    Raises:
        InputError: the unedited model's logits are not numbers.
    """
    asked = queries if edit is None else edit.before(queries)
    reads = () if edit is None else edit.reads_unedited
    unedited = prompt_states(backbone, queries, reads) if reads else None
    depth = len(backbone.decoder.layers)
    first = depth if edit is None or edit.first_layer is None else edit.first_layer
    if keep or answers is not None:
        prepared = backbone.prepare_with_cache(asked, first, answers)
    else:
        prepared = backbone.prepare(asked, min(first, depth - 1))
    if unedited is not None:
        prepared = prepared.with_unedited(unedited)
    where, trace = _read(prepared.batch, everywhere), Trace(states=False)
    logits = backbone.forward(prepared, edit, where, trace)
    notes = {name: torch.stack(list(by_layer.values())).mean(0) for name, by_layer in trace.notes.items()}
    found = AnswerLogits(prepared.batch, where, logits, notes, prepared.past)
    if edit is None:
        refuse_unfinite(backbone, queries, found.batch, found.finite.tolist())
        return found
    return replace(found, logits=edit.after(queries, found.answer_ids, where.sum(1).tolist(), logits))


def _read(batch: Batch, everywhere: bool | Sequence[bool]) -> Tensor:
    """Return which positions are read, bool [row, token]."""
    if isinstance(everywhere, bool):
        return batch.mask if everywhere else batch.answered
    return batch.answered | (batch.mask & torch.tensor(everywhere, device=batch.mask.device)[:, None])
