"""Extra neurons in the FFN of some layers, in every session its own: an FFN widened by n (UniKE Eq. 3, T-Patcher)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.in_weights import InWeights, NewNeurons
from unike_lib.editing.patch import by_session
from unike_lib.editing.standalone import Standalone
from unike_lib.methods.shared.per_edit import PerEdit, meant

NEURON_AXIS = {"keys": 2, "key_bias": 1, "values": 1, "up": 2, "up_bias": 1}


@dataclass(frozen=True)
class Neurons:
    """Extra FFN neurons of one layer: exactly an FFN widened by n (UniKE Eq. 3).

    keys [session, d, n] and key_bias [session, n] feed the activation (OPT's fc1, Llama's gate); up and up_bias, of the
    same shapes, multiply it in gated FFNs and are None elsewhere; values [session, n, d].
    """

    keys: Tensor
    key_bias: Tensor
    values: Tensor
    up: Tensor | None = None
    up_bias: Tensor | None = None

    def before_activation(self, inputs: Tensor) -> Tensor:
        """Return q K + b, [row, token, n]."""
        return _affine(inputs, self.keys, self.key_bias)

    def output(self, layer: DecoderLayer, inputs: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return what the neurons add to FFN(q), [row, token, d]; `shares` [row, 1]: as far as that."""
        activated = layer.activate(self.before_activation(inputs))
        if self.up is not None and self.up_bias is not None:
            activated = activated * _affine(inputs, self.up, self.up_bias)
        if shares is not None:
            activated = activated * shares[:, None].to(activated.dtype)
        return by_session(activated, self.values)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are there, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def widened(self, more: "Neurons") -> "Neurons":
        """Return these neurons and more beside them."""
        mine, theirs = self.tensors(), more.tensors()
        return Neurons(**{name: torch.cat([mine[name], theirs[name]], NEURON_AXIS[name]) for name in mine})

    def of_edits(self, sessions: Tensor, numbers: Tensor, edits: int) -> "Neurons":
        """Return the neurons of some edits of some sessions, side by side.

        Args:
            sessions: [row].
            numbers: of the edits, [row, edit].
            edits: how many each session has, all with as many neurons.
        """
        found = {}
        for name, value in self.tensors().items():
            axis = NEURON_AXIS[name]
            by_edit = value.unflatten(axis, (edits, value.shape[axis] // edits)).movedim(axis, 1)
            found[name] = by_edit[sessions[:, None], numbers].movedim(1, axis).flatten(axis, axis + 1)
        return Neurons(**found)

    def silenced(self, ok: Tensor, known: int) -> "Neurons":
        """Return the neurons without those after the first `known` where `ok` [session] fails: their values are 0."""
        mask = ok[:, None] | (torch.arange(self.keys.shape[2], device=ok.device) < known)
        clean = {name: torch.nan_to_num(value) for name, value in self.tensors().items()}
        values = torch.where(mask[:, :, None], clean["values"], torch.zeros_like(clean["values"]))
        return Neurons(**{**clean, "values": values})


def _affine(inputs: Tensor, matrices: Tensor, bias: Tensor) -> Tensor:
    tokens = inputs.shape[1]
    per_row = bias.repeat_interleave(inputs.shape[0] // bias.shape[0], 0)
    return by_session(inputs, matrices) + per_row[:, None, :].to(inputs.dtype).expand(-1, tokens, -1)


@dataclass(frozen=True)
class ExtraNeurons(PerEdit):
    """The neurons of every layer that has some; where an edit's scope covers a row in part, its own put out less.

    size: neurons of an edit; None: all neurons are one edit's.
    """

    layers: Mapping[int, Neurons] = field(default_factory=dict)
    size: int | None = None

    @property
    def edits(self) -> int:
        """How many edits each session has."""
        neurons = next((group.keys.shape[2] for group in self.layers.values()), 0)
        return neurons // (self.size or neurons or 1)

    @property
    def first_layer(self) -> int | None:
        """The first layer with neurons."""
        return min(self.layers, default=None)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors as "layer.name"."""
        groups = self.layers.items()
        return {f"{layer}.{name}": value for layer, group in groups for name, value in group.tensors().items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "ExtraNeurons":
        """Return the neurons that such tensors hold."""
        groups: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            layer, part = name.split(".")
            groups.setdefault(int(layer), {})[part] = value
        return replace(self, layers={layer: Neurons(**parts) for layer, parts in groups.items()})

    def append(self, more: "ExtraNeurons") -> "ExtraNeurons":
        """Return these neurons and more beside them."""
        old = self.layers
        merged = {layer: old[layer].widened(new) if layer in old else new for layer, new in more.layers.items()}
        return replace(self, layers={**old, **merged})

    def revert(self, ok: Tensor, previous: "ExtraNeurons | None") -> "ExtraNeurons":
        """Return the neurons; where `ok` fails, those that `previous` has not are silent."""
        old = {} if previous is None else previous.layers
        known = {layer: old[layer].keys.shape[2] if layer in old else 0 for layer in self.layers}
        return replace(self, layers={layer: group.silenced(ok, known[layer]) for layer, group in self.layers.items()})

    def in_weights(self) -> InWeights:
        """Return the neurons, as they act without a scope."""
        found = {}
        for layer, group in self.layers.items():
            own = {name: value[0] for name, value in group.tensors().items()}
            found[layer] = NewNeurons(**{n: v.T if n in ("keys", "up") else v for n, v in own.items()})
        return InWeights(neurons=found)

    def standalone(self) -> Standalone:
        """Return the neurons and how many an edit has."""
        own = {name: value[0] for name, value in self.tensors().items()}
        return Standalone((Path(__file__).with_name("beside_neurons.py"),), "Neurons", own, {"size": self.size})

    def ffn(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return the FFN output with that of the extra neurons, as far as rows are in scope."""
        if layer.index not in self.layers:
            return outputs
        group, shares = self.layers[layer.index], context.shares_at(layer.index)
        if shares is None:
            return outputs + group.output(layer, inputs)
        if shares.shape[1] == 1:
            return outputs + group.output(layer, inputs, shares)
        rows, edits, far = meant(shares)
        if not len(rows):
            return outputs
        sessions = rows * len(group.keys) // len(shares)
        more = group.of_edits(sessions, edits[:, None], self.edits).output(layer, inputs[rows], far[:, None])
        return outputs.index_add(0, rows, more.to(outputs.dtype))
