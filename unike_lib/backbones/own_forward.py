"""A model's own forward against ours, layer by layer, on a fixed question: checked when a folder is opened.

Norms, biases, the kind of rotary positions, windows and scales are the model's own modules and its config; how they
hang together is what a `DecoderLayout` says. Where that is not so, the states behind some layer differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.folder import opening
from unike_lib.types import InputError, Query

QUESTION = "What is this? A red cat sits on the left of an owl."
TOKENS = 12  # of the question that are asked, at most
WINDOW = 4  # tokens; a layer with a wider window has this one meanwhile, else the question would not leave it
# Lengths of the states by which they may differ. The same kernels run in the same order on both sides.
BOUNDS = {torch.float32: 1e-3, torch.float64: 1e-3}
HALF = 0.03


@torch.no_grad()
def check_own_forward(folder: str | Path, backbone: Backbone) -> None:
    """Refuse a model whose decoder, run layer by layer, gives other states or logits than its own forward.

    Raises:
        InputError: names the folder, the first layer behind which states differ, and by how much; or says what cannot
            be run.
    """
    decoder = backbone.decoder
    ids = backbone.prompt_ids(Query(None, QUESTION, style="plain"))[:TOKENS]
    tokens = torch.tensor([ids], device=backbone.model.get_input_embeddings().weight.device)
    with _narrow(decoder), opening(folder, "decoder"):
        theirs = _their_states(backbone, tokens)
        ours = _our_states(backbone, tokens)
    dtype = next(backbone.model.parameters()).dtype
    bound = BOUNDS.get(dtype, HALF)
    apart = torch.stack([_apart(*pair).to("cpu") for pair in zip(ours, theirs, strict=True)]).tolist()
    for place, size in enumerate(apart):
        if size > bound:
            raise InputError(
                f"{folder}: run layer by layer, the decoder differs from the model's own forward from "
                f"{_name(place, len(decoder.layers))} on, by {size:.3g} of the length there (bound {bound:g}); "
                f"expected a decoder put together as {decoder.model.config.model_type!r} is known here"
            )


def _name(place: int, depth: int) -> str:
    """Return what gives the states of a place: embeddings, a layer, or what follows the last one."""
    return "the embeddings" if place == 0 else f"layer {place - 1} of {depth}" if place <= depth else "the logits"


def _their_states(backbone: Backbone, tokens: Tensor) -> list[Tensor]:
    """Return what enters the first layer and leaves each, [row, token, d], and the logits, of the model itself."""
    decoder, found = backbone.decoder, {}
    # A decoder with a head of its own is a whole model; others are asked through the one around them.
    whole = any(module is decoder.head for module in decoder.model.modules())
    model = decoder.model if whole else backbone.model

    def enters(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        found[-1] = given[0] if given else named["hidden_states"]

    handles = [decoder.layers[0].module.register_forward_pre_hook(enters, with_kwargs=True)]
    for layer in decoder.layers:
        keep = lambda _, __, left, index=layer.index: found.update({index: left})  # noqa: E731
        handles.append(layer.module.register_forward_hook(keep))
    try:
        logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    states = [found[place] for place in range(-1, len(decoder.layers))]
    return [each if isinstance(each, Tensor) else each[0] for each in states] + [logits]


def _our_states(backbone: Backbone, tokens: Tensor) -> list[Tensor]:
    """Return the same states of our own run."""
    decoder = backbone.decoder
    states = [decoder.start(backbone.embed(tokens)[..., : backbone.width])]
    masks = decoder.masks(states[0], None)
    for layer in decoder.layers:
        states.append(layer.forward(states[-1], masks, None, None))
    return [*states, decoder.logits(decoder.finish(states[-1]))]


@contextmanager
def _narrow(decoder: Decoder) -> Iterator[None]:
    """Let a window that is wider than the question be narrow meanwhile, in our masks and in the model's."""
    config, ours = decoder.stack.config, decoder.window
    theirs = getattr(config, "sliding_window", None)
    if isinstance(theirs, int) and theirs > WINDOW:
        config.sliding_window = WINDOW
        decoder.window = None if ours is None else WINDOW
    try:
        yield
    finally:
        if isinstance(theirs, int) and theirs > WINDOW:
            config.sliding_window, decoder.window = theirs, ours


def _apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the largest difference of a token's vector, relative to its length; both no numbers: none."""
    ours, theirs = ours.float(), theirs.to(ours.device).float()
    same = (ours == theirs) | (~ours.isfinite() & ~theirs.isfinite())
    difference = torch.where(same, 0.0, ours - theirs).norm(dim=-1)
    length = torch.where(theirs.isfinite(), theirs, 0.0).norm(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)
    return (difference / length).nan_to_num(nan=torch.inf).max()
