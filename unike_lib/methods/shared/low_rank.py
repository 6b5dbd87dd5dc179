"""Changes of weight matrices as factors: what a hypernetwork's edit leaves behind, never a full matrix per session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.in_weights import Factors, InWeights
from unike_lib.editing.patch import Part, by_session
from unike_lib.editing.standalone import Standalone
from unike_lib.methods.shared.beside import beside


@dataclass(frozen=True)
class LowRank:
    """Every session's change of one weight matrix, sum_r outputs_r inputs_r^T.

    outputs [session, rank, out]; inputs [session, rank, in]. A gradient has this form, with a rank per token: outputs
    are then the gradients delta at the matrix's output, inputs its input u.
    """

    outputs: Tensor
    inputs: Tensor

    @property
    def present(self) -> Tensor:
        """Which factors change anything: bool [session, rank]."""
        return (self.outputs != 0).any(-1) & (self.inputs != 0).any(-1)

    def apply(self, inputs: Tensor) -> Tensor:
        """Return what the change adds to the matrix's output, [row, token, out], for inputs [row, token, in].

        Computed in float32: what lies between the two products may be too large for half precision.
        """
        return by_session(by_session(inputs.float(), self.inputs.transpose(1, 2)), self.outputs).to(inputs.dtype)

    def grouped(self, sessions: int) -> "LowRank":
        """Return the sums over groups of so many sessions."""
        outputs, inputs = (part.unflatten(0, (-1, sessions)).flatten(1, 2) for part in (self.outputs, self.inputs))
        return LowRank(outputs, inputs)

    def scaled(self, factor: float) -> "LowRank":
        """Return the changes times a factor."""
        return LowRank(self.outputs * factor, self.inputs)

    def joined(self, more: "LowRank") -> "LowRank":
        """Return the sum of both changes."""
        return LowRank(torch.cat([self.outputs, more.outputs], 1), torch.cat([self.inputs, more.inputs], 1))

    def silenced(self, ok: Tensor, known: int) -> "LowRank":
        """Return the changes; where `ok` [session] fails, the outputs of factors after the first `known` are 0."""
        earlier = torch.arange(self.outputs.shape[1], device=ok.device) < known
        mask = (ok[:, None] | earlier)[:, :, None]
        outputs, inputs = torch.nan_to_num(self.outputs), torch.nan_to_num(self.inputs)
        return LowRank(torch.where(mask, outputs, torch.zeros_like(outputs)), inputs)

    def compacted(self) -> "LowRank":
        """Return the same changes without the factors that are zero in every session."""
        present = self.present
        most = max(1, int(present.sum(1).max()))
        order = present.int().argsort(dim=1, descending=True, stable=True)[:, :most, None]
        mask = present.gather(1, order[:, :, 0])[:, :, None]
        parts = (part.gather(1, order.expand(-1, -1, part.shape[2])) * mask for part in (self.outputs, self.inputs))
        return LowRank(*parts)


@dataclass(frozen=True)
class LowRankChanges(Part):
    """layers: layer -> matrix name -> factors of the change of its weight."""

    layers: Mapping[int, Mapping[str, LowRank]] = field(default_factory=dict)

    @property
    def first_layer(self) -> int | None:
        """The first layer with a change."""
        return min(self.layers, default=None)

    @property
    def matrices(self) -> dict[tuple[int, str], LowRank]:
        """The factors by layer and matrix."""
        return {(layer, name): factors for layer, named in self.layers.items() for name, factors in named.items()}

    @classmethod
    def of(cls, matrices: Mapping[tuple[int, str], LowRank]) -> Self:
        """Return the part with such factors."""
        layers: dict[int, dict[str, LowRank]] = {}
        for (layer, name), factors in matrices.items():
            layers.setdefault(layer, {})[name] = factors
        return cls(layers)

    def tensors(self) -> dict[str, Tensor]:
        """Return all factors as "layer.matrix.outputs" and "layer.matrix.inputs"."""
        found = self.matrices.items()
        return {f"{layer}.{name}.{side}": part for (layer, name), each in found for side, part in vars(each).items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return the changes that such tensors hold."""
        sides: dict[tuple[int, str], dict[str, Tensor]] = {}
        for place, value in tensors.items():
            layer, rest = place.split(".", 1)
            name, side = rest.rsplit(".", 1)
            sides.setdefault((int(layer), name), {})[side] = value
        return self.of({place: LowRank(**parts) for place, parts in sides.items()})

    def append(self, more: "LowRankChanges") -> "LowRankChanges":
        """Return the sums of both changes: ranks add up."""
        mine = self.matrices
        sums = {place: mine[place].joined(new) if place in mine else new for place, new in more.matrices.items()}
        return LowRankChanges.of(mine | sums)

    def revert(self, ok: Tensor, previous: "LowRankChanges | None") -> "LowRankChanges":
        """Return the changes; where `ok` fails, the factors that `previous` has not are 0."""
        old = {} if previous is None else previous.matrices
        known = {place: old[place].outputs.shape[1] if place in old else 0 for place in self.matrices}
        return LowRankChanges.of({place: each.silenced(ok, known[place]) for place, each in self.matrices.items()})

    def grouped(self, sessions: int) -> "LowRankChanges":
        """Return the sums over groups of so many sessions."""
        return LowRankChanges.of({place: each.grouped(sessions) for place, each in self.matrices.items()})

    def in_weights(self) -> InWeights:
        """Return the factors."""
        return InWeights(factors={p: Factors(each.outputs[0], each.inputs[0]) for p, each in self.matrices.items()})

    def standalone(self) -> Standalone:
        """Return the factors, as one edit's."""
        return beside(self.tensors())

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the change adds to a matrix's output."""
        factors = self.layers.get(layer, {}).get(name)
        return None if factors is None else factors.apply(inputs)
