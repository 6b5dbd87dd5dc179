"""T-Patcher and UniKE once more, slowly: one session, Hugging Face's own model physically widened, losses as loops.

Written from the papers (Huang et al. 2023, section 3.4; UniKE Eq. 2, 3, 6, 7) and sharing no code with the editors:
neurons are rows of the model's own matrices, the shift is a hook on its own attention, what a loss reads is what the
widened matrix itself returns.
"""

import copy
import functools
import math
from dataclasses import dataclass, field

import torch
from taught import taught_losses
from tiny_models import VOCABULARY, tiny_model
from torch import nn
from torch.nn.functional import cosine_similarity

# family -> the matrix that feeds the activation, the one that multiplies it, the one behind it, the attention's last.
MATRICES = {
    "blip2": ("fc1", None, "fc2", "self_attn.out_proj"),
    "minigpt4": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "self_attn.o_proj"),
}


@dataclass
class Shift:
    """UniKE's latent shift: layer -> keys h_sem, values h_pos [entry, d], and Enc_sem; settings by name."""

    keys: dict[int, torch.Tensor]
    values: dict[int, torch.Tensor]
    encoders: dict[int, nn.Module]
    top_k: int

    def apply(self, layer, attention, output, s, a, last):
        """s, a [token, d] of one row; the last prompt token asks the memory, all tokens are shifted."""
        query = s[last]
        cosines = [cosine_similarity(query, key, dim=0).item() for key in self.keys[layer]]
        nearest = sorted(range(len(cosines)), key=lambda i: -cosines[i])[: self.top_k]
        slots = torch.stack([self.values[layer][i] for i in nearest])
        queries, keys, values = attention.q_proj(s), attention.k_proj(slots), attention.v_proj(slots)
        width = attention.head_dim
        heads, groups = queries.shape[1] // width, queries.shape[1] // keys.shape[1]
        mixed, weights = [], torch.zeros(len(s), len(slots))
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            shared = slice(head // groups * width, (head // groups + 1) * width)
            share = (queries[:, own] @ keys[:, shared].T / math.sqrt(width)).softmax(1)
            weights = weights + share / heads
            mixed.append(share @ values[:, shared])
        known = output(torch.cat(mixed, 1))
        alpha = cosine_similarity(self.encoders[layer](weights[last] @ slots), query, dim=0).clamp(min=0)
        return (1 - alpha) * a + alpha * known


@dataclass
class Seen:
    """What one pass shows: the loss of the answer, and by layer u of the newest neurons and the FFN inputs h."""

    cross_entropy: torch.Tensor | None = None
    before_activation: dict[int, torch.Tensor] = field(default_factory=dict)  # [token, neuron]
    ffn_inputs: dict[int, torch.Tensor] = field(default_factory=dict)  # [token, d]
    answered: list[int] = field(default_factory=list)  # the tokens that predict the answer's, in order


@functools.cache
def language_model(family):
    return tiny_model(family).language_model.requires_grad_(False)


class Twin:
    """A tiny model of its own that is edited for real, with the weights of `tiny_model(family)`."""

    def __init__(self, family, layers, shift=None):
        self.model = copy.deepcopy(language_model(family))
        self.family, self.layers, self.shift = family, layers, shift
        self.stack = self.model.model.decoder if family == "blip2" else self.model.model
        names = [name for name in MATRICES[family][:3] if name]
        self.frozen = {
            (layer, name): self.stack.layers[layer].get_submodule(name).weight for layer in layers for name in names
        }
        self.bias = {key: self.stack.layers[key[0]].get_submodule(key[1]).bias for key in self.frozen}

    def linear(self, layer, name):
        return self.stack.layers[layer].get_submodule(name)

    def widen(self, layer, groups):
        """Give the FFN of a layer the neurons of these groups, the newest last: dicts of keys, values, ..."""
        first, second, last, _ = MATRICES[self.family]
        inner = {first: ("keys", "key_bias"), second: ("up", "up_bias")}
        for name, (weight, bias) in inner.items():
            if name is not None:
                rows, biases = [group[weight].T for group in groups], [group[bias] for group in groups]
                self._set(layer, name, torch.cat([self.frozen[layer, name], *rows]), biases)
        columns = [group["values"].T for group in groups]
        self._set(layer, last, torch.cat([self.frozen[layer, last], *columns], 1), [])

    def _set(self, layer, name, weight, biases):
        linear, old = self.linear(layer, name), self.bias[layer, name]
        old = torch.zeros(len(self.frozen[layer, name])) if old is None else old
        for part, value in (("weight", weight), ("bias", torch.cat([old, *biases]))):
            if part in linear._parameters:
                delattr(linear, part)
            setattr(linear, part, value)

    def run(self, embeddings, target, last_prompt, neurons=0, teach_end=True):
        """One row through the whole model. embeddings [token, d]; the answer's tokens are its last ones."""
        seen, hooks = Seen(), []
        for layer in self.layers:
            first = self.linear(layer, MATRICES[self.family][0])

            def read(module, inputs, output, layer=layer):
                seen.ffn_inputs[layer] = inputs[0].reshape(-1, inputs[0].shape[-1])
                seen.before_activation[layer] = output.reshape(-1, output.shape[-1])[:, output.shape[-1] - neurons :]

            hooks.append(first.register_forward_hook(read))
            if self.shift is not None:
                hooks.append(self._shift(layer, last_prompt))
        logits = self.model(inputs_embeds=embeddings[None]).logits[0]
        for hook in hooks:
            hook.remove()
        answer = torch.tensor([VOCABULARY.index(word) for word in target.split()])
        seen.answered = list(range(len(embeddings) - len(answer) - 1, len(embeddings) - 1))
        seen.cross_entropy = taught_losses(logits, answer.tolist(), teach_end).mean()
        return seen

    def _shift(self, layer, last_prompt):
        attention, output = self.stack.layers[layer].self_attn, self.linear(layer, MATRICES[self.family][3])

        def shift(module, inputs, named, outputs):
            s = named["hidden_states"][0]
            return self.shift.apply(layer, attention, output, s, outputs[0][0], last_prompt)[None], *outputs[1:]

        return attention.register_forward_hook(shift, with_kwargs=True)


def most(losses, top):
    """The mean of the `top` largest losses, of all if there are fewer."""
    chosen = sorted(losses, key=lambda loss: loss.item(), reverse=True)[:top]
    return sum(chosen) / len(chosen)


def total_loss(seen, groups, unrelated, method):
    """l_e + w_a l_a + w_m (l_m1 + l_m2), the latter two averaged over the edited layers; loops over neurons and states.

    groups: layer -> the new neurons; unrelated: layer -> FFN inputs [state, d] of other questions. Neuron j is made for
    answer token j mod length, and judged there.
    """
    total = seen.cross_entropy
    for layer, group in groups.items():
        asleep, loud, near = [], [], []
        for j in range(method.neurons):
            own = seen.before_activation[layer][seen.answered[j % len(seen.answered)], j]
            asleep.append(torch.exp(-own))
            for state in unrelated[layer]:
                other = state @ group["keys"][:, j] + group["key_bias"][j]
                loud.append(torch.exp(other - method.memory_margin))
                near.append(torch.exp(other - own + method.difference_margin))
        total = total + method.activation_weight * most(asleep, method.activation_top) / len(groups)
        total = total + method.memory_weight * most(loud, method.memory_top) / len(groups)
        total = total + method.memory_weight * most(near, method.memory_top) / len(groups)
    return total


def session(groups, number):
    """layer -> the named tensors of one session, as leaves of their own."""
    return {
        layer: {name: value[number].detach().clone().requires_grad_(True) for name, value in group.tensors().items()}
        for layer, group in groups.items()
    }


def steered(group, beta, zeta_and_map, learned):
    """Eq. 6: V + beta zeta', zeta' = W_zeta zeta. Learned in an edit: a scale on it, or all of W_zeta."""
    if learned is None:
        return group
    zeta, fitted = zeta_and_map
    image = zeta @ learned if learned.shape == fitted.shape else (zeta @ fitted) * learned.squeeze()
    return {**group, "values": group["values"] + beta * image}


def train(twin, groups, frozen, row, known, method):
    """Adam on the new neurons of one session and what is learned of zeta; return layer -> neurons as they act then.

    frozen: layer -> the neurons of earlier edits; known: by layer, FFN inputs of other questions, and zeta with the
    fitted W_zeta (empty without zeta).
    """
    unrelated, zetas = known
    per_edit = getattr(method, "zeta_map", None) == "per_edit"
    learned = {layer: fitted.clone() if per_edit else torch.ones(1) for layer, (_, fitted) in zetas.items()}
    leaves = [value for group in groups.values() for value in group.values()]
    leaves += [value.requires_grad_(True) for value in learned.values()]
    optimiser = torch.optim.Adam(leaves, lr=method.learning_rate)
    acting = lambda layer: steered(groups[layer], method.beta, zetas[layer], learned[layer]) if zetas else groups[layer]  # noqa: E731
    for _ in range(method.steps):
        for layer in groups:
            twin.widen(layer, [*frozen[layer], acting(layer)])
        optimiser.zero_grad()
        seen = twin.run(*row, neurons=method.neurons, teach_end=method.teach_end)
        total_loss(seen, groups, unrelated, method).backward()
        optimiser.step()
    return {layer: {name: value.detach() for name, value in acting(layer).items()} for layer in groups}
