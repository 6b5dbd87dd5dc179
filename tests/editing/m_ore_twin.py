"""What M-ORE is held against: values of the original's code, and a plain loop over a hooked Hugging Face model."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from taught import taught_losses
from tiny_models import FAMILIES
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unike_lib.backbones.backbone import Backbone
from unike_lib.family import InputForm
from unike_lib.types import EditRequest

RANK = 6


class Golden:
    """What the original's code gave (its file names the source): the model, the edits, and what they left."""

    def __init__(self, case):
        tensors = load_file(Path(__file__).parent / "m_ore_golden.safetensors")
        self.values = {name.removeprefix(f"{case}."): each for name, each in tensors.items() if name.startswith(case)}
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=40,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=64,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        model.load_state_dict(self.of("weights"))
        whole = nn.Module()
        whole.language_model, whole.generation_config, whole.config = model, model.generation_config, model.config
        words = Tokenizer(WordLevel({str(number): number for number in range(40)}, unk_token="0"))
        words.pre_tokenizer = WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
        family = replace(FAMILIES["minigpt4"], form=InputForm())
        images = lambda names: torch.stack([self.values[f"visual.{name}"] for name in names])  # noqa: E731
        self.backbone = Backbone(whole, tokenizer, family, images, (1, 2))

    def of(self, kind):
        return {
            name.removeprefix(f"{kind}."): each for name, each in self.values.items() if name.startswith(f"{kind}.")
        }

    def words(self, name):
        return [str(number) for number in self.values[f"ids.{name}"].tolist()]

    def request(self, number):
        words = self.words(number)
        return EditRequest("", "caption", str(number), " ".join(words[:-2]), " ".join(words[-2:]))


def projector(codes, damping):
    """In closed form: lambda (lambda I + sum z z^T)^-1."""
    return damping * torch.linalg.inv(damping * torch.eye(codes.shape[1]) + codes.T @ codes)


class Twin:
    """One session's edits by a plain loop: hooks on the modules of a Hugging Face model, one request at a time."""

    def __init__(self, backbone, editor):
        self.backbone, self.settings, self.bases = backbone, editor.settings, editor.bases
        self.shared = 2 if self.settings.split == "scope" else 0
        self.own, self.common = slice(0, RANK - self.shared), slice(RANK - self.shared, RANK)
        self.outputs = {
            (layer, name): torch.zeros(self.module(layer, name).out_features, RANK) for layer, name in self.bases
        }
        self.codes = {place: [] for place in self.bases}
        self.shared_codes = {place: [] for place in self.bases}

    def module(self, layer, name):
        return self.backbone.decoder.layers[layer].part(name)

    def step(self, request):
        """Return the gradients of one edit's loss, and the inputs of the matrices at every token."""
        entering, hooks = {}, []
        outputs = {place: value.clone().requires_grad_(True) for place, value in self.outputs.items()}

        def hook_of(place):
            def add(module, given, said):
                entering[place] = given[0].detach().reshape(-1, given[0].shape[-1])
                return said + 2 * given[0] @ self.bases[place].T @ outputs[place].T

            return add

        hooks = [self.module(*place).register_forward_hook(hook_of(place)) for place in self.bases]
        embeddings = self.backbone.encode([request.query]).embeddings
        logits = self.backbone.model.language_model(inputs_embeds=embeddings).logits[0]
        loss = taught_losses(logits, self.backbone.answer_ids(request.target), self.settings.teach_end).mean()
        gradients = torch.autograd.grad(loss, list(outputs.values()))
        for hook in hooks:
            hook.remove()
        return dict(zip(outputs, gradients, strict=True)), entering

    def edit(self, request):
        """Make the steps of one edit."""
        s = self.settings
        tokens = len(self.backbone.answer_ids(request.target))
        start, count = self.backbone.encode([request.query]).picture[0].tolist()
        for _ in range(s.steps):
            gradients, entering = self.step(request)
            norms = {
                layer: sum(g[:, self.own].norm() for (at, _), g in gradients.items() if at == layer)
                for layer in dict.fromkeys(layer for layer, _ in gradients)
            }
            best = sorted(norms, key=norms.get, reverse=True)[: s.top_k]
            for place, gradient in gradients.items():
                if place[0] not in best:
                    continue
                inputs = entering[place]
                end = len(inputs) - (s.key_tokens == "predicting")
                text = inputs[end - tokens : end].mean(0) @ self.bases[place].T
                self.write(place, gradient, self.own, self.codes, s.learning_rate, s.damping)
                self.codes[place].append(text[self.own])
                if self.shared and place[0] in best[: s.shared_layers] and count:
                    seen = inputs[start : start + count].mean(0) @ self.bases[place].T
                    weight, code = self.agreement(text[self.common], seen[self.common])
                    rate = weight * s.shared_learning_rate
                    self.write(place, gradient, self.common, self.shared_codes, rate, s.shared_damping)
                    self.shared_codes[place].append(code)

    def write(self, place, gradient, ranks, codes, rate, damping):
        width = len(range(*ranks.indices(RANK)))
        known = torch.stack(codes[place]) if codes[place] else torch.zeros(0, width)
        self.outputs[place][:, ranks] -= rate * gradient[:, ranks] @ projector(known, damping)

    def agreement(self, text, picture):
        """ScopeEdit's weight of the shared ranks, and the direction that it claims."""
        a, b = float(text.norm()), float(picture.norm())
        gamma = torch.sigmoid(10 * (text @ picture / (a * b) - 0.2)) * min(a, b) / max(a, b)
        mixed = a / (a + b) * text + b / (a + b) * picture
        return gamma * b / (a + b), mixed / mixed.norm()

    def bake(self):
        """Write the pairs into the weights."""
        for place, outputs in self.outputs.items():
            self.module(*place).weight.data += 2 * outputs @ self.bases[place]
