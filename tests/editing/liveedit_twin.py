"""LiveEdit by plain torch, row by row, and as a hook on a Hugging Face module; the names of the original's weights."""

import math
import re

import torch
from tiny_models import FAMILIES, tiny_images, tiny_model, tiny_tokenizer
from torch.nn.functional import layer_norm, linear

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Batch, Prepared
from unike_lib.methods.liveedit.editor import behind
from unike_lib.methods.liveedit.network import Spans
from unike_lib.methods.liveedit.training import Asked

# Parts of names in the original, and here; in this order.
NAMES = {
    "inpt_extractor.vis_rep_prot": "prototype", "edit_extractor": "of_edits", "inpt_extractor": "of_questions",
    "ca_query_info_ext1": "of_prompt", "ca_query_info_ext2": "of_text", "ca_vision_info_ext": "of_picture",
    "q_mlp": "query", "k_mlp": "key", "v_mlp": "value", "eqe1": "vision_queries", "eqe2": "text_queries",
    "layer_norm1": "vision_norm", "layer_norm2": "text_norm", "instant_reps_norm": "norm", "moegen_c": "inputs",
    "moegen_r": "outputs", "ca_lora": "attention", "layer_norm": "norm", "phi": "queries",
}  # fmt: skip


def renamed(tensors):
    """The original's weights (or their gradients) under our names; what is learned has a first axis of one there."""
    found = {}
    for name, value in tensors.items():
        for theirs, ours in NAMES.items():
            name = re.sub(rf"\b{theirs}\b", ours, name)
        found[name] = value[0] if value.ndim == 3 else value
    return found


def of_case(golden, name):
    """The tensors of one case of the golden file."""
    return {key.removeprefix(f"{name}."): value for key, value in golden.items() if key.startswith(f"{name}.")}


def below(case, start):
    """The tensors whose names begin so, without that beginning."""
    return {key.removeprefix(start): value for key, value in case.items() if key.startswith(start)}


def llama_of(case, layer, monkeypatch):
    """The original's tiny Llama; a query's image and prompt name tensors of the case, its answer too."""
    size = {"vocab_size": 40, "intermediate_size": 32, "num_hidden_layers": 3, "num_key_value_heads": 4}
    model = tiny_model("minigpt4", **size)
    model.language_model.load_state_dict(below(case, "in.w."))
    backbone = Backbone(model, tiny_tokenizer(), FAMILIES["minigpt4"], tiny_images, (layer, 2), "{}")

    def encode(queries, answers=None):
        rows, targets, last, pictures = [], [], [], []
        for query in queries:
            picture = case[query.image] if query.image else torch.zeros(0, 16)
            prompt, answer = case[query.prompt], case[query.answer] if query.answer else torch.zeros(0).long()
            ids = torch.cat([prompt, answer])
            rows.append(torch.cat([backbone.embed(torch.tensor([1])), picture, backbone.embed(ids)]))
            last.append(len(picture) + len(prompt))
            targets.append(torch.cat([torch.full((last[-1],), IGNORED), answer, torch.tensor([IGNORED])]))
            pictures.append([1, len(picture)])
        pad = torch.nn.utils.rnn.pad_sequence
        lengths, places = torch.tensor([len(row) for row in rows]), torch.tensor(pictures)
        padded = pad(rows, batch_first=True), pad(targets, batch_first=True, padding_value=IGNORED)
        return Batch(*padded, torch.tensor(last), lengths, picture=places)

    monkeypatch.setattr(backbone, "encode", encode)
    return backbone


class Plain:
    """The formulas on one row at a time, from a state dict."""

    def __init__(self, weights, heads):
        self.weights, self.heads, self.always = weights, heads, False

    def norm(self, name, states):
        return layer_norm(states, states.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def attend(self, name, asking, asked):
        """softmax(q k^T / sqrt(head width)) v, head after head."""
        maps = {part: (self.weights[f"{name}.{part}.weight"], self.weights[f"{name}.{part}.bias"]) for part in PARTS}
        query, key, value = (
            linear(asking if part == "query" else asked, *maps[part]).chunk(self.heads, 1) for part in PARTS
        )
        heads = zip(query, key, value, strict=True)
        return torch.cat([(q @ k.T / math.sqrt(q.shape[1])).softmax(1) @ v for q, k, v in heads], 1)

    def features(self, who, picture, prompt):
        asking = self.attend(
            f"{who}.of_prompt", self.weights[f"{who}.vision_queries"], self.norm(f"{who}.vision_norm", prompt)
        )
        vision = self.attend(f"{who}.of_picture", asking, self.norm(f"{who}.vision_norm", picture))
        text = self.attend(f"{who}.of_text", self.weights[f"{who}.text_queries"], self.norm(f"{who}.text_norm", prompt))
        return vision, text

    def expert(self, picture, prompt, answer):
        """phi, psi, U, V of an edit, from its states."""
        sides, states = [], torch.cat([picture, prompt, answer])
        for side in ("inputs", "outputs"):
            queries = self.weights[f"{side}.queries"]
            made = self.attend(f"{side}.attention", queries, self.norm(f"{side}.norm", states))
            sides.append(made / (5 * math.sqrt(len(queries))))
        return *self.features("of_edits", picture, prompt), *sides

    def shares(self, picture, prompt, experts):
        """The weight of each expert for a question, one by one."""
        vision, text = self.features("of_questions", picture, prompt)
        least = near(vision, self.features("of_questions", self.weights["prototype"], prompt)[0])
        kept = [self.always or near(vision, expert[0]) > least for expert in experts]
        scores = [float(near(text, expert[1])) for expert in experts]
        total = sum(math.exp(score) for score, keep in zip(scores, kept, strict=True) if keep)
        return [
            math.exp(score) / total / (1 + math.exp(-score)) if keep else 0.0
            for score, keep in zip(scores, kept, strict=True)
        ]

    def added(self, states, shares, experts):
        normed, total = self.norm("norm", states), torch.zeros_like(states)
        for share, (_, _, inputs, outputs) in zip(shares, experts, strict=True):
            total += share * (normed @ inputs.T).relu() @ outputs
        return total


PARTS = ("query", "key", "value")


def near(one, other):
    """The mean over queries of <a, b> / sqrt(width)."""
    return sum(a @ b for a, b in zip(one, other, strict=True)) / len(one) / math.sqrt(one.shape[1])


class Hooked:
    """A Hugging Face model with a hook behind one layer that adds what experts say."""

    def __init__(self, backbone, weights, heads, layer):
        self.backbone, self.plain, self.layer = backbone, Plain(weights, heads), layer
        self.experts, self.on, self.seen, self.last = [], False, None, []
        backbone.decoder.layers[layer].module.register_forward_hook(self._hook)

    def edit(self, query):
        self._run(query, on=False)
        self.experts.append(self.plain.expert(*self._parts()))

    def logits(self, query):
        return self._run(query, on=True)

    def unedited(self, query):
        return self._run(query, on=False)

    def _run(self, query, on):
        self.batch, self.on, self.last = self.backbone.encode([query]), on, []
        with torch.no_grad():
            return self.backbone.model.language_model(inputs_embeds=self.batch.embeddings).logits[0]

    def _parts(self):
        """States of picture, prompt behind it, and answer."""
        (start, count), end = self.batch.picture[0].tolist(), int(self.batch.last_prompt[0]) + 1
        return self.seen[start : start + count], self.seen[start + count : end], self.seen[end:]

    def _hook(self, module, given, output):
        states = output[0] if isinstance(output, tuple) else output
        self.seen = states[0]
        picture, prompt, _ = self._parts()
        if not self.on or not len(picture):
            self.last = [0.0] * len(self.experts)
            return output
        self.last = self.plain.shares(picture, prompt, self.experts)
        changed = states + self.plain.added(self.seen, self.last, self.experts)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed


def asked_of(case, kinds, edits, network, backbone, layer):
    """The rows of a batch of the original's training, by edit, then by kind: it runs them through the layer twice."""
    rows = [f"in.{kind}.{edit}" for edit in range(edits) for kind in kinds]
    last = [3 + case[f"{row}.reps_query"].shape[1] for row in rows]
    wanted = [torch.where(case[f"{row}.label_mask"][0] > 0, case[f"{row}.label_ids"][0], IGNORED) for row in rows]
    targets = [torch.cat([torch.full((place,), IGNORED), ids]) for place, ids in zip(last, wanted, strict=True)]
    middle, pad = [case[f"{row}.mid"][0] for row in rows], torch.nn.utils.rnn.pad_sequence
    states, lengths = pad(middle, batch_first=True), torch.tensor([len(row) for row in middle])
    targets = pad(targets, batch_first=True, padding_value=IGNORED)
    picture = torch.tensor([[1, 3]]).expand(len(rows), -1)
    batch = Batch(states, targets, torch.tensor(last), lengths, picture=picture)
    spans = Spans.of(batch.context(), states.shape[1], batch.mask)
    return Asked(behind(backbone, Prepared(states, batch, layer)), states, spans, network.of_questions(states, spans))
