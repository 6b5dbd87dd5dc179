"""The experts of edits behind one layer, and which of them a question keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part, undone_where_failed
from unike_lib.methods.liveedit.network import LiveEditNetwork, Spans, similarity, soft_weights

NAMES = ("vision", "text", "inputs", "outputs", "live")


@dataclass(frozen=True)
class Experts(Part):
    """What experts of edits add to the states that leave a layer.

    vision, text [session, edit, query, width]: the edits' features; inputs U, outputs V [session, edit, rank, d]; live,
    bool [session, edit]: an edit without a picture, or one that failed, has an expert that no question keeps.
    layer, network and strength, a factor on what is added, are the same for all.
    """

    layer: int
    network: LiveEditNetwork
    strength: float
    vision: Tensor
    text: Tensor
    inputs: Tensor
    outputs: Tensor
    live: Tensor

    @property
    def first_layer(self) -> int | None:
        """The layer that experts stand behind."""
        return self.layer

    def sees_all(self, layer: int) -> bool:
        """Behind the layer of experts: picture and prompt say what a question keeps, wherever it is read."""
        return layer == self.layer

    def tensors(self) -> dict[str, Tensor]:
        """Return features, experts, and which are live."""
        return {name: getattr(self, name) for name in NAMES}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Experts":
        """Return the experts that such tensors hold."""
        own: dict[str, Any] = dict(tensors)
        return replace(self, **own)

    def append(self, more: "Experts") -> "Experts":
        """Return these experts and, behind them, those of further edits."""
        new = more.tensors()
        return self.with_tensors({name: torch.cat([own, new[name]], 1) for name, own in self.tensors().items()})

    def revert(self, ok: Tensor, previous: "Experts | None") -> "Experts":
        """Return the experts; where `ok` fails, those of `previous`, with nothing in the place of this edit."""
        return self.with_tensors(undone_where_failed(ok, self, previous))

    def block(self, layer: DecoderLayer, hidden: Tensor, context: PassContext) -> Tensor:
        """Return the states that leave the layer with what experts add, at all tokens of a row.

        What a row keeps is chosen when its prompt is read; tokens that follow go by it.
        """
        if layer.index != self.layer:
            return hidden
        kept = context.kept_by(self, layer.index)
        states = hidden.to(self.inputs)
        if "weights" not in kept:
            kept["weights"] = self.weights(states, Spans.of(context, hidden.shape[1]))
        weights = kept["weights"]
        if not weights.any():
            return hidden
        grouped = [each.unflatten(0, (len(self.live), -1)) for each in (states, weights)]
        added = self.network.residual(grouped[0], self.inputs, self.outputs, grouped[1]).flatten(0, 1)
        return hidden + (self.strength * added).to(hidden)

    def weights(self, states: Tensor, spans: Spans) -> Tensor:
        """Return the weight of each expert [row, edit]: 0 where its picture is not nearer than the prototype."""
        asked = self.network.of_questions(states, spans)
        own, text, prototype = (
            each.unflatten(0, (len(self.live), -1))
            for each in (asked.vision, asked.text, self.network.prototype_feature(states, spans))
        )
        seen = spans.picture.any(1).view(len(self.live), -1, 1)
        nearer = similarity(own, self.vision) > similarity(own, prototype).diagonal(dim1=-2, dim2=-1)[..., None]
        kept = nearer & seen & self.live[:, None]
        return soft_weights(similarity(text, self.text), kept).flatten(0, 1)
