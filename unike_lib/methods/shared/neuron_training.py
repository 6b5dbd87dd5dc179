"""Extra FFN neurons trained on one edit, with T-Patcher's activation and memory losses (T-Patcher, UniKE)."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.backbones.edit import Trace
from unike_lib.editing.editor import edit_loss
from unike_lib.editing.optimise import descend
from unike_lib.editing.patch import Patch
from unike_lib.methods.shared.neuron_settings import NeuronMethod
from unike_lib.methods.shared.neurons import ExtraNeurons, Neurons
from unike_lib.types import EditRequest

KEY_NOISE = 0.1


def activation_loss(own: Tensor, top: int) -> Tensor:
    """Return the mean of the `top` largest exp(-u): the least activated neurons are woken (T-Patcher, l_a), [session].

    own: u = q k + b before the non-linearity, each neuron at its own answer token (`own_tokens`), [session, neuron].
    """
    return _mean_exp(-own, top)


def memory_loss(memory: Tensor, own: Tensor, settings: NeuronMethod) -> Tensor:
    """Return T-Patcher's l_m1 + l_m2: unrelated states stay below a bound, and away from the edit's own activation.

    S(v; k) = mean of exp over the k largest; l_m1 = S(u_m - memory_margin), l_m2 = S(u_m - u_e + difference_margin).

    Args:
        memory: activations u_m of unrelated states before the non-linearity, [session, neuron, state].
        own: each neuron's activation u_e at its own answer token (`own_tokens`), [session, neuron].
        settings: margins and k.
    """
    bounded = _mean_exp(memory.flatten(1), settings.memory_top) * math.exp(-settings.memory_margin)
    apart = _mean_exp((memory - own[..., None]).flatten(1), settings.memory_top) * math.exp(settings.difference_margin)
    return bounded + apart


def _mean_exp(values: Tensor, top: int) -> Tensor:
    """Return exp averaged over the `top` largest values [session, any]; their order does not matter."""
    return values.topk(min(top, values.shape[1]), dim=1, sorted=False).values.exp().mean(1)


def own_tokens(answers: Tensor, count: int) -> Tensor:
    """Return the token that each neuron is made for, by number in its row, [session, neuron].

    Reading: T-Patcher makes one neuron per answer token; with another number of neurons, neuron j takes answer token
    j mod length.

    Args:
        answers: where a row predicts an answer token, bool [session, token].
        count: number of neurons.
    """
    places = (~answers).int().argsort(dim=1, stable=True)  # answer tokens first, in order
    return places.gather(1, torch.arange(count, device=answers.device) % answers.sum(1, keepdim=True))


@dataclass(frozen=True)
class NeuronTrainer:
    """Trains new neurons in the edited layers for one request per session.

    ffn_inputs: layer -> unrelated FFN inputs [state, d] for the memory loss.
    """

    backbone: Backbone
    settings: NeuronMethod
    ffn_inputs: Mapping[int, Tensor]
    seed: int

    def new_neurons(self, requests: Sequence[EditRequest], trunk: Prepared, previous: Patch) -> dict[int, Neurons]:
        """Return fresh trainable neurons of every edited layer.

        Reading: keys start at h / |h|^2 of the FFN input h of the neuron's own token (`own_tokens`), with 10% noise so
        that neurons of one token differ; values start at zero; a gated FFN's extra factor starts at one.
        """
        trace = Trace()
        with torch.no_grad():
            edit_loss(self.backbone, trunk, previous, trace)
        where = trunk.batch.targets >= 0
        return {layer: self._fresh(requests, trace.ffn_inputs[layer], where, layer) for layer in self.backbone.layers}

    def _fresh(self, requests: Sequence[EditRequest], inputs: Tensor, where: Tensor, layer: int) -> Neurons:
        count, gated = self.settings.neurons, self.backbone.decoder.names.gate is not None
        columns, own = [], own_tokens(where, count)
        for row, request in enumerate(requests):
            noise = torch.randn(count, inputs.shape[2], generator=_generator(request.id, layer, self.seed))
            noise = (noise / inputs.shape[2] ** 0.5).to(inputs.device)
            states = inputs[row][own[row]].float()
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

    def losses(self, trunk: Prepared, previous: Patch, neurons: Mapping[int, Neurons]) -> Tensor:
        """Return cross-entropy + weighted activation and memory losses (averaged over layers), [session]."""
        trace = Trace()
        total = edit_loss(self.backbone, trunk, previous.append(ExtraNeurons(neurons, self.settings.neurons)), trace)
        places = own_tokens(trunk.batch.targets >= 0, self.settings.neurons)[:, None]
        for layer, group in neurons.items():
            own = group.before_activation(trace.ffn_inputs[layer].float()).gather(1, places)[:, 0]
            weight = self.settings.activation_weight / len(neurons)
            if weight:
                total = total + weight * activation_loss(own, self.settings.activation_top)
            weight = self.settings.memory_weight / len(neurons)
            if weight:
                keys = group.keys.transpose(1, 2).contiguous()  # else the product's gradient is slow for one session
                # One product for all sessions: [session * neuron, d] x [d, state].
                unrelated = (keys.flatten(0, 1) @ self.ffn_inputs[layer].T).unflatten(0, keys.shape[:2])
                unrelated = unrelated + group.key_bias[..., None]
                total = total + weight * memory_loss(unrelated, own, self.settings)
        return total

    def train(self, parameters: Sequence[Tensor], trunk: Prepared, previous: Patch, neurons: "NeuronSource") -> Tensor:
        """Train with Adam and return which sessions stayed finite; `neurons()` gives the neurons at each step."""
        optimiser = torch.optim.Adam(parameters, lr=self.settings.learning_rate)
        return descend(parameters, lambda: self.losses(trunk, previous, neurons()), optimiser, self.settings.steps)


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

    def detached(self) -> ExtraNeurons:
        """Return the neurons as they act now, cut off from training."""
        with torch.no_grad():
            now = ExtraNeurons(self(), next(iter(self.fresh.values())).keys.shape[2])
            return now.with_tensors({name: value.detach().clone() for name, value in now.tensors().items()})


def _generator(request: str, layer: int, seed: int) -> torch.Generator:
    digest = hashlib.sha256(f"{request}:{layer}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))
