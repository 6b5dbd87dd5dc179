"""The semantic scope: where, and above which likeness, the unedited model knows an edit's question again.

Example:
    >>> scope = load_scope(Path("scope.safetensors"))            # doctest: +SKIP
    >>> space = scope.space("raw", scope.chosen)                 # doctest: +SKIP
    >>> cosines = space.project(states) @ space.project(key).T   # doctest: +SKIP
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from unike_lib.io import read_tensors
from unike_lib.types import InputError

Reading = Literal["raw", "trained"]


@dataclass(frozen=True)
class ScopeSpace:
    """A layer's states as they are compared: keys [n, w], of unit length, of the pool edits that compete with edits.

    thresholds, temperatures [n]: those of each key's task, by task in `by_task` (`scope_choice.cut_of`); map: [d, w],
    None where states are compared as they are.
    """

    layer: int
    keys: Tensor
    thresholds: Tensor
    temperatures: Tensor
    by_task: Mapping[str, tuple[float, float]]
    map: Tensor | None

    def project(self, states: Tensor) -> Tensor:
        """Return states [..., d] in this space, of unit length, [..., w]."""
        return unit(states, self.map)

    def to(self, device: torch.device) -> "ScopeSpace":
        """Return the space on a device."""
        placed = replace(self, thresholds=self.thresholds.to(device), temperatures=self.temperatures.to(device))
        return replace(placed, keys=self.keys.to(device), map=None if self.map is None else self.map.to(device))


def unit(states: Tensor, map: Tensor | None = None) -> Tensor:
    """Return states [..., d], mapped if there is a map [d, w], scaled to unit length in float32."""
    states = states.float()
    return normalize(states if map is None else states @ map.to(states), dim=-1)


class Scope:
    """What `scope_choice.write_scope` wrote: `chosen`, the layer whose states are read, `edited`, and spaces."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self._path, self._tensors = path, tensors
        self.chosen = int(self._tensor("chosen"))
        self.edited = tuple(self._tensor("edited").tolist())

    @property
    def spaces(self) -> list[tuple[Reading, int]]:
        """The spaces that there are: reading and layer."""
        found = {(parts[0], int(parts[1])) for name in self._tensors if len(parts := name.split(".")) == 4}
        readings: tuple[Reading, ...] = ("raw", "trained")
        return [(each, layer) for each in readings for layer in sorted(n for reading, n in found if reading == each)]

    def space(self, state: Reading, layer: int) -> ScopeSpace:
        """Return the space of a layer: states as they are ("raw"), or behind the trained map ("trained").

        Raises:
            InputError: the file has no such space, or not all of it.
        """
        start = f"{state}.{layer}."
        parts = [name.removeprefix(start).split(".") for name in self._tensors if name.startswith(start)]
        tasks = sorted({part[0] for part in parts if len(part) == 2})
        if not tasks:
            known = ", ".join(f"{reading}.{number}" for reading, number in self.spaces)
            raise InputError(f"{self._path}: no space {state}.{layer}; it has {known}")
        keys = [self._tensor(f"{start}{task}.keys") for task in tasks]
        cuts = {task: self._cut(f"{start}{task}") for task in tasks}
        by_key = [torch.tensor([cuts[task]]).expand(len(part), 2) for task, part in zip(tasks, keys, strict=True)]
        thresholds, temperatures = torch.cat(by_key).unbind(1)
        map = self._tensor(f"{start}map") if state == "trained" else None
        return ScopeSpace(layer, torch.cat(keys), thresholds, temperatures, cuts, map)

    def _cut(self, start: str) -> tuple[float, float]:
        return float(self._tensor(f"{start}.threshold")), float(self._tensor(f"{start}.temperature"))

    def _tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise InputError(f"{self._path}: not a semantic scope: entry '{name}' is missing")
        return self._tensors[name]


def load_scope(path: Path) -> Scope:
    """Read a semantic scope; raise InputError, naming the file, if it is missing, broken or incomplete."""
    return Scope(path, read_tensors(path))
