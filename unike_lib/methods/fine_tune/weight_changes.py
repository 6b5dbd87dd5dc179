"""Changes of whole weight matrices, in every session its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part, by_session


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

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "WeightChanges":
        """Return the changes that such tensors hold."""
        layers: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            layer, matrix = name.split(".", 1)
            layers.setdefault(int(layer), {})[matrix] = value
        return WeightChanges(layers)

    def append(self, more: "WeightChanges") -> "WeightChanges":
        """Return the sums of both changes."""
        mine = self.tensors()
        sums = {name: mine[name] + change if name in mine else change for name, change in more.tensors().items()}
        return self.with_tensors(mine | sums)

    def revert(self, ok: Tensor, previous: "WeightChanges | None") -> "WeightChanges":
        """Return the changes; where `ok` fails, those of `previous`."""
        old = {} if previous is None else previous.tensors()
        return self.with_tensors(
            {
                name: torch.where(ok[:, None, None], change, old.get(name, torch.zeros_like(change)))
                for name, change in self.tensors().items()
            }
        )

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the change adds to a matrix's output."""
        change = self.layers.get(layer, {}).get(name)
        return None if change is None else by_session(inputs, change.transpose(1, 2))
