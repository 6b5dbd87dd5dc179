"""Memories in which every row of a batch has a slot of its own, and the latent shift alone over them."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Batch
from unike_lib.backbones.edit import Trace
from unike_lib.editing.patch import Patch
from unike_lib.knowledge.extraction import states_of_answers
from unike_lib.knowledge.memory import Searched
from unike_lib.knowledge.states import VALUE_COLUMNS
from unike_lib.methods.unike.latent_shift import LatentShift
from unike_lib.types import Query


class OwnSlots:
    """A memory for one batch: each row finds its own slot, then the best k - 1 of a pool if there is one.

    Args:
        own: layer -> h_pos [row, d].
        pool: searched for the other k - 1.
    """

    def __init__(self, own: Mapping[int, Tensor], pool: Searched | None = None) -> None:
        self.layers = tuple(sorted(own))
        self._pool = pool
        self.values = {
            layer: own[layer] if pool is None else torch.cat([pool.values[layer], own[layer]]) for layer in self.layers
        }

    def __len__(self) -> int:
        return len(self.values[self.layers[0]])

    def search(self, layer: int, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return ids and cosines [row, k]: each row's own slot (cosine 1), the best others for each query [row, d]."""
        own = torch.arange(len(self) - len(queries), len(self), device=queries.device)[:, None]
        certain = torch.ones(own.shape, device=queries.device)
        if self._pool is None or k == 1:
            return own, certain
        found, cosines = self._pool.search(layer, queries, k - 1)
        return torch.cat([own, found], 1), torch.cat([certain, cosines], 1)


@torch.no_grad()
def demonstration_states(backbone: Backbone, demonstrations: Sequence[Query], h_pos: str) -> dict[int, Tensor]:
    """Return layer -> h_pos [query, d] of questions with their answers, as the memory would store them.

    `h_pos` is "last" or "answer_mean".
    """
    batch, trace = backbone.encode(demonstrations), Trace()
    decoder = backbone.decoder
    hidden, context = decoder.start(batch.embeddings), batch.context(trace)
    decoder.run(hidden, range(len(decoder.layers)), None, context, sees=batch.sees, positions=batch.positions)
    column = VALUE_COLUMNS[h_pos]
    return {layer: states_of_answers(batch, states)[column] for layer, states in trace.attention_inputs.items()}


@torch.no_grad()
def states_entering(backbone: Backbone, batch: Batch, layers: Collection[int]) -> dict[int, Tensor]:
    """Return layer -> the states [row, token, d] that enter it; the number of layers stands for those that leave."""
    decoder, hidden, reached, found = backbone.decoder, backbone.decoder.start(batch.embeddings), 0, {}
    for layer in sorted(set(layers)):
        hidden, reached = decoder.run(hidden, range(reached, layer), sees=batch.sees, positions=batch.positions), layer
        found[layer] = hidden
    return found


@torch.no_grad()
def run_shifted(backbone: Backbone, entering: Mapping[int, Tensor], batch: Batch, shift: LatentShift) -> Tensor:
    """Return the last layer's states [row, token, d] under a latent shift and nothing else.

    Args:
        backbone: the unedited model.
        entering: from `states_entering`, with the shift's first layer among its layers.
        batch: the rows.
        shift: what is mixed in, in the layers of its memory.
    """
    first = shift.memory.layers[0]
    layers = range(first, len(backbone.decoder.layers))
    patch, context = Patch(1, (shift,)), batch.context()
    return backbone.decoder.run(entering[first], layers, patch, context, sees=batch.sees, positions=batch.positions)
