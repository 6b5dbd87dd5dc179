"""What an editing method is, and the loss that gradient methods share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import END, IGNORED, Prepared
from unike_lib.backbones.edit import Edit, Trace
from unike_lib.editing.patch import Patch
from unike_lib.types import EditRequest, Query


@dataclass(frozen=True)
class EditResult:
    """A patch after one edit in every session, and why a session's edit failed (None: it did not)."""

    patch: Patch
    failures: tuple[str | None, ...]


class Editor(Protocol):
    """An editing method. It sees requests only: never a rephrasing, never a locality probe."""

    def start(self, sessions: int) -> Patch:
        """Return the patch of unedited sessions."""

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session on top of earlier edits."""


@dataclass(frozen=True)
class NoEdit:
    """The unedited backbone."""

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Return the patch unchanged."""
        return EditResult(previous, (None,) * len(requests))


def no_edit(*_: Any) -> NoEdit:
    """Return the editor that edits nothing."""
    return NoEdit()


def request_trunk(
    backbone: Backbone,
    requests: Sequence[EditRequest],
    first: int | None = None,
    previous: Patch | None = None,
    teach_end: bool = False,
) -> Prepared:
    """Run the frozen part of the requests once, up to layer `first`; every step of an edit starts from it.

    previous: the requests are asked behind this patch's contexts; teach_end: that the target ends is to be learned too.
    """
    queries: Sequence[Query] = [request.query for request in requests]
    trunk = backbone.prepare(queries if previous is None else previous.before(queries), first)
    return trunk.with_end() if teach_end and backbone.stop_tokens else trunk


def edit_loss(backbone: Backbone, trunk: Prepared, patch: Edit, trace: Trace | None = None) -> Tensor:
    """Return the cross-entropy of the target tokens, averaged over each row's answer, [row]."""
    where = trunk.batch.targets != IGNORED
    return answer_loss(backbone.forward(trunk, patch, where, trace), trunk.batch.targets, backbone.stop_tokens)


def answer_loss(logits: Tensor, targets: Tensor, stops: Collection[int] = ()) -> Tensor:
    """Return the cross-entropy, averaged over each row's answer, [row]; where it is to end, -log P(any stop token).

    Args:
        logits: where a target is predicted, row after row, [position, vocabulary].
        targets: [row, token]; -100 where none is, -200 where the answer is to end.
        stops: the tokens that end an answer.
    """
    where = targets != IGNORED
    wanted = targets[where]
    losses, ends = cross_entropy(logits, wanted.clamp(min=0), reduction="none"), (wanted == END).nonzero()[:, 0]
    last = logits[ends]
    stopping = last.logsumexp(-1) - last[:, sorted(stops)].logsumexp(-1)
    return row_means(losses.index_copy(0, ends, stopping), where)


def row_means(values: Tensor, where: Tensor) -> Tensor:
    """Return each row's mean [row] of values [position read], read where `where` [row, token] holds."""
    rows = where.nonzero()[:, 0]
    sums = torch.zeros(len(where), dtype=values.dtype, device=values.device).index_add(0, rows, values)
    return sums / where.sum(1)
