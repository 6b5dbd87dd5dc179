"""Keys and values of tokens that a model has seen, so that writing an answer runs each token once."""

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from unike_lib.backbones.decoder import Decoder, Edit, Place
from unike_lib.backbones.room import naming_memory


class Past:
    """Keys and values of the tokens that rows have seen.

    `real` [row, token] says which of them count; `place` what an edit read at the last prompt tokens; `saved` [row] how
    many positions a picture on a grid takes less than it has tokens.
    """

    def __init__(self, place: Place) -> None:
        self.cache = DynamicCache()
        self.real = torch.zeros(len(place.last_prompt), 0, dtype=torch.bool, device=place.last_prompt.device)
        self.place = place
        self.saved = torch.zeros_like(place.last_prompt)

    def select(self, rows: Tensor) -> None:
        """Keep these rows only, in ascending order [row]."""
        if len(rows) == len(self.real):
            return
        self.cache.batch_select_indices(rows.cpu())  # layers may lie on several cards
        self.real, self.saved = self.real[rows], self.saved[rows]
        self.place = self.place.select(rows)


def extend(
    decoder: Decoder,
    embeddings: Tensor,
    past: Past,
    real: Tensor,
    edit: Edit | None = None,
    positions: Tensor | None = None,
) -> Tensor:
    """Run new tokens through all layers, behind those that `past` has seen.

    Args:
        decoder: the model.
        embeddings: of the new tokens, [row, token, d], padded on the right; the first time with the whole prompts.
        past: what came before; the new tokens join it.
        real: which of them are not padding, bool [row, token].
        edit: the edit in force, the same each time.
        positions: the first time, of rows with pictures on a grid; None: they count on.

    Returns:
        The states that leave the last layer, [row, token, d].
    """
    rows, tokens = real.shape
    first = not past.real.shape[1]
    if positions is None:
        positions = (past.real.sum(1) - past.saved)[:, None] + torch.arange(tokens, device=real.device)
    else:
        last = real.sum(1) - 1
        past.saved = last - positions[0].gather(1, last[:, None])[:, 0]
    hidden = decoder.start(embeddings, positions)
    upto = torch.ones(tokens, tokens, dtype=torch.bool, device=real.device).tril()
    earlier = past.real[:, None].expand(rows, tokens, -1)
    sees = None if first else torch.cat([earlier, upto.expand(rows, -1, -1)], 2)
    masks = decoder.masks(hidden, sees, positions)
    with naming_memory(real):
        for layer in decoder.layers:
            hidden = layer.forward(hidden, {**masks, "past_key_values": past.cache}, edit, past.place)
    past.real = torch.cat([past.real, real], 1)
    return hidden
