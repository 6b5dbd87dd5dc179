"""The semantic scope in a folder of its own: needs torch alone (`semantic_scope.SemanticScope`)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Scope:
    """keys, text_keys [edit, space, width], thresholds, temperatures [edit, space], live [edit]; by space pool, map."""

    def __init__(self, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        self.tensors, self.settings, self.reads = tensors, settings, settings["reads"]

    def begin(self, now: Any) -> None:
        """Say how far each row means each edit, by what the unedited model makes of its prompt."""
        own, settings = self.tensors, self.settings
        for place, (read, acts) in enumerate(zip(self.reads, settings["layers"], strict=True)):
            states, space = now.unedited[read].float(), own.get(f"map.{place}")
            asked = normalize(states if space is None else states @ space.to(states), dim=-1)
            cosines = (asked @ own["keys"][:, place].T).masked_fill(~own["live"], -torch.inf)
            nearest = (cosines / settings["tie"]).round().flip(1).max(1)
            edits = cosines.shape[1] - 1 - nearest.indices[:, None]
            near = cosines.gather(1, edits)
            share = ((near - own["thresholds"][edits, place]) / own["temperatures"][edits, place]).sigmoid()
            share = torch.where(share < settings["least"], 0.0, share)
            if f"pool.{place}" in own:
                share = share * (near >= (asked @ own[f"pool.{place}"].T).amax(1, keepdim=True))
            if settings["text_competes"]:
                texts = (asked @ own["text_keys"][:, place].T).masked_fill(~own["live"], -torch.inf)
                share = share * (near >= texts.amax(1, keepdim=True) - settings["tie"])
            now.shares[acts] = share if settings["one_gate"] else torch.zeros_like(cosines).scatter(1, edits, share)
