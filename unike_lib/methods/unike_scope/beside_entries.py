"""Memory entries of edits in a folder of their own: needs torch alone (`editor.EditEntries`)."""

from typing import Any

from torch import Tensor


class Entries:
    """By layer h_pos [edit, d]; live, bool [edit]."""

    def __init__(self, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        self.layers = {int(name): value for name, value in tensors.items() if name != "live"}
        self.live, self.alpha = tensors["live"], settings["alpha"]

    def attention(self, layer: Any, inputs: Tensor, outputs: Tensor, now: Any) -> Tensor:
        """Return the attention outputs [row, token, d], shifted in rows that an edit means."""
        own = self.layers.get(layer.index)
        if own is None:
            return outputs
        shares, alive = now.shares_at(layer.index), self.live.any()
        if shares is None or shares.shape[1] == 1:
            far = (alive.float() if shares is None else shares[:, 0] * alive).expand(len(inputs))
            slots, bias = own.expand(len(inputs), -1, -1), (self.live | ~alive).float().log()
            known, _ = layer.attend(inputs, slots.to(inputs.dtype), None, bias.expand(len(inputs), -1))
        else:
            far, edits = shares.max(1)
            known, _ = layer.attend(inputs, own[edits][:, None].to(inputs.dtype), None, None)
        return outputs + (self.alpha * far)[:, None, None].to(outputs.dtype) * (known - outputs)
