"""A patch: what edits leave behind, next to a frozen model and for many independent sessions at once.

A patch is a value: edits return a new one, nothing is attached to the model, so dropping the patch restores the model.
It is a fold over its parts. A part is one way of changing what a model says (extra neurons, changes of weights, text in
front of a question); it stands with the method that invented it and overrides the hooks that it needs.

Example:
    >>> patch = Patch(sessions=2)
    >>> patch.parts, patch.empty
    ((), True)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self, TypeVar

import torch
from torch import Tensor

from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.in_weights import InWeights
from unike_lib.editing.standalone import Standalone
from unike_lib.types import Query


def by_session(inputs: Tensor, matrices: Tensor) -> Tensor:
    """Multiply rows by their session's matrix: [row, token, in] x [session, in, out] -> [row, token, out].

    Rows are ordered by session, the same number for each.
    """
    sessions = matrices.shape[0]
    rows, tokens, width = inputs.shape
    if rows % sessions:
        raise ValueError(f"{rows} rows do not divide into {sessions} sessions")
    grouped = inputs.reshape(sessions, rows // sessions * tokens, width).to(matrices.dtype)
    return (grouped @ matrices).view(rows, tokens, -1).to(inputs.dtype)


class Part:
    """One way in which edits of B sessions change a model; rows of a batch are ordered by session.

    A part holds tensors whose first axis is the session (`tensors`), and what sessions share. Hooks change nothing by
    default.
    """

    @property
    def first_layer(self) -> int | None:
        """The first layer that the part acts in; None: it acts in none."""
        return None

    @property
    def in_attention(self) -> bool:
        """Whether `weight` is asked of the matrices of attention, too; of those of the FFN it always is."""
        return False

    def sees_all(self, layer: int) -> bool:
        """Whether `block` is to see all tokens of a layer, even of the last one, where only some are read."""
        return False

    @property
    def reads_unedited(self) -> tuple[int, ...]:
        """The layers at which the part reads what the unedited model makes of a question (`PassContext.unedited`)."""
        return ()

    @property
    def empty(self) -> bool:
        """Whether the part changes nothing."""
        return not self.tensors()

    def tensors(self) -> dict[str, Tensor]:
        """Return what sessions have of their own, by name; the session is the first axis."""
        raise NotImplementedError

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return a part with these in place of its own `tensors`, and with what sessions share."""
        raise NotImplementedError

    def append(self, more: Self) -> Self:
        """Return this part after further edits of the same sessions."""
        raise NotImplementedError

    def revert(self, ok: Tensor, previous: Self | None) -> Self:
        """Return this part where `ok` [session] holds and, elsewhere, what acts as `previous` did, before the edit."""
        raise NotImplementedError

    def select(self, sessions: Sequence[int]) -> Self:
        """Return the part of some of the sessions, in the order given."""
        return self.with_tensors({name: value[list(sessions)] for name, value in self.tensors().items()})

    def concat(self, others: Sequence[Self]) -> Self:
        """Return the part of these sessions and, after them, those of others of the same form."""
        own, theirs = self.tensors(), [other.tensors() for other in others]
        return self.with_tensors({name: torch.cat([own[name], *(each[name] for each in theirs)]) for name in own})

    def in_weights(self) -> InWeights | None:
        """Return what the part of one session is as changes of weights; None: no weights say the same."""
        return None

    def standalone(self) -> Standalone | None:
        """Return how the part of one session runs without this project; None: it does not."""
        return None

    def before(self, queries: Sequence[Query]) -> Sequence[Query]:
        """Return the queries as the model is asked them."""
        return queries

    def begin(self, context: PassContext) -> None:
        """Say what holds for the whole pass, before the first layer."""

    def attention(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return a layer's attention output [row, token, d], given its input s = LN1(h) and what it is so far."""
        return outputs

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what is added to the output of a layer's matrix, [row, token, out], given its input; None: nothing."""
        return None

    def ffn(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return a layer's FFN output [row, token, d], given its input q = LN2(x) and what it is so far."""
        return outputs

    def block(self, layer: DecoderLayer, hidden: Tensor, context: PassContext) -> Tensor:
        """Return the states that leave a layer [row, token, d]; `context.within` says where picture and prompt lie."""
        return hidden

    def after(
        self, queries: Sequence[Query], answers: Sequence[Sequence[int]], read: Sequence[int], logits: Tensor
    ) -> Tensor:
        """Return the logits [position read, vocabulary] after all; they may be changed in place.

        Args:
            queries: the rows, as they were before `before`.
            answers: the token ids that follow each question.
            read: how many positions at the end of each row, question and answer, were read.
            logits: what the model says there under the rest of the patch, row after row.
        """
        return logits


def undone_where_failed(ok: Tensor, part: Part, previous: Part | None) -> dict[str, Tensor]:
    """Return a part's tensors; where `ok` [session] fails, those of `previous`, and zero for what it has not.

    Parts with places for edits [session, place, ...] may have had fewer of them before.
    """
    old = {} if previous is None else previous.tensors()
    kept = {}
    for name, value in part.tensors().items():
        before = torch.zeros_like(value)
        if name in old:
            before[tuple(slice(size) for size in old[name].shape)] = old[name]
        kept[name] = torch.where(ok.view(-1, *[1] * (value.ndim - 1)), value, before)
    return kept


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Patch:
    """Edits of B sessions: parts, at most one of a kind, whose hooks act in their order."""

    sessions: int
    parts: tuple[Part, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing was edited, so that the patch is the identity."""
        return all(part.empty for part in self.parts)

    @property
    def first_layer(self) -> int | None:
        """The first layer that the patch acts in; None: it acts in none."""
        return min((part.first_layer for part in self.parts if part.first_layer is not None), default=None)

    @property
    def in_attention(self) -> bool:
        """Whether a part changes matrices of attention."""
        return any(part.in_attention for part in self.parts)

    def sees_all(self, layer: int) -> bool:
        """Whether a part is to see all tokens behind a layer."""
        return any(part.sees_all(layer) for part in self.parts)

    @property
    def reads_unedited(self) -> tuple[int, ...]:
        """The layers at which a part reads what the unedited model makes of a question; one part at most does."""
        return next((part.reads_unedited for part in self.parts if part.reads_unedited), ())

    def part(self, kind: type[P]) -> P | None:
        """Return the part of a kind, if there is one; a kind is a class, not those that derive from it."""
        return next((part for part in self.parts if type(part) is kind), None)

    def without(self, kind: type[Part]) -> "Patch":
        """Return the patch without its part of a kind."""
        return replace(self, parts=tuple(part for part in self.parts if type(part) is not kind))

    def append(self, more: Part) -> "Patch":
        """Return the patch after further edits: joined to the part of that kind, or beside the others."""
        if self.part(type(more)) is None:
            return replace(self, parts=(*self.parts, more))
        joined = tuple(part.append(more) if type(part) is type(more) else part for part in self.parts)
        return replace(self, parts=joined)

    def select(self, sessions: Sequence[int]) -> "Patch":
        """Return the patch of some of the sessions, in the order given."""
        if list(sessions) == list(range(self.sessions)):
            return self
        return Patch(len(sessions), tuple(part.select(sessions) for part in self.parts))

    def revert(self, ok: Tensor, previous: "Patch") -> "Patch":
        """Return this patch where `ok` [session] holds and, elsewhere, what acts as `previous` did before this edit."""
        return replace(self, parts=tuple(part.revert(ok, previous.part(type(part))) for part in self.parts))

    def concat(self, others: Sequence["Patch"]) -> "Patch":
        """Return the patch of these sessions and, after them, those of others with parts of the same kinds."""
        sessions = self.sessions + sum(other.sessions for other in others)
        beside = zip(*(other.parts for other in others), strict=True) if others else ((),) * len(self.parts)
        return Patch(sessions, tuple(part.concat(more) for part, more in zip(self.parts, beside, strict=True)))

    def tensors(self) -> dict[str, Tensor]:
        """Return what sessions have of their own, as "part.name"; the session is the first axis."""
        return {f"{type(part).__name__}.{name}": value for part in self.parts for name, value in part.tensors().items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Patch":
        """Return a patch with the same kinds of parts that has these `tensors`; what sessions share stays."""
        own = {type(part).__name__: dict[str, Tensor]() for part in self.parts}
        for name, value in tensors.items():
            kind, rest = name.split(".", 1)
            own[kind][rest] = value
        return replace(self, parts=tuple(part.with_tensors(own[type(part).__name__]) for part in self.parts))

    def in_weights(self) -> InWeights | None:
        """Return what the patch of one session is as changes of weights; None: no weights say the same as a part."""
        found = [part.in_weights() for part in self.parts if not part.empty]
        known = [each for each in found if each is not None]
        return reduce(InWeights.joined, known, InWeights()) if len(known) == len(found) else None

    def before(self, queries: Sequence[Query]) -> Sequence[Query]:
        """Return the queries, rows in session order, as the model is asked them."""
        return reduce(lambda asked, part: part.before(asked), self.parts, queries)

    def begin(self, context: PassContext) -> None:
        """Let every part say what holds for the whole pass."""
        for part in self.parts:
            part.begin(context)

    def attention(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return a layer's attention output under all parts."""
        return reduce(lambda so_far, part: part.attention(layer, inputs, so_far, context), self.parts, outputs)

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what all parts add to the output of a matrix; None: nothing."""
        changes = [part.weight(layer, name, inputs, context) for part in self.parts]
        added = [change for change in changes if change is not None]
        return sum(added[1:], added[0]) if added else None

    def ffn(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return a layer's FFN output under all parts."""
        return reduce(lambda so_far, part: part.ffn(layer, inputs, so_far, context), self.parts, outputs)

    def block(self, layer: DecoderLayer, hidden: Tensor, context: PassContext) -> Tensor:
        """Return the states that leave a layer under all parts."""
        return reduce(lambda so_far, part: part.block(layer, so_far, context), self.parts, hidden)

    def after(
        self, queries: Sequence[Query], answers: Sequence[Sequence[int]], read: Sequence[int], logits: Tensor
    ) -> Tensor:
        """Return the logits after all parts (`Part.after`)."""
        return reduce(lambda so_far, part: part.after(queries, answers, read, so_far), self.parts, logits)


def texts_as_bytes(texts: Sequence[str]) -> Tensor:
    """Return texts as bytes [text, byte], padded with zeros: what a part that holds texts gives as its tensor."""
    rows = [torch.tensor(list(text.encode()), dtype=torch.uint8) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) if rows else torch.zeros(0, 0, dtype=torch.uint8)


def bytes_as_texts(rows: Tensor) -> tuple[str, ...]:
    """Return the texts that `texts_as_bytes` was given."""
    return tuple(bytes(row[row != 0].tolist()).decode() for row in rows)
