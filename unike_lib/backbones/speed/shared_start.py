"""Rows that begin alike run their beginning once: a family's start token and chat marks stand before every picture.

Under a causal mask the states of the first tokens depend on nothing behind them, so where rows agree in them they agree
in all layers. MiniGPT-4's layout has eight such tokens, of some thirty of a question about a picture.
"""

from collections.abc import Iterable
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from unike_lib.backbones.decoder import WINDOWED, Decoder
from unike_lib.backbones.edit import Edit, PassContext, Trace

FEWEST = 256  # tokens that are run less often: for fewer, two calls of every layer cost more than they save
PAST = "past_key_values"


def share_starts(decoder: Decoder) -> None:
    """Make a decoder run what rows have in common in front once, wherever no edit acts."""
    setattr(decoder, "through", MethodType(_through, decoder))  # noqa: B010  (mypy: a method)


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
    count = common_start(hidden) if edit is None and causal and not torch.is_grad_enabled() else 0
    if count * (len(hidden) - 1) < FEWEST:
        return Decoder.through(decoder, hidden, layers, masks, edit, context)
    start, rest = hidden[:1, :count], hidden[:, count:]
    tokens = hidden.shape[1]
    sees = torch.ones(tokens - count, tokens, dtype=torch.bool, device=hidden.device).tril(count)
    both = _Behind(masks.get(PAST), len(hidden))
    of_start = _part(masks, slice(0, 1), slice(0, count)) | {PAST: both}
    of_rest = _part(masks, slice(None), slice(count, None)) | {PAST: both}
    of_rest["attention_mask"] = sees[None, None].expand(len(hidden), 1, -1, -1)
    traces = [None if context is None or context.trace is None else Trace(context.trace.states) for _ in range(2)]
    contexts = [None if context is None else PassContext(context.last_prompt, trace) for trace in traces]
    for index in layers:
        both.start = None
        start = decoder.layers[index].forward(start, of_start, None, contexts[0])
        rest = decoder.layers[index].forward(rest, of_rest, None, contexts[1])
    if context is not None and context.trace is not None:
        for name in ("attention_inputs", "ffn_inputs"):
            starts, rests = (getattr(trace, name) for trace in traces)
            getattr(context.trace, name).update({index: _joined(starts[index], rests[index]) for index in starts})
    return _joined(start, rest)


def common_start(hidden: Tensor) -> int:
    """Return in how many tokens in front all rows [row, token, d] agree; the last token of each is left over."""
    same = (hidden == hidden[:1]).all(2).all(0)
    return min(int(same.int().cumprod(0).sum()), hidden.shape[1] - 1)


def _joined(start: Tensor, rest: Tensor) -> Tensor:
    """Return whole rows [row, token, d] of their common beginning [1, token, d] and the rest of each."""
    return torch.cat([start.to(rest.device).expand(len(rest), -1, -1), rest], 1)


def _part(masks: dict[str, Any], rows: slice, tokens: slice) -> dict[str, Any]:
    """Return the masks of some rows' tokens, with the places that these have: cos and sin [row or 1, token, head_d]."""
    places = masks.get("position_embeddings")
    return masks if places is None else masks | {"position_embeddings": tuple(each[rows, tokens] for each in places)}


class _Behind:
    """Keys and values of a layer's common beginning, which attention asks for with those of the rest of the rows.

    whole: gets those of whole rows, if they are to be kept.
    """

    def __init__(self, whole: Any, rows: int) -> None:
        self.start: tuple[Tensor, Tensor] | None = None
        self._whole, self._rows = whole, rows

    def update(self, keys: Tensor, values: Tensor, index: int, *more: Any, **settings: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values of all tokens up to these, [row, head, token, head_d]."""
        if self.start is None:
            self.start = keys, values
            return self.start
        pairs = zip(self.start, (keys, values), strict=True)
        keys, values = (torch.cat([start.expand(self._rows, -1, -1, -1), rest], 2) for start, rest in pairs)
        if self._whole is not None:
            self._whole.update(keys, values, index)
        return keys, values
