"""Low-rank pairs beside weight matrices: one factor is common to all sessions, the other is a session's own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.in_weights import Factors, InWeights
from unike_lib.editing.patch import Part, by_session, undone_where_failed
from unike_lib.editing.standalone import Standalone
from unike_lib.methods.shared.beside import beside

Place = tuple[int, str]  # layer, matrix


@dataclass(frozen=True)
class Pairs(Part):
    """Each session's pairs, and how much of the room of their codes its edits have used up.

    bases: A [rank, in] by matrix, the same for all; scale: s; outputs: B [session, out, rank]; used: I - P [session,
    rank, rank], which is 0 before any edit.
    """

    bases: Mapping[Place, Tensor]
    scale: float
    outputs: Mapping[Place, Tensor]
    used: Mapping[Place, Tensor]

    @classmethod
    def unedited(
        cls, bases: Mapping[Place, Tensor], widths: Mapping[Place, int], scale: float, sessions: int
    ) -> "Pairs":
        """Return pairs that add nothing; `widths` are those of the matrices' outputs."""
        outputs = {place: basis.new_zeros(sessions, widths[place], len(basis)) for place, basis in bases.items()}
        used = {place: basis.new_zeros(sessions, len(basis), len(basis)) for place, basis in bases.items()}
        return cls(bases, scale, outputs, used)

    @property
    def first_layer(self) -> int | None:
        """The first layer with a pair."""
        return min((layer for layer, _ in self.outputs), default=None)

    def tensors(self) -> dict[str, Tensor]:
        """Return both by matrix as "layer.matrix.outputs" and "layer.matrix.used"."""
        sides = {"outputs": self.outputs, "used": self.used}
        return {
            f"{layer}.{name}.{side}": value for side, values in sides.items() for (layer, name), value in values.items()
        }

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Pairs":
        """Return the pairs that such tensors hold, with the same bases."""
        sides: dict[str, dict[Place, Tensor]] = {"outputs": {}, "used": {}}
        for name, value in tensors.items():
            layer, rest = name.split(".", 1)
            matrix, side = rest.rsplit(".", 1)
            sides[side][int(layer), matrix] = value
        return replace(self, outputs=sides["outputs"], used=sides["used"])

    def append(self, more: "Pairs") -> "Pairs":
        """Return the pairs after further edits, which were made on top of these and hold them."""
        return more

    def revert(self, ok: Tensor, previous: "Pairs | None") -> "Pairs":
        """Return the pairs; where `ok` fails, those of `previous`."""
        return self.with_tensors(undone_where_failed(ok, self, previous))

    def in_weights(self) -> InWeights:
        """Return s B A as factors."""
        pairs = {p: Factors(self.scale * each[0].T, self.bases[p]) for p, each in self.outputs.items()}
        return InWeights(factors=pairs)

    def standalone(self) -> Standalone:
        """Return the same factors."""
        tensors: dict[str, Tensor] = {}
        for (layer, name), each in self.in_weights().factors.items():
            tensors |= {f"{layer}.{name}.{side}": value[None] for side, value in vars(each).items()}
        return beside(tensors)

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return s B A x: what a pair adds to its matrix's output. Computed in float32, as codes are."""
        basis = self.bases.get((layer, name))
        if basis is None:
            return None
        codes = inputs.float() @ basis.T
        return (self.scale * by_session(codes, self.outputs[layer, name].transpose(1, 2))).to(inputs.dtype)


def drawn_bases(widths: Mapping[Place, int], rank: int, kind: str, seed: int) -> dict[Place, Tensor]:
    """Return a random basis [rank, in] by matrix.

    Args:
        widths: of the matrices' inputs.
        rank: rows of a basis.
        kind: "orthogonal": rows are orthogonal, as far as the width goes; "xavier": numbers of deviation
            (2 / (rank + in))^1/2.
        seed: of what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = torch.nn.init.orthogonal_ if kind == "orthogonal" else torch.nn.init.xavier_normal_
    return {place: draw(torch.empty(rank, width), generator=generator) for place, width in widths.items()}
