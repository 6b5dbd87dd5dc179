"""Extra FFN neurons beside a model's weights, in a folder of its own: needs torch alone (`neurons.ExtraNeurons`)."""

from typing import Any

from torch import Tensor


class Neurons:
    """By layer: keys [d, n], key_bias [n], values [n, d], in gated FFNs up [d, n] and up_bias [n]; edits in order."""

    def __init__(self, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        self.layers: dict[int, dict[str, Tensor]] = {}
        self.size: int | None = settings["size"]
        for name, value in tensors.items():
            layer, part = name.split(".")
            self.layers.setdefault(int(layer), {})[part] = value

    def ffn(self, layer: Any, inputs: Tensor, outputs: Tensor, now: Any) -> Tensor:
        """Return the FFN's output [row, token, d] with that of the neurons, as far as rows are in scope."""
        own = self.layers.get(layer.index)
        if own is None:
            return outputs
        entering = inputs.to(own["keys"].dtype)
        activated = layer.activate(entering @ own["keys"] + own["key_bias"])
        if "up" in own:
            activated = activated * (entering @ own["up"] + own["up_bias"])
        shares = now.shares_at(layer.index)
        if shares is not None:
            each = shares.repeat_interleave(self.size or activated.shape[-1], 1) if shares.shape[1] > 1 else shares
            activated = activated * each[:, None].to(activated.dtype)
        return outputs + (activated @ own["values"]).to(outputs.dtype)
