"""What a backbone knows of an edit: where it may act in a pass, and what the two tell each other meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from unike_lib.types import Query

if TYPE_CHECKING:
    from unike_lib.backbones.decoder import DecoderLayer

Rotation = tuple[Tensor, Tensor]


@dataclass
class Trace:
    """What a pass shows of the layers run when asked: layer -> tensor; without `states` only what an edit notes.

    `attention_inputs` are s = LN1(h), `ffn_inputs` q = LN2(x), both [row, token, d]; `notes` are what an edit noted of
    the rows, by name (`PassContext.note`): layer -> [row].
    """

    states: bool = True
    attention_inputs: dict[int, Tensor] = field(default_factory=dict)
    ffn_inputs: dict[int, Tensor] = field(default_factory=dict)
    notes: dict[str, dict[int, Tensor]] = field(default_factory=dict)


Span = Literal["picture", "prompt", "all"]


@dataclass
class PassContext:
    """What the parts of an edit know of the pass under way, and what they hand on to each other in it.

    last_prompt [row]: the last prompt token of each row; picture [row, 2]: where its visual tokens begin, and how many
    they are (None: not known); positions [row or 1, token]: of the tokens under way, counted in their rows (None: from
    0 on); rotation: that of these tokens, set by each layer of a rotary model.
    unedited [row, layer, d]: what the unedited model makes of the questions at the layers that the edit asked for
    (`Backbone.prompt_states`; None: it asked for none). shares, by layer, [row, edit] in [0, 1]: how far a row is in
    the scope of each edit; None as the layer: in all. The part that reads the scope writes it, others go by it.
    kept: what a part read at the last prompt token, [row, ...]: tokens that follow go by it.
    trace: what to show of the layers; notes: what parts said of the rows.
    """

    last_prompt: Tensor
    trace: Trace | None = None
    picture: Tensor | None = None
    positions: Tensor | None = None
    rotation: Rotation | None = None
    unedited: Tensor | None = None
    shares: dict[int | None, Tensor] = field(default_factory=dict)
    kept: dict[tuple[str, int], dict[str, Tensor]] = field(default_factory=dict)
    notes: dict[str, dict[int, Tensor]] = field(default_factory=dict)

    def kept_by(self, part: object, layer: int) -> dict[str, Tensor]:
        """Return what a part keeps at a layer for the tokens that follow, to be read and filled."""
        return self.kept.setdefault((type(part).__name__, layer), {})

    def shares_at(self, layer: int) -> Tensor | None:
        """Return how far rows are in the scope of each edit at a layer, [row, edit]; None: everywhere wholly."""
        return self.shares.get(layer, self.shares.get(None))

    def note(self, name: str, layer: int, values: Tensor) -> None:
        """Note something of every row [row], for records and figures."""
        notes = self.notes if self.trace is None else self.trace.notes
        notes.setdefault(name, {})[layer] = values.detach()

    def within(self, span: Span, tokens: int) -> Tensor:
        """Return which of the tokens under way lie in a part of their row, bool [row, token]; all: the whole row.

        Args:
            span: "picture": the visual tokens; "prompt": all up to the last prompt token; "all".
            tokens: how many are under way.
        """
        places = (
            torch.arange(tokens, device=self.last_prompt.device)[None] if self.positions is None else self.positions
        )
        places = places.expand(len(self.last_prompt), -1)
        if span == "prompt":
            return places <= self.last_prompt[:, None]
        if span == "picture":
            if self.picture is None:
                raise ValueError("within: expected rows that say where their picture lies")
            start, count = self.picture[:, :1], self.picture[:, 1:]
            return (places >= start) & (places < start + count)
        return torch.ones_like(places, dtype=torch.bool)

    def select(self, rows: Tensor) -> "PassContext":
        """Return the context of some of the rows, in the order given [row], without trace and notes."""
        picture = None if self.picture is None else self.picture[rows]
        shares = {layer: share[rows] for layer, share in self.shares.items()}
        kept = {place: {name: value[rows] for name, value in parts.items()} for place, parts in self.kept.items()}
        return PassContext(self.last_prompt[rows], picture=picture, shares=shares, kept=kept)


class Edit(Protocol):
    """What an edit does inside a layer."""

    @property
    def in_attention(self) -> bool:
        """Whether `weight` is asked of attention's matrices, too."""

    def sees_all(self, layer: int) -> bool:
        """Whether `block` is to see all tokens of a layer, even of the last one, where only some are read."""

    def begin(self, context: PassContext) -> None:
        """Say what holds for the whole pass, before the first layer."""

    def attention(self, layer: "DecoderLayer", inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return the attention output [row, token, d] after the edit, given the input s and the output a."""

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the edit adds to the output of a matrix [row, token, out], given its input; None: nothing."""

    def ffn(self, layer: "DecoderLayer", inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return the FFN output [row, token, d] after the edit, given the input q and the output under `weight`."""

    def block(self, layer: "DecoderLayer", hidden: Tensor, context: PassContext) -> Tensor:
        """Return the states that leave the layer [row, token, d] after the edit."""


class SessionEdit(Edit, Protocol):
    """Edits of independent sessions; a batch has the same number of rows for each, ordered by session."""

    @property
    def sessions(self) -> int:
        """Number of sessions."""

    @property
    def first_layer(self) -> int | None:
        """The first layer that the edit acts in; None: it acts in none."""

    @property
    def reads_unedited(self) -> tuple[int, ...]:
        """The layers at which it reads what the unedited model makes of a question."""

    def select(self, sessions: Sequence[int]) -> "SessionEdit":
        """Return the edits of some of the sessions, in the order given."""

    def before(self, queries: Sequence[Query]) -> Sequence[Query]:
        """Return the queries as the model is asked them."""

    def after(
        self, queries: Sequence[Query], answers: Sequence[Sequence[int]], read: Sequence[int], logits: Tensor
    ) -> Tensor:
        """Return the logits [position read, vocabulary] after all; they may be changed in place.

        Args:
            queries: the rows, as they were before `before`.
            answers: the token ids that follow each question.
            read: how many positions at the end of each row, question and answer, were read.
            logits: what the backbone says there under the rest of the edit, row after row.
        """
