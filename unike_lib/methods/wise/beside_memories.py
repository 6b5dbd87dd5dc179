"""WISE's side memories in a folder of its own: needs torch and `formulas.py` alone (`memories.SideMemories`)."""

from typing import Any

import torch
from torch import Tensor

from unike_lib.methods.wise.formulas import dense, distances, route


class Memories:
    """By number, as rows are routed: values and places [entry] of a change of the matrix; thresholds [memory]."""

    def __init__(self, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        self.layer, self.matrix, self.side, self.long = (
            settings[name] for name in ("layer", "matrix", "side", "largest_of_long")
        )
        self.thresholds = tensors["thresholds"]
        numbers = range(len(self.thresholds))
        self.changes = [
            dense(tensors[f"{n}.values"][None], tensors[f"{n}.places"], settings["shape"])[0] for n in numbers
        ]

    def weight(self, layer: Any, name: str, inputs: Tensor, now: Any) -> Tensor | None:
        """Return what the memory that each row takes adds to the matrix's output, [row, token, out]."""
        if (layer.index, name) != (self.layer, self.matrix):
            return None
        kept, added = now.kept_by(self, layer.index), [inputs.float() @ change.T for change in self.changes]
        if "taken" not in kept:
            matrix = layer.part(name)
            original = torch.nn.functional.linear(inputs, matrix.weight, matrix.bias).float()
            where = now.order <= 0
            far = [distances(original + each, original, where, layer.activate, self.long) for each in added]
            rows = len(inputs)
            side = torch.full((rows,), self.side, device=inputs.device)
            kept["taken"] = route(torch.stack(far, 1), self.thresholds.expand(rows, -1), side)
        gates = [(kept["taken"] == number)[:, None, None] for number in range(len(added))]
        return sum(each * gate for each, gate in zip(added, gates, strict=True)).to(inputs.dtype)
