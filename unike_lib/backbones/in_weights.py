"""An edit as changes of a model's weights, and those written into the model: matrices changed, FFNs widened.

New neurons widen the FFN of every layer alike, because a configuration has one size for all: where a layer has fewer
than the most, the others are zeros and add nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unike_lib.backbones.decoder import Decoder, DecoderLayer
from unike_lib.types import InputError

Place = tuple[int, str]  # layer, matrix


@dataclass(frozen=True)
class Factors:
    """A change of one matrix as outputs^T inputs: outputs [rank, out], inputs [rank, in]."""

    outputs: Tensor
    inputs: Tensor

    @property
    def whole(self) -> Tensor:
        """The change, [out, in], in float32."""
        return self.outputs.float().T @ self.inputs.float()


@dataclass(frozen=True)
class NewNeurons:
    """FFN neurons of one layer: keys [n, d] and key_bias [n] in front of the activation, values [n, d] behind it.

    up [n, d] and up_bias [n] multiply the activation in gated FFNs; None elsewhere.
    """

    keys: Tensor
    key_bias: Tensor
    values: Tensor
    up: Tensor | None = None
    up_bias: Tensor | None = None

    @property
    def biased(self) -> bool:
        """Whether a bias is not zero."""
        return any(bias is not None and bool(bias.any()) for bias in (self.key_bias, self.up_bias))


@dataclass(frozen=True)
class InWeights:
    """What one session's edits change: whole matrices [out, in], low-rank factors, neurons by layer."""

    changes: Mapping[Place, Tensor] = field(default_factory=dict)
    factors: Mapping[Place, Factors] = field(default_factory=dict)
    neurons: Mapping[int, NewNeurons] = field(default_factory=dict)

    @property
    def low_rank(self) -> bool:
        """Whether all of it is low-rank factors."""
        return bool(self.factors) and not self.changes and not self.neurons

    def joined(self, more: "InWeights") -> "InWeights":
        """Return both, of parts that change different things; changes of one matrix are added up."""
        changes = {**self.changes}
        for place, change in more.changes.items():
            changes[place] = changes[place] + change if place in changes else change
        factors = {**self.factors}
        for place, new in more.factors.items():
            old = factors.get(place)
            both = [new] if old is None else [old, new]
            factors[place] = Factors(torch.cat([e.outputs for e in both]), torch.cat([e.inputs for e in both]))
        if both_widen := sorted(self.neurons.keys() & more.neurons.keys()):
            raise InputError(f"edit: two parts have neurons of their own in layers {both_widen}; expected one")
        return InWeights(changes, factors, {**self.neurons, **more.neurons})


@torch.no_grad()
def write_into(decoder: Decoder, edit: InWeights, configs: Sequence[Any]) -> None:
    """Write an edit into a model of its own, whose forward then equals the unedited one's under the edit.

    Args:
        decoder: of the model, which changes.
        edit: what to write.
        configs: those that say the size of the decoder's FFN: its own, and the whole model's `text_config`.

    Raises:
        InputError: neurons have biases, and no configuration of this model can say so.
    """
    whole = {**{place: each.whole for place, each in edit.factors.items()}}
    for place, change in (*edit.changes.items(), *whole.items()):
        weight = decoder.layers[place[0]].part(place[1]).weight
        weight.data = (weight.data.float() + change.to(weight.device).float()).to(weight.dtype)
    if edit.neurons:
        _widen(decoder, edit.neurons, configs)


def _widen(decoder: Decoder, neurons: Mapping[int, NewNeurons], configs: Sequence[Any]) -> None:
    names, most = decoder.names, max(len(each.keys) for each in neurons.values())
    first = names.gate or names.up
    biased = decoder.layers[0].part(first).bias is not None
    if not biased and any(each.biased for each in neurons.values()):
        kind = str(configs[0].model_type)
        if not hasattr(configs[0], "mlp_bias"):
            raise InputError(
                f"edit: its neurons have biases, which the configuration of a {kind} decoder cannot say; expected the "
                "form 'loader' for this model"
            )
        biased = True
        for config in configs:
            config.mlp_bias = True
    size = getattr(configs[0], names.width_field) + most
    for config in configs:
        setattr(config, names.width_field, size)
    for layer in decoder.layers:
        own = neurons.get(layer.index) or _none_of(layer, names.gate is not None)
        _replace(layer, first, most, (own.keys, own.key_bias), biased)
        if names.gate is not None:
            assert own.up is not None and own.up_bias is not None
            _replace(layer, names.up, most, (own.up, own.up_bias), biased)
        _replace(layer, names.down, most, own.values, biased)


def _none_of(layer: DecoderLayer, gated: bool) -> NewNeurons:
    width = layer.part(layer.names.gate or layer.names.up).in_features
    keys, bias = torch.zeros(0, width), torch.zeros(0)
    return NewNeurons(keys, bias, keys, keys if gated else None, bias if gated else None)


def _replace(layer: DecoderLayer, name: str, most: int, new: tuple[Tensor, Tensor] | Tensor, biased: bool) -> None:
    """Put a wider matrix in the place of one: new rows with their biases, or (a tensor alone) new columns."""
    old = layer.part(name)
    weight, bias = old.weight.data, None if old.bias is None else old.bias.data
    if biased and bias is None:
        bias = weight.new_zeros(len(weight))
    if isinstance(new, tuple):
        rows, row_bias = (_padded(each, most).to(weight) for each in new)
        weight = torch.cat([weight, rows])
        bias = None if bias is None else torch.cat([bias, row_bias])
    else:
        weight = torch.cat([weight, _padded(new, most).to(weight).T], 1)
    wider = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    wider.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        wider.bias = nn.Parameter(bias, requires_grad=False)
    layer.module.set_submodule(name, wider)


def _padded(rows: Tensor, most: int) -> Tensor:
    """Return rows with zeros behind them."""
    return torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
