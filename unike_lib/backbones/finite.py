"""A model whose logits are not numbers, named as such: the layer where it begins, and the dtype."""

from collections.abc import Sequence

import torch

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Batch
from unike_lib.backbones.positions import name_query
from unike_lib.types import InputError, Query


def refuse_unfinite(backbone: Backbone, queries: Sequence[Query], batch: Batch, finite: Sequence[bool]) -> None:
    """Say where the unedited model's numbers end.

    Raises:
        InputError: names the folder, the layer, the dtype and the first question whose row is not `finite`.
    """
    if all(finite):
        return
    row = list(finite).index(False)
    dtype = str(next(backbone.model.parameters()).dtype).removeprefix("torch.")
    advice = "take bfloat16 or float32" if dtype == "float16" else "its weights are damaged, or not made for this dtype"
    folder = getattr(backbone.model, "name_or_path", "") or "backbone"
    raise InputError(
        f"{folder}: the unedited model's logits are not numbers (NaN or infinite), from {_first(backbone, batch, row)} "
        f"on, in {dtype}, at {name_query(queries[row])}; {advice}"
    )


@torch.no_grad()
def _first(backbone: Backbone, batch: Batch, row: int) -> str:
    """Return what first gives something that is no number for a row."""
    decoder, length = backbone.decoder, int(batch.lengths[row])
    hidden = batch.embeddings[row : row + 1, :length]
    positions = None if batch.positions is None else batch.positions[:, row : row + 1, :length]
    sees = None if batch.sees is None else batch.sees[row : row + 1, :length, :length]
    if not hidden.isfinite().all():
        return "the embeddings or visual tokens"
    hidden = decoder.start(hidden)
    for layer in decoder.layers:
        hidden = decoder.run(hidden, [layer.index], sees=sees, positions=positions)
        if not hidden.isfinite().all():
            return f"layer {layer.index} of {len(decoder.layers)}"
    return "the projection onto the vocabulary"
