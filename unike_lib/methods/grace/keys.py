"""What a codebook is keyed by: the states that enter a layer's down-projection at the last prompt token."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.backbones.oom import oom_as_input_error
from unike_lib.types import Query

ROWS = 64  # questions of a pass


@torch.no_grad()
def key_states(backbone: Backbone, trunk: Prepared, layer: int) -> Tensor:
    """Return the states of questions [row, in], given their rows in front of the layer."""
    module, batch, entering = backbone.decoder.layers[layer], trunk.batch, dict[str, Tensor]()
    with oom_as_input_error(batch.mask):
        masks = backbone.decoder.masks(trunk.hidden, batch.sees, batch.positions)
        hidden = module.through_attention(trunk.hidden, masks, None, None)
        last = hidden[torch.arange(len(hidden), device=hidden.device), batch.last_prompt]
        # The FFN says what enters each of its matrices; nothing is added to their outputs.
        module.ffn(module.part(module.names.ffn_norm)(last)[:, None], entering.__setitem__)
    return entering[module.names.down][:, 0]


def question_states(backbone: Backbone, queries: Sequence[Query], layer: int) -> Tensor:
    """Return the states of questions [row, in]; answers make no difference."""
    asked, parts = [replace(query, answer=None) for query in queries], []
    for start in range(0, len(asked), ROWS):
        parts.append(key_states(backbone, backbone.prepare(asked[start : start + ROWS], layer), layer))
    return torch.cat(parts)
