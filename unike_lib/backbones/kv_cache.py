"""Keys and values of tokens that a model has seen, so that writing an answer runs each token once."""

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.edit import Edit, PassContext
from unike_lib.backbones.oom import oom_as_input_error


class KVCache:
    """Keys and values of the tokens that rows have seen.

    `mask` [row, token] says which of them count; `context` what an edit read at the last prompt tokens; `positions`
    [3, row, token] are those of prompts with pictures on a grid, `saved` [row] how many positions such a picture takes
    less than it has tokens; `sees` [row, token, token] is that of the prompts (`Batch`).
    """

    def __init__(self, context: PassContext, positions: Tensor | None = None, sees: Tensor | None = None) -> None:
        self.cache = DynamicCache()
        self.mask = torch.zeros(len(context.last_prompt), 0, dtype=torch.bool, device=context.last_prompt.device)
        self.context, self.positions, self.sees = context, positions, sees
        self.saved = torch.zeros_like(context.last_prompt)

    def places(self, real: Tensor) -> Tensor:
        """Return the positions [row, token] of new tokens, or [3, row, token] of prompts with pictures on a grid."""
        if self.positions is None or self.mask.shape[1]:
            return (self.mask.sum(1) - self.saved)[:, None] + torch.arange(real.shape[1], device=real.device)
        last = real.sum(1) - 1
        self.saved = last - self.positions[0].gather(1, last[:, None])[:, 0]
        return self.positions

    def select(self, rows: Tensor) -> None:
        """Keep these rows only, in ascending order [row]."""
        if len(rows) == len(self.mask):
            return
        self.cache.batch_select_indices(rows.cpu())  # layers may lie on several cards
        self.mask, self.saved = self.mask[rows], self.saved[rows]
        self.context = self.context.select(rows)


def forward_with_cache(
    decoder: Decoder,
    entering: Tensor,
    past: KVCache,
    real: Tensor,
    edit: Edit | None = None,
    layers: range | None = None,
) -> Tensor:
    """Run new tokens through layers, behind those that `past` has seen.

    Args:
        decoder: the model.
        entering: of the new tokens, padded on the right, [row, token, d]: embeddings, or the states that enter the
            first of `layers`. The first time these are the whole prompts; `past.positions` are those of rows with
            pictures on a grid.
        past: what came before; the new tokens join it.
        real: which of them are not padding, bool [row, token].
        edit: the edit in force, the same each time.
        layers: layers that follow each other; None: all.

    Returns:
        The states that leave the last of the layers, [row, token, d].
    """
    rows, tokens = real.shape
    layers = range(len(decoder.layers)) if layers is None else layers
    first, positions = not past.mask.shape[1], past.places(real)
    hidden = entering if layers.start else decoder.start(entering, positions)
    upto = torch.ones(tokens, tokens, dtype=torch.bool, device=real.device).tril()
    earlier = past.mask[:, None].expand(rows, tokens, -1)
    sees = past.sees if first else torch.cat([earlier, upto.expand(rows, -1, -1)], 2)
    masks = decoder.masks(hidden, sees, positions, real) | {"past_key_values": past.cache}
    past.context.positions = None if first else past.mask.sum(1)[:, None] + torch.arange(tokens, device=real.device)
    if edit is not None and first:
        edit.begin(past.context)
    with oom_as_input_error(real):
        hidden = decoder.through(hidden, layers, masks, edit, past.context)
    past.mask = torch.cat([past.mask, real], 1)
    return hidden
