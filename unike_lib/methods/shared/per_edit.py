"""Parts that keep their edits apart, so that each acts as far as a row is in the scope of that edit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part, by_session


class PerEdit(Part, ABC):
    """A part whose tensors say which edit they are of, in the order of editing."""

    @property
    @abstractmethod
    def edits(self) -> int:
        """How many edits each session has."""

    def shares(self, layer: int, context: PassContext) -> Tensor | None:
        """Return how far each row is in the scope of each of the part's edits, [row, edit].

        One column: that of all edits alike; None: no scope, all act wholly.
        """
        return context.shares_at(layer)


def meant(shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows that mean an edit [n], which edit that is [n], and how far [n], of shares [row, edit].

    A row means one edit at most: cost does not grow with the number of edits.
    """
    largest, edits = shares.max(1)
    rows = (largest > 0).nonzero()[:, 0]
    return rows, edits[rows], largest[rows]


@dataclass(frozen=True)
class WeightChangesPerEdit(PerEdit):
    """layers: layer -> matrix name -> change of its weight by each edit, [session, edit, out, in]."""

    layers: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def edits(self) -> int:
        """How many edits each session has."""
        return next((len(change[0]) for named in self.layers.values() for change in named.values()), 0)

    @property
    def first_layer(self) -> int | None:
        """The first layer with a change."""
        return min(self.layers, default=None)

    def tensors(self) -> dict[str, Tensor]:
        """Return all changes as "layer.matrix"."""
        return {f"{layer}.{name}": value for layer, named in self.layers.items() for name, value in named.items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "WeightChangesPerEdit":
        """Return the changes that such tensors hold."""
        layers: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            layer, matrix = name.split(".", 1)
            layers.setdefault(int(layer), {})[matrix] = value
        return WeightChangesPerEdit(layers)

    def append(self, more: "WeightChangesPerEdit") -> "WeightChangesPerEdit":
        """Return the changes of all these edits."""
        theirs = more.tensors()
        return self.with_tensors({name: torch.cat([own, theirs[name]], 1) for name, own in self.tensors().items()})

    def revert(self, ok: Tensor, previous: "WeightChangesPerEdit | None") -> "WeightChangesPerEdit":
        """Return the changes; where `ok` fails, those of edits that `previous` has not are zero."""
        known = torch.arange(self.edits, device=ok.device) < (0 if previous is None else previous.edits)
        kept = (ok[:, None] | known)[:, :, None, None]
        return self.with_tensors(
            {name: torch.where(kept, torch.nan_to_num(change), 0.0) for name, change in self.tensors().items()}
        )

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the changes add to a matrix's output, each as far as its edit's scope reaches."""
        change = self.layers.get(layer, {}).get(name)
        if change is None:
            return None
        shares, width = self.shares(layer, context), len(inputs) // len(change)
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


@dataclass(frozen=True)
class GivenShares(Part):
    """Shares that are known before a pass, the same for all rows of a session: those of an edit being made.

    layers: which layer each holds for; None: for all. values [session, space, edit]; one edit: all alike.
    """

    layers: tuple[int | None, ...]
    values: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return the shares."""
        return {"values": self.values}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "GivenShares":
        """Return these shares."""
        return replace(self, values=tensors["values"])

    def revert(self, ok: Tensor, previous: "GivenShares | None") -> "GivenShares":
        """Return the shares as they are: they hold while an edit is made."""
        return self

    def begin(self, context: PassContext) -> None:
        """Write the shares of all rows."""
        rows = self.values.repeat_interleave(len(context.last_prompt) // len(self.values), 0)
        context.shares |= {layer: rows[:, place] for place, layer in enumerate(self.layers)}
