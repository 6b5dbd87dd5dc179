"""Tokens that rows have in common are run once: those behind the same beginning; and padding is not run at all.

Under a causal mask a token's states depend on nothing behind it, so where rows agree up to a token they agree in it in
all layers: in a layout's chat marks, in the picture and in whatever else several questions begin with. Matrices, norms
and the FFN see each such token once; attention sees whole rows.
"""

from collections.abc import Iterable
from functools import cached_property
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from unike_lib.backbones.decoder import ALIKE, WINDOWED, Decoder
from unike_lib.backbones.edit import Edit, PassContext, Trace

FEWEST = 128  # tokens that are run less often: for fewer, finding and copying them costs more than it saves
PAST = "past_key_values"
PLAIN, NAME = "sdpa", "sdpa_of_shared_tokens"  # kinds of attention, as the transformers library names them
ONCE = "shared_tokens"


def share_tokens(decoder: Decoder) -> None:
    """Make a decoder run what rows have in common once, wherever no edit acts."""
    if decoder.stack.config._attn_implementation != PLAIN:
        return
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    decoder.model.set_attn_implementation(NAME)
    setattr(decoder, "masks", MethodType(_masks, decoder))  # noqa: B010  (mypy: a method)
    setattr(decoder, "through", MethodType(_through, decoder))  # noqa: B010


class Alike:
    """Which tokens of rows are the same, behind the same beginning.

    Args:
        hidden: of the tokens, [row, token, d].
        real: which of them are not padding, bool [row, token]; None: all. Padding gets the states of some other token.
        positions: where they are, [..., row, token]; None: at their places, in all rows.
    """

    def __init__(self, hidden: Tensor, real: Tensor | None, positions: Tensor | None = None) -> None:
        self._hidden = hidden
        self._positions = () if positions is None else positions.reshape(-1, *positions.shape[-2:]).to(hidden.device)
        self._real = hidden.new_ones(hidden.shape[:2], dtype=torch.bool) if real is None else real.to(hidden.device)

    @cached_property
    def place(self) -> Tensor:
        """The number of each token among those that differ, [row, token]."""
        rows, tokens = self._real.shape
        values = torch.unique(self._hidden.flatten(0, 1), dim=0, return_inverse=True)[1].view(rows, tokens)
        for each in self._positions:
            pairs = torch.stack([values, each.expand(rows, -1)], -1).flatten(0, 1)
            values = torch.unique(pairs, dim=0, return_inverse=True)[1].view(rows, tokens)
        real = self._real.cpu()
        values = values.cpu().masked_fill(~real, -1)  # a card would be waited for once per place
        before, found, places = values.new_zeros(rows), 0, []
        for value in values.T:
            before = torch.unique(torch.stack([before, value]), dim=1, return_inverse=True)[1]
            places.append(before + found)
            found += int(before.max()) + 1
        # Numbers without gaps, padding left out.
        numbers, place = torch.unique(torch.stack(places, 1).masked_fill(~real, -1), return_inverse=True)
        return (place - int(numbers[0] < 0)).clamp(min=0).to(self._hidden.device)

    @cached_property
    def first(self) -> Tensor:
        """Where each of those that differ stands, as row * tokens + token: [node]."""
        flat = self.place.flatten()[self._real.flatten()]
        where = self._real.flatten().nonzero()[:, 0]
        return where.new_empty(int(flat.max()) + 1).scatter_(0, flat, where)

    @property
    def saves(self) -> bool:
        """Whether enough tokens are alike."""
        return self.place.numel() - len(self.first) >= FEWEST

    def once(self, values: Tensor) -> Tensor:
        """Return [1, node, ...] of values [row or 1, token, ...]."""
        return values.expand(len(self.place), *values.shape[1:]).flatten(0, 1)[self.first.to(values.device)][None]

    def whole(self, values: Tensor) -> Tensor:
        """Return [row, token, ...] of values [1, node, ...]."""
        return values[0, self.place.to(values.device)]


def _masks(
    decoder: Decoder,
    hidden: Tensor,
    sees: Tensor | None,
    positions: Tensor | None = None,
    real: Tensor | None = None,
) -> dict[str, Any]:
    """Return what `Decoder.masks` returns, with which tokens are alike."""
    return Decoder.masks(decoder, hidden, sees, positions) | {ALIKE: Alike(hidden, real, positions)}


def _through(
    decoder: Decoder,
    hidden: Tensor,
    layers: Iterable[int],
    masks: dict[str, Any],
    edit: Edit | None = None,
    context: PassContext | None = None,
) -> Tensor:
    """Return the states [row, token, d] after the given layers, as `Decoder.through`."""
    causal = masks["attention_mask"] is None and not masks[WINDOWED]
    alike = masks.get(ALIKE)
    if edit is not None or not causal or torch.is_grad_enabled() or alike is None or not alike.saves:
        return Decoder.through(decoder, hidden, layers, masks, edit, context)
    own = masks | {ONCE: alike, PAST: _Whole(masks.get(PAST), alike)}
    if "position_embeddings" in masks:
        own["position_embeddings"] = tuple(map(alike.once, masks["position_embeddings"]))
    trace = None if context is None or context.trace is None else Trace(context.trace.states)
    passing = None if context is None else PassContext(context.last_prompt, trace)
    states = alike.once(hidden)
    for index in layers:
        states = decoder.layers[index].forward(states, own, None, passing)
    if trace is not None and context is not None and context.trace is not None:
        for name in ("attention_inputs", "ffn_inputs"):
            found = getattr(trace, name).items()
            getattr(context.trace, name).update({index: alike.whole(values) for index, values in found})
    return alike.whole(states)


class _Whole:
    """Keys and values of whole rows, for attention that is given those of each token once.

    kept: gets them, if they are to be kept.
    """

    def __init__(self, kept: Any, alike: Alike) -> None:
        self._kept, self._alike = kept, alike

    def update(self, keys: Tensor, values: Tensor, index: int, *more: Any, **settings: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values [row, head, token, head_d] of those of each token once, [1, head, node, head_d]."""
        keys, values = (self._alike.whole(each.transpose(1, 2)).transpose(1, 2) for each in (keys, values))
        if self._kept is not None:
            self._kept.update(keys, values, index)
        return keys, values


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Return the attention's output [row, token, head, head_d]; of each token once, [1, node, head, head_d]."""
    alike = settings.pop(ONCE, None)
    if alike is None:
        return sdpa_attention_forward(module, query, key, value, mask, **settings)
    query = alike.whole(query.transpose(1, 2)).transpose(1, 2)
    return alike.once(sdpa_attention_forward(module, query, key, value, mask, **settings)[0]), None
