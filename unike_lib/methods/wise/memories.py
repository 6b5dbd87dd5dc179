"""Side memories of one FFN matrix, and which of them a row takes, if any."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part, by_session, undone_where_failed
from unike_lib.editing.standalone import Standalone
from unike_lib.methods.wise.formulas import dense, distances, route, ties
from unike_lib.methods.wise.settings import WiseMethod

ROOM = 10**8  # numbers of whole matrices that are made at a time


@dataclass(frozen=True)
class OpenMemory(Part):
    """One memory of each session while an edit is made: all tokens take it, and no other acts.

    layer: whose down-projection; change: S - W, [session, out, in].
    """

    layer: DecoderLayer
    change: Tensor

    @property
    def first_layer(self) -> int:
        """The layer of the matrix."""
        return self.layer.index

    def tensors(self) -> dict[str, Tensor]:
        """Return the change."""
        return {"change": self.change}

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the memory adds to the matrix's output."""
        if layer != self.layer.index or name != self.layer.names.down:
            return None
        return by_session(inputs, self.change.transpose(1, 2))


@dataclass(frozen=True)
class SideMemories(Part):
    """Copies of one layer's down-projection, of which only some entries have moved; each row takes one or none.

    Every `save_every` edits of a session fill one memory, and the next begin another. All sessions have the same places
    in their n-th memories. A row goes by its prompt: what is taken there holds for the answer.

    layer: the layer, whose matrix is W; places: of each memory, where its entries stand in the matrix, row after row.
    values: what is added to W there, [session, entry]; smallest [session, memory]: the least distance of an edit of
    that memory, infinite without one; counts [session]: edits.
    """

    layer: DecoderLayer
    settings: WiseMethod
    places: tuple[Tensor, ...]
    smallest: Tensor
    counts: Tensor
    values: tuple[Tensor, ...] = field(default=())

    @property
    def first_layer(self) -> int:
        """The layer of the matrix."""
        return self.layer.index

    def tensors(self) -> dict[str, Tensor]:
        """Return the memories by number, the distances and the counts."""
        numbered = {str(number): value for number, value in enumerate(self.values)}
        return {"smallest": self.smallest, "counts": self.counts, **numbered}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "SideMemories":
        """Return the memories that such tensors hold."""
        values = tuple(tensors[str(number)] for number in range(len(tensors) - 2))
        return replace(self, smallest=tensors["smallest"], counts=tensors["counts"], values=values)

    def append(self, more: "SideMemories") -> "SideMemories":
        """Return the later state: edits go on in the memories that are there."""
        return more

    def revert(self, ok: Tensor, previous: "SideMemories | None") -> "SideMemories":
        """Return the memories; where `ok` fails, those of `previous`: a memory that it has not is untouched."""
        untouched = torch.full_like(self.smallest, torch.inf)
        if previous is not None:
            untouched[:, : previous.smallest.shape[1]] = previous.smallest
        found = undone_where_failed(ok, self, previous and replace(previous, smallest=untouched))
        return self.with_tensors(found | {"smallest": torch.where(ok[:, None], self.smallest, untouched)})

    def standalone(self) -> Standalone:
        """Return the memories as rows are routed, with their thresholds."""
        routed, tensors = self.routed, dict[str, Tensor]()
        for number, (places, values, _) in enumerate(routed):
            tensors |= {f"{number}.places": places, f"{number}.values": values[0]}
        tensors["thresholds"] = torch.stack([least[0] for *_, least in routed]) * self.settings.act_ratio
        side = int(self.side[0])
        settings = {
            "layer": self.layer.index,
            "matrix": self.layer.names.down,
            "shape": list(self._weight.shape),
            "side": side if side < len(self.values) else len(routed),
            "largest_of_long": self.settings.distances == "released",
        }
        files = tuple(Path(__file__).with_name(name) for name in ("beside_memories.py", "formulas.py"))
        return Standalone(files, "Memories", tensors, settings)

    def with_memory(self, places: Tensor) -> "SideMemories":
        """Return these memories and an untouched one."""
        values = self.smallest.new_zeros(len(self.counts), len(places))
        smallest = torch.cat([self.smallest, self.smallest.new_full((len(self.counts), 1), torch.inf)], 1)
        return replace(self, places=(*self.places, places), values=(*self.values, values), smallest=smallest)

    @property
    def side(self) -> Tensor:
        """The memory that a session's next edit goes to, by number [session]; there may be none of that number yet."""
        return self.counts // self.settings.save_every

    @cached_property
    def routed(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Memories as rows are routed: places, values and the least distance [session]; first those of `values`.

        Retrieving, memories of `merge_every` edits are one from then on. Else all full ones are one, and all go by the
        least distance of all. Reading: the original leaves full memories unanswered until they are merged, and merges
        what is merged again with weight 0.6; here all that are full are merged at once, each with the same weight.
        """
        numbers = torch.arange(len(self.values), device=self.counts.device)
        if not self.settings.retrieve:
            least = self.smallest.amin(1)
            alone = torch.where(numbers == self.side[:, None], least[:, None], torch.inf)
            groups = {full: self.side == full for full in range(1, len(self.values) + 1)}
            merged = [(range(full), least, full_here) for full, full_here in groups.items()]
        else:
            size = self.settings.merge_every // self.settings.save_every
            alone = torch.where(numbers // size < (self.side // size)[:, None], torch.inf, self.smallest)
            starts = range(0, len(self.values) - size + 1, size)
            merged = [
                (range(s, s + size), self.smallest[:, s : s + size].amin(1), self.side >= s + size) for s in starts
            ]
        found = [(*pair, alone[:, number]) for number, pair in enumerate(zip(self.places, self.values, strict=True))]
        for members, least, holds in merged:
            if holds.any():
                found.append((*self._merged(members), torch.where(holds, least, torch.inf)))
        return found

    def _merged(self, members: range) -> tuple[Tensor, Tensor]:
        """Return the places and values of some memories merged."""
        places = torch.unique(torch.cat([self.places[member] for member in members]))
        changes = []
        for member in members:
            own = self.values[member]
            at = torch.searchsorted(places, self.places[member])
            changes.append(own.new_zeros(len(own), len(places)).index_copy(1, at, own))
        size = self._weight.numel()
        return places, ties(torch.stack(changes), self.settings.density, size)

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.layer.part(self.layer.names.down).weight
        return weight

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return what the memory that each row takes adds to the matrix's output."""
        if layer != self.layer.index or name != self.layer.names.down:
            return None
        kept, width = context.kept_by(self, layer), len(inputs) // len(self.counts)
        added = [self._moved(inputs, places, values) for places, values, _ in self.routed]
        if "taken" not in kept:
            original = self.layer.part(name)(inputs).float()
            where, long = context.within("prompt", inputs.shape[1]), self.settings.distances == "released"
            far = [distances(original + each, original, where, self.layer.activate, long) for each in added]
            thresholds = torch.stack([least for *_, least in self.routed], 1) * self.settings.act_ratio
            side = self.side.clamp(max=len(self.routed)).masked_fill(self.side >= len(self.values), len(self.routed))
            by_row = (each.repeat_interleave(width, 0) for each in (thresholds, side))
            kept["taken"] = route(torch.stack(far, 1), *by_row)
        taken = kept["taken"]
        gates = [(taken == number)[:, None, None] for number in range(len(added))]
        moved = sum(each * gate for each, gate in zip(added[1:], gates[1:], strict=True)) + added[0] * gates[0]
        return moved.to(inputs.dtype)

    def _moved(self, inputs: Tensor, places: Tensor, values: Tensor) -> Tensor:
        """Return what a memory of each session adds to the matrix's output, [row, token, out] in float32."""
        shape, width = self._weight.shape, len(inputs) // len(values)
        at_once = max(1, ROOM // self._weight.numel())
        if width * len(values) != len(inputs):
            raise ValueError(f"{len(inputs)} rows do not divide into {len(values)} sessions")
        parts = zip(inputs.float().split(at_once * width), values.split(at_once), strict=True)
        return torch.cat([by_session(rows, dense(some, places, shape).transpose(1, 2)) for rows, some in parts])
