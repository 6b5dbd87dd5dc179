"""UniKE's latent shift in a folder of its own: needs torch alone (`latent_shift.LatentShift`)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, gelu, linear, normalize


class Shift:
    """By layer: memory keys [slot, d] of unit length and values [slot, d], the encoder's matrices, own slots."""

    def __init__(self, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        self.settings = settings
        self.layers: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            layer, part = name.split(".", 1)
            self.layers.setdefault(int(layer), {})[part] = value

    def attention(self, layer: Any, inputs: Tensor, outputs: Tensor, now: Any) -> Tensor:
        """Return a' = (1 - alpha) a + alpha h_know, [row, token, d]."""
        own, settings = self.layers.get(layer.index), self.settings
        if own is None:
            return outputs
        kept, last = now.kept_by(self, layer.index), (now.rows, now.last)
        if not kept:
            kept |= self._retrieve(own, inputs[last])
        slots, cosines = kept["slots"], kept["cosines"]
        bias = cosines.masked_fill(~cosines.isneginf(), 0.0) if "own.keys" in own else None  # -inf: dead
        if settings["retrieval_temperature"] is not None:
            bias = cosines / settings["retrieval_temperature"]
        if settings["attention_kind"] == "projected":
            known, weights = layer.attend(inputs, slots, now.rotation if settings["rotate_memory"] else None, bias)
        else:
            scores = inputs @ slots.transpose(1, 2) * inputs.shape[-1] ** -0.5
            weights = (scores if bias is None else scores + bias[:, None]).float().softmax(-1)
            known = weights.to(slots.dtype) @ slots
        if "alpha" not in kept:
            mixed = (weights[last][:, None].to(slots.dtype) @ slots)[:, 0]
            pair = (mixed, inputs[last]) if settings["alpha_operands"] == "mixture" else (known[last], outputs[last])
            kept["alpha"] = self._alpha(own, *pair)
        alpha = 1 - kept["alpha"] if settings["alpha_convention"] == "printed" else kept["alpha"]
        share = alpha[:, None, None].to(outputs.dtype)
        return (1 - share) * outputs + share * known

    def _retrieve(self, own: dict[str, Tensor], queries: Tensor) -> dict[str, Tensor]:
        unit = normalize(queries.float(), dim=-1)
        cosines, found = (unit @ own["keys"].T).topk(min(self.settings["top_k"], len(own["keys"])), dim=1)
        slots = own["values"][found].to(queries.dtype)
        if "own.keys" not in own:
            return {"slots": slots, "cosines": cosines}
        near = cosine_similarity(own["own.keys"].float()[None], queries.float()[:, None], dim=-1)
        near = near.masked_fill(~own["own.live"], -torch.inf)
        mine = own["own.values"].to(slots.dtype).expand(len(queries), -1, -1)
        return {"slots": torch.cat([slots, mine], 1), "cosines": torch.cat([cosines, near], 1)}

    def _alpha(self, own: dict[str, Tensor], known: Tensor, reference: Tensor) -> Tensor:
        settings = self.settings
        if settings["alpha"] != "dynamic":
            return torch.full((len(known),), float(settings["alpha"]), device=known.device)
        number, made = 0, known.float()
        while f"encoder.{number}.weight" in own:
            made = gelu(made) if number else made
            made = linear(made, own[f"encoder.{number}.weight"], own[f"encoder.{number}.bias"])
            number += 1
        similarity = cosine_similarity(made, reference.float(), dim=-1)
        return (similarity.clamp(min=0) * settings["alpha_scale"]).clamp(max=1)
