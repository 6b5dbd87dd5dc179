"""Changes of matrices beside a model's weights, in a folder of its own: needs torch alone."""

from typing import Any

import torch
from torch import Tensor


class Matrices:
    """By layer and matrix: change [edit, out, in], or outputs [edit, rank, out] and inputs [edit, rank, in]."""

    def __init__(self, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        self.places: dict[tuple[int, str], dict[str, Tensor]] = {}
        for name, value in tensors.items():
            layer, rest = name.split(".", 1)
            matrix, part = rest.rsplit(".", 1)
            self.places.setdefault((int(layer), matrix), {})[part] = value

    def weight(self, layer: Any, name: str, inputs: Tensor, now: Any) -> Tensor | None:
        """Return what the changes add to a matrix's output [row, token, out], each as far as its scope reaches."""
        own = self.places.get((layer.index, name))
        if own is None:
            return None
        entering = inputs.float()
        shares = now.shares_at(layer.index)
        if "change" in own:
            each = torch.einsum("rti,eoi->reto", entering, own["change"].float())
        else:
            codes = torch.einsum("rti,eki->retk", entering, own["inputs"].float())
            each = torch.einsum("retk,eko->reto", codes, own["outputs"].float())
        far = each.new_ones(1, 1) if shares is None else shares
        return (each * far[:, :, None, None]).sum(1).to(inputs.dtype)
