"""How far a decoder reaches: its positions, the windows of its layers, and the masks of such windows."""

import sys
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_sliding_window_causal_mask


def position_limit(config: Any) -> int:
    """Return how many positions a decoder has, stretched ones included; a model that says none has no limit."""
    most = getattr(config, "max_position_embeddings", None)
    if most is None:
        return sys.maxsize
    rotary = getattr(config, "rope_parameters", None) or {}
    trained = rotary.get("original_max_position_embeddings") or most
    return max(int(most), int(trained * (rotary.get("factor") or 1)))


def window_of(config: Any, attention: Any) -> int | None:
    """Return how many tokens a layer attends to, itself included; None: all before it."""
    if hasattr(attention, "sliding_window"):  # Qwen2 says it by layer
        window: int | None = attention.sliding_window
        return window
    return config.sliding_window if config.model_type == "mistral" else None


def windowed_mask(config: Any, hidden: Tensor, sees: Tensor | None, window: int) -> Any:
    """Return the mask of layers in which a token attends to itself and `window` - 1 tokens before it.

    `sees` is as in `Decoder.run`; a picture's tokens may see such that follow them, which the window does not cut.
    """
    if sees is None:
        return create_sliding_window_causal_mask(
            config=config, inputs_embeds=hidden, attention_mask=None, past_key_values=None
        )
    # Counted in tokens that are seen: among kept keys, padding and wrong guesses lie between them.
    upto = sees.tril(sees.shape[2] - sees.shape[1])
    near = sees & (upto.flip(-1).cumsum(-1).flip(-1) <= window)
    return torch.zeros_like(near, dtype=hidden.dtype).masked_fill(~near, torch.finfo(hidden.dtype).min)[:, None]
