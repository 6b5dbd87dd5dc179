"""What a backbone, edited or not, says to rows of queries: the one way from queries to logits.

An edit may act before the model (a context in front of the prompt), inside it (`Edit`), and behind it (a second model
whose answers are mixed in). All who ask an edited backbone, in scoring and in generation, come through `reply`.

Example:
    >>> replies = reply(backbone, queries, patch)                 # doctest: +SKIP
    >>> replies.logits.argmax(-1).split(replies.where.sum(1).tolist())  # doctest: +SKIP
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from unike_lib.backbones.base import Backbone, Batch
from unike_lib.backbones.decoder import Edit, Trace
from unike_lib.types import Query


class SessionEdit(Edit, Protocol):
    """Edits of independent sessions; a batch has the same number of rows for each, ordered by session."""

    @property
    def sessions(self) -> int:
        """Number of sessions."""

    @property
    def second_model(self) -> bool:
        """Whether a second model is asked too."""

    def select(self, sessions: Sequence[int]) -> "SessionEdit":
        """Return the edits of some of the sessions, in the order given."""

    def in_context(self, queries: Sequence[Query]) -> Sequence[Query]:
        """Return the queries with their sessions' contexts in front."""

    def routed(self, queries: Sequence[Query], replies: "Replies") -> Tensor:
        """Return the logits [position read, vocabulary] after a second model had its say.

        Args:
            queries: the rows, as they were asked.
            replies: what the backbone says under the rest of the edit.
        """


@dataclass(frozen=True)
class Replies:
    """The rows as laid out, the positions read, bool [row, token], and the logits [position read, vocabulary].

    Logits of rows that a second model answers are log-probabilities: equal to logits up to a constant.
    """

    batch: Batch
    where: Tensor
    logits: Tensor


def reply(
    backbone: Backbone,
    queries: Sequence[Query],
    edit: SessionEdit | None = None,
    answers: Sequence[Sequence[int]] | None = None,
    everywhere: bool = False,
    trace: Trace | None = None,
) -> Replies:
    """Ask rows of queries.

    Args:
        backbone: the model.
        queries: rows in the edit's session order.
        edit: the edit in force; None is the unedited model.
        answers: token ids that take the place of the queries' own answers.
        everywhere: read all real positions, not only those from the last prompt token on.
        trace: filled with the inner states of the layers run.
    """
    batch = backbone.encode(queries if edit is None else edit.in_context(queries), answers)
    where = batch.real if everywhere else batch.answered
    replies = Replies(batch, where, backbone.head(backbone.trunk(batch), edit, where, trace))
    return replies if edit is None else Replies(batch, where, edit.routed(queries, replies))
