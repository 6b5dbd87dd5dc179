"""What the unedited model makes of questions, at their last prompt token."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.oom import oom_as_input_error
from unike_lib.types import Query

ROWS = 64  # questions of a pass


@torch.no_grad()
def prompt_states(backbone: Backbone, queries: Sequence[Query], layers: Sequence[int]) -> Tensor:
    """Return s = LN1(h) of the unedited model at each question's last prompt token, [row, layer, d].

    A question is run once per process; not even that if the cache has its states on disk. Answers make no difference.
    """
    questions = [replace(query, answer=None) for query in queries]
    known = {query: backbone.cache.prompt_states(query, layers) for query in dict.fromkeys(questions)}
    fresh = [query for query, states in known.items() if states is None]
    for start in range(0, len(fresh), ROWS):
        part = fresh[start : start + ROWS]
        for query, states in zip(part, _run(backbone, part, layers), strict=True):
            backbone.cache.remember_prompt_states(query, layers, states)
            known[query] = states
    return torch.stack([states for query in questions if (states := known[query]) is not None])


def _run(backbone: Backbone, queries: Sequence[Query], layers: Sequence[int]) -> Tensor:
    batch, entering, reached = backbone.encode(queries), {}, 0
    rows = torch.arange(len(queries), device=batch.lengths.device)
    with oom_as_input_error(batch.mask):
        hidden = backbone.decoder.start(batch.embeddings)
        masks = backbone.decoder.masks(hidden, batch.sees, batch.positions, batch.mask)
        for layer in sorted(set(layers)):
            below, reached = range(reached, layer), layer
            hidden = backbone.decoder.through(hidden, below, masks)
            entering[layer] = hidden[rows.to(hidden.device), batch.last_prompt.to(hidden.device)]
    return torch.stack([backbone.attention_input(layer, entering[layer]) for layer in layers], 1)
