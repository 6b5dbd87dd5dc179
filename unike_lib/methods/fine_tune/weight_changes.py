"""Changes of whole weight matrices, in every session its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.in_weights import InWeights
from unike_lib.editing.patch import Part, by_session, undone_where_failed
from unike_lib.editing.standalone import Standalone
from unike_lib.methods.shared.beside import beside
from unike_lib.methods.shared.per_edit import PerEdit, meant


@dataclass(frozen=True)
class WeightChanges(Part):
    """layers: layer -> matrix name -> change of its weight, [session, out, in]."""

    layers: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def first_layer(self) -> int | None:
        """The first layer with a change."""
        return min(self.layers, default=None)

    def tensors(self) -> dict[str, Tensor]:
        """Return all changes as "layer.matrix"."""
        return {f"{layer}.{name}": value for layer, named in self.layers.items() for name, value in named.items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return the changes that such tensors hold."""
        layers: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            layer, matrix = name.split(".", 1)
            layers.setdefault(int(layer), {})[matrix] = value
        return replace(self, layers=layers)

    def append(self, more: Self) -> Self:
        """Return the sums of both changes."""
        mine = self.tensors()
        sums = {name: mine[name] + change if name in mine else change for name, change in more.tensors().items()}
        return self.with_tensors(mine | sums)

    def revert(self, ok: Tensor, previous: Self | None) -> Self:
        """Return the changes; where `ok` fails, those of `previous`."""
        return self.with_tensors(undone_where_failed(ok, self, previous))

    def in_weights(self) -> InWeights:
        """Return the changes."""
        changes = {(layer, name): each[0] for layer, named in self.layers.items() for name, each in named.items()}
        return InWeights(changes=changes)

    def standalone(self) -> Standalone:
        """Return the changes, as one edit's."""
        return beside({f"{name}.change": each for name, each in self.tensors().items()})

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the change adds to a matrix's output."""
        change = self.layers.get(layer, {}).get(name)
        return None if change is None else by_session(inputs, change.transpose(1, 2))


@dataclass(frozen=True)
class WeightChangesPerEdit(WeightChanges, PerEdit):
    """The same, the changes of every edit apart: [session, edit, out, in]."""

    @property
    def edits(self) -> int:
        """How many edits each session has."""
        return next((change.shape[1] for named in self.layers.values() for change in named.values()), 0)

    def append(self, more: Self) -> Self:
        """Return the changes of all these edits."""
        theirs = more.tensors()
        return self.with_tensors({name: torch.cat([own, theirs[name]], 1) for name, own in self.tensors().items()})

    def revert(self, ok: Tensor, previous: Self | None) -> Self:
        """Return the changes; where `ok` fails, those of edits that `previous` has not are zero."""
        known = torch.arange(self.edits, device=ok.device) < (0 if previous is None else previous.edits)
        kept = (ok[:, None] | known)[:, :, None, None]
        return self.with_tensors(
            {name: torch.where(kept, torch.nan_to_num(change), 0.0) for name, change in self.tensors().items()}
        )

    def in_weights(self) -> InWeights:
        """Return the sums over all edits, as they act without a scope."""
        sums = {layer: {name: each.sum(1) for name, each in named.items()} for layer, named in self.layers.items()}
        return WeightChanges(sums).in_weights()

    def standalone(self) -> Standalone:
        """Return the changes of every edit."""
        return beside({f"{name}.change": each[0] for name, each in self.tensors().items()})

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the changes add to a matrix's output, each as far as its edit's scope reaches."""
        change = self.layers.get(layer, {}).get(name)
        if change is None:
            return None
        shares, width = context.shares_at(layer), len(inputs) // len(change)
        if shares is None:
            return by_session(inputs, change.sum(1).transpose(1, 2))
        if shares.shape[1] == 1:
            return by_session(inputs, change.sum(1).transpose(1, 2)) * shares[:, :, None].to(inputs.dtype)
        added = inputs.new_zeros(*inputs.shape[:2], change.shape[2])
        rows, edits, far = meant(shares)
        pairs = torch.stack([rows // width, edits], 1)
        for session, edit in torch.unique(pairs, dim=0).tolist():
            some = (pairs == torch.tensor([session, edit], device=pairs.device)).all(1)
            moved = inputs[rows[some]].to(change.dtype) @ change[session, edit].T * far[some][:, None, None]
            added = added.index_add(0, rows[some], moved.to(added.dtype))
        return added
