"""How far a decoder reaches: its positions, the windows of its layers and their masks, and how far pictures do."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_sliding_window_causal_mask

from unike_lib.types import InputError

BY_LENGTH = ("dynamic", "longrope")  # kinds of rotary positions (transformers, modeling_rope_utils.py)
LAST = 4  # layers that are edited where nothing else is said


def position_limit(config: Any) -> int:
    """Return how many positions a decoder has, stretched ones included; a model that says none has no limit.

    Where rotary frequencies depend on how long the longest row is (`BY_LENGTH`), those up to which they do not: rows
    would say other things beside longer ones.
    """
    most = getattr(config, "max_position_embeddings", None)
    if most is None:
        return sys.maxsize
    rotary = getattr(config, "rope_parameters", None) or {}
    trained = rotary.get("original_max_position_embeddings") or most
    if rotary.get("rope_type") in BY_LENGTH:
        return min(int(most), int(trained))
    return max(int(most), int(trained * (rotary.get("factor") or 1)))


def layers_with_pictures(config: Any) -> int:
    """Return behind how many of a model's first layers something of a picture is added (Qwen3-VL's deepstack)."""
    vision = getattr(config, "vision_config", None)
    chosen = getattr(vision, "deepstack_visual_indexes", None) or ()
    return len({layer for layer in chosen if 0 <= layer < vision.depth}) if vision is not None else 0


def edited_layers(layers: Sequence[int] | None, depth: int, added: int = 0) -> tuple[int, ...]:
    """Return the layers that are edited, in order; None: the last four, as far as they can be.

    Args:
        layers: their numbers.
        depth: of the model.
        added: behind how many of its first layers something of a picture is added (`layers_with_pictures`).

    Raises:
        InputError: one is not there, or cannot be edited.
    """
    if depth <= added:
        raise InputError(
            f"layers: this model has {depth}, and adds pictures behind its first {added} layers; no layer can be edited"
        )
    chosen = tuple(sorted(layers)) if layers else tuple(range(max(added, depth - LAST), depth))
    if not all(0 <= layer < depth for layer in chosen):
        raise InputError(
            f"layers: {chosen} are not all within this model's {depth} layers; expected some of 0 to {depth - 1}"
        )
    refuse_below(chosen[0], depth, added)
    return chosen


def refuse_below(layer: int, depth: int, added: int) -> None:
    """Refuse a layer behind which something of a picture is still to be added; arguments as in `edited_layers`.

    Raises:
        InputError: says which layers can be edited.
    """
    if layer < added:
        raise InputError(
            f"layers: this model adds pictures behind its first {added} layers; "
            f"layers {added} to {depth - 1} can be edited, found {layer}"
        )


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
