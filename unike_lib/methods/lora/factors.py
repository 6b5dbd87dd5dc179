"""Factors of LoRA, in every session its own: those that its edits share, or, behind a scope, those of each edit."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.in_weights import InWeights
from unike_lib.editing.patch import undone_where_failed
from unike_lib.editing.standalone import Standalone
from unike_lib.methods.lora.dropout import Dropout
from unike_lib.methods.shared.beside import beside
from unike_lib.methods.shared.low_rank import LowRank, LowRankChanges
from unike_lib.methods.shared.per_edit import PerEdit, meant


@dataclass(frozen=True)
class LoraFactors(LowRankChanges):
    """layers: layer -> matrix name -> its factors: A as inputs, (alpha / r) B as outputs; zero: never edited.

    dropout: in training alone.
    """

    dropout: Dropout | None = None

    @property
    def in_attention(self) -> bool:
        """Matrices of attention may have factors."""
        return True

    def append(self, more: LowRankChanges) -> Self:
        """Return the factors after further edits: they are what these made of them."""
        return self.of(self.matrices | more.matrices)

    def revert(self, ok: Tensor, previous: LowRankChanges | None) -> Self:
        """Return the factors; where `ok` fails, those of `previous`."""
        return self.with_tensors(undone_where_failed(ok, self, previous))

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return (alpha / r) B A x."""
        if self.dropout is not None and name in self.layers.get(layer, {}):
            inputs = self.dropout.apply(inputs, layer, name, context)
        return super().weight(layer, name, inputs, context)


@dataclass(frozen=True)
class LoraFactorsPerEdit(LowRankChanges, PerEdit):
    """The same, the factors of every edit apart: [session, edit, rank, width]."""

    @property
    def in_attention(self) -> bool:
        """Matrices of attention may have factors."""
        return True

    @property
    def edits(self) -> int:
        """How many edits each session has."""
        return next((each.outputs.shape[1] for each in self.matrices.values()), 0)

    def append(self, more: LowRankChanges) -> Self:
        """Return the factors of all these edits."""
        mine = self.matrices
        both = {place: mine[place].joined(new) if place in mine else new for place, new in more.matrices.items()}
        return self.of(mine | both)

    def revert(self, ok: Tensor, previous: LowRankChanges | None) -> Self:
        """Return the factors; where `ok` fails, those of edits that `previous` has not are zero."""
        known = previous.edits if isinstance(previous, LoraFactorsPerEdit) else 0
        earlier = torch.arange(self.edits, device=ok.device) < known
        kept = (ok[:, None] | earlier)[:, :, None, None]
        return self.with_tensors(
            {name: torch.where(kept, torch.nan_to_num(value), 0.0) for name, value in self.tensors().items()}
        )

    def in_weights(self) -> InWeights:
        """Return the sums over all edits, as they act without a scope."""
        sums = {p: LowRank(e.outputs.flatten(1, 2), e.inputs.flatten(1, 2)) for p, e in self.matrices.items()}
        return LowRankChanges.of(sums).in_weights()

    def standalone(self) -> Standalone:
        """Return the factors of every edit."""
        return beside({name: value[0] for name, value in self.tensors().items()})

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the factors add to a matrix's output, those of each edit as far as its scope reaches."""
        factors, shares = self.layers.get(layer, {}).get(name), context.shares_at(layer)
        if factors is None:
            return None
        if shares is None or shares.shape[1] == 1:
            added = LowRank(factors.outputs.flatten(1, 2), factors.inputs.flatten(1, 2)).apply(inputs)
            return added if shares is None else added * shares[:, :, None].to(added.dtype)
        rows, edits, far = meant(shares)
        sessions = rows // (len(inputs) // len(factors.inputs))
        own = LowRank(factors.outputs[sessions, edits] * far[:, None, None], factors.inputs[sessions, edits])
        added = inputs.new_zeros(*inputs.shape[:2], factors.outputs.shape[3])
        return added.index_add(0, rows, own.apply(inputs[rows])) if len(rows) else added
