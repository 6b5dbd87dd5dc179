"""GRACE's codebook in a folder of its own: needs torch alone (`codebook.Codebook`)."""

from typing import Any

import torch
from torch import Tensor


class Codebook:
    """keys [edit, in], values [edit, d], radii, slack [edit], of those edits that are live."""

    def __init__(self, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        self.tensors, self.layer, self.matrix = tensors, settings["layer"], settings["matrix"]
        self.replaces = settings["replaces"]

    def weight(self, layer: Any, name: str, inputs: Tensor, now: Any) -> None:
        """Choose the keys of rows where their last prompt token enters the matrix; tokens that follow go by it."""
        kept = now.kept_by(self, layer.index)
        if (layer.index, name) != (self.layer, self.matrix) or kept:
            return
        own, states = self.tensors, inputs[now.rows, now.last].float()
        far, places = torch.cdist(states, own["keys"], compute_mode="donot_use_mm_for_euclid_dist").min(1)
        kept["places"] = torch.where(far <= (own["radii"] + own["slack"])[places], places, -1)

    def ffn(self, layer: Any, inputs: Tensor, outputs: Tensor, now: Any) -> Tensor:
        """Return the FFN's outputs [row, token, d] with the values of the keys that rows chose."""
        if layer.index != self.layer:
            return outputs
        places, order = now.kept_by(self, layer.index)["places"], now.order
        where = {"last": order == 0, "prompt": order < 0, "all": torch.ones_like(order, dtype=torch.bool)}
        replaced = where[self.replaces] & (places >= 0)[:, None]
        values = self.tensors["values"][places.clamp(min=0)].to(outputs.dtype)
        return torch.where(replaced[..., None], values[:, None], outputs)
