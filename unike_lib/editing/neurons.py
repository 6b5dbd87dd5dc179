"""Extra FFN neurons trained on one edit, with T-Patcher's activation and memory losses (T-Patcher, UniKE)."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.backbones.base import IGNORED, Backbone
from unike_lib.backbones.decoder import Trace
from unike_lib.backbones.rows import Trunk
from unike_lib.editing.editor import edit_loss
from unike_lib.editing.optimise import descend
from unike_lib.editing.patch import Neurons, Patch
from unike_lib.methods import NeuronMethod
from unike_lib.types import EditRequest

KEY_NOISE = 0.1


def activation_loss(activations: Tensor, top: int) -> Tensor:
    """Return exp(-u) averaged over the `top` largest activations before the non-linearity (T-Patcher, l_a), [session].

    activations: u = q k + b at the edit's answer tokens, [session, any]; padded places hold -inf.
    """
    largest = activations.topk(min(top, activations.shape[1]), dim=1).values
    present = torch.isfinite(largest)
    return (torch.where(present, -largest, -torch.inf).exp()).sum(1) / present.sum(1)


def memory_loss(memory: Tensor, own: Tensor, settings: NeuronMethod) -> Tensor:
    """Return T-Patcher's l_m1 + l_m2: unrelated states stay below a bound, and away from the edit's own activation.

    S(v; k) = mean of exp over the k largest; l_m1 = S(u_m - memory_margin), l_m2 = S(u_m - u_e + difference_margin).

    Args:
        memory: activations u_m of unrelated states before the non-linearity, [session, neuron, state].
        own: each neuron's largest activation u_e on the edit's answer tokens, [session, neuron].
        settings: margins and k.
    """
    bounded = _mean_exp(memory.flatten(1), settings.memory_top) * math.exp(-settings.memory_margin)
    apart = _mean_exp((memory - own[..., None]).flatten(1), settings.memory_top) * math.exp(settings.difference_margin)
    return bounded + apart


def _mean_exp(values: Tensor, top: int) -> Tensor:
    """Return exp averaged over the `top` largest values [session, any]; their order does not matter."""
    return values.topk(min(top, values.shape[1]), dim=1, sorted=False).values.exp().mean(1)


@dataclass(frozen=True)
class NeuronTrainer:
    """Trains new neurons in the edited layers for one request a session.

    ffn_inputs: layer -> unrelated FFN inputs [state, d] for the memory loss.
    """

    backbone: Backbone
    settings: NeuronMethod
    ffn_inputs: Mapping[int, Tensor]
    seed: int

    def new_neurons(self, requests: Sequence[EditRequest], trunk: Trunk, onto: Patch) -> dict[int, Neurons]:
        """Return fresh trainable neurons of every edited layer.

        Reading: keys start at h / |h|^2 of the FFN inputs h that predict the answer (neuron j takes answer token j mod
        length), with 10% noise so that neurons of one token differ; values start at zero; a gated FFN's extra factor
        starts at one.
        """
        trace = Trace()
        with torch.no_grad():
            edit_loss(self.backbone, trunk, onto, trace)
        where = trunk.batch.targets != IGNORED
        return {layer: self._fresh(requests, trace.ffn_inputs[layer], where, layer) for layer in self.backbone.layers}

    def _fresh(self, requests: Sequence[EditRequest], inputs: Tensor, where: Tensor, layer: int) -> Neurons:
        count, gated = self.settings.neurons, self.backbone.decoder.names.gate is not None
        columns = []
        for row, request in enumerate(requests):
            noise = torch.randn(count, inputs.shape[2], generator=_generator(request.id, layer, self.seed))
            noise = (noise / inputs.shape[2] ** 0.5).to(inputs.device)
            tokens = inputs[row][where[row]].float()
            states = tokens[torch.arange(count, device=inputs.device) % len(tokens)]
            if self.settings.key_init == "random":
                states, noise = noise * states.norm(dim=1, keepdim=True), torch.zeros_like(noise)
            length = states.norm(dim=1, keepdim=True)
            columns.append((states / length**2 + KEY_NOISE * noise / length).T)
        keys = torch.stack(columns)
        sessions, width, _ = keys.shape
        zeros = torch.zeros(sessions, count, device=keys.device)
        values = torch.zeros(sessions, count, width, device=keys.device)
        parts = {"keys": keys, "key_bias": zeros, "values": values}
        if gated:
            parts |= {"up": torch.zeros_like(keys), "up_bias": torch.ones_like(zeros)}
        return Neurons(**{name: part.clone().requires_grad_(True) for name, part in parts.items()})

    def losses(self, trunk: Trunk, onto: Patch, neurons: Mapping[int, Neurons]) -> Tensor:
        """Return cross-entropy + weighted activation and memory losses (averaged over layers), [session]."""
        trace = Trace()
        total = edit_loss(self.backbone, trunk, onto.with_neurons(neurons), trace)
        where = trunk.batch.targets != IGNORED
        for layer, group in neurons.items():
            activations = group.before_activation(trace.ffn_inputs[layer].float())
            activations = activations.masked_fill(~where[..., None], -torch.inf)
            weight = self.settings.activation_weight / len(neurons)
            if weight:
                total = total + weight * activation_loss(activations.flatten(1), self.settings.activation_top)
            weight = self.settings.memory_weight / len(neurons)
            if weight:
                keys = group.keys.transpose(1, 2).contiguous()  # else the product's gradient is slow for one session
                # One product for all sessions: [session * neuron, d] x [d, state].
                unrelated = (keys.flatten(0, 1) @ self.ffn_inputs[layer].T).unflatten(0, keys.shape[:2])
                unrelated = unrelated + group.key_bias[..., None]
                total = total + weight * memory_loss(unrelated, activations.amax(1), self.settings)
        return total

    def train(self, parameters: Sequence[Tensor], trunk: Trunk, onto: Patch, neurons: "NeuronSource") -> Tensor:
        """Train with Adam and return which sessions stayed finite; `neurons()` gives the neurons at each step."""
        optimiser = torch.optim.Adam(parameters, lr=self.settings.learning_rate)
        return descend(parameters, lambda: self.losses(trunk, onto, neurons()), optimiser, self.settings.steps)


class NeuronSource:
    """Neurons as a function of trainable parts; UniKE adds zeta' to the values here."""

    def __init__(self, fresh: Mapping[int, Neurons]) -> None:
        self.fresh = fresh

    @property
    def parameters(self) -> list[Tensor]:
        """The trainable tensors, each with the session as its first axis."""
        return [tensor for group in self.fresh.values() for tensor in group.tensors().values()]

    def __call__(self) -> dict[int, Neurons]:
        """Return the neurons as they act now."""
        return dict(self.fresh)

    def detached(self) -> dict[int, Neurons]:
        """Return the neurons as they act now, cut off from training."""
        with torch.no_grad():
            return {
                layer: Neurons(**{name: value.detach().clone() for name, value in group.tensors().items()})
                for layer, group in self().items()
            }


def _generator(request: str, layer: int, seed: int) -> torch.Generator:
    digest = hashlib.sha256(f"{request}:{layer}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))
