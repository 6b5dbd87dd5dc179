"""Tiny models whose edits are exported, and the comparison of what others load with the edit."""

import json
from importlib import util
from types import SimpleNamespace

import torch
from patches import latent_shift
from tiny_families import picture, processor_of, tiny_model, tokenizer_of
from tokenizers import decoders

import unike_lib as unike
from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.patch import Patch
from unike_lib.knowledge.encoders import Encoder
from unike_lib.knowledge.memory import Memory
from unike_lib.methods.shared.neurons import Neurons
from unike_lib.types import Query

ANSWER = "red cat"
SLOTS = 12


def make_tiny(root, name):
    """A tiny model of a family in a folder, in a configuration that names it, and a picture."""
    tokenizer = tokenizer_of(name)
    if name == "llava":
        tokenizer.backend_tokenizer.decoder = decoders.Metaspace()
    model, processor = tiny_model(name, tokenizer), processor_of(name, tokenizer)
    for part in (model, tokenizer, processor.image_processor):
        part.save_pretrained(root / "model")
    side = {"image_size": 16} if name == "qwen2-vl" else {}
    backbones = {"mine": {"family": name, "folder": "model", "text_locality": "general", **side}}
    (root / "config.yaml").write_text(json.dumps({"backbones": backbones, "evaluation": {"max_new_tokens": 6}}))
    picture("one").save(root / "one.png")
    opened = unike.load("mine", results=root / "results")
    return SimpleNamespace(root=root, model=opened, processor=processor, image=str(root / "one.png"))


def edit_of(there, *parts):
    """An edit whose patch has these parts; the method is the one that costs least."""
    fields = {"image": there.image, "question": "what is this?", "answer": ANSWER}
    edit = there.model.edit(method="fine-tune", settings={"steps": 1}, **fields)
    if parts:
        edit.patch = Patch(1, parts)
    return edit


def asked(there, image):
    """A question with its answer as the model's own processor lays it out; how many tokens the answer has."""
    content = [{"type": "image"}] * (image is not None)
    content += [{"type": "text", "text": "Question: what is this? Short answer:"}]
    text = there.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = there.processor(text=text, return_tensors="pt", **({} if image is None else {"images": [picture("one")]}))
    ids = torch.tensor([there.model.backbone.answer_ids(ANSWER)])
    inputs = dict(inputs) | {"input_ids": torch.cat([inputs["input_ids"], ids], 1)}
    for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            more = torch.full_like(ids, int(name == "attention_mask"))
            inputs[name] = torch.cat([inputs[name], more], 1)
    return inputs, ids.shape[1] + 1


@torch.no_grad()
def compare(there, edit, loaded, atol=2e-5, silent=False):
    """A loaded model says at prompt and answer what the edit says, with a picture and without; the base does not.

    silent: without a picture the edit changes nothing.
    """
    for image in (there.image, None):
        query = Query(image, "what is this?", ANSWER)
        reply = answer_logits(there.model.backbone, [query], edit.patch)
        inputs, read = asked(there, image)
        if hasattr(loaded, "edit"):
            loaded.edit.prompt = inputs["input_ids"].shape[1] - read + 1
        torch.testing.assert_close(loaded(**inputs).logits[0, -read:], reply.logits[-read:], atol=atol, rtol=0)
        plain = answer_logits(there.model.backbone, [query]).logits[-read:]
        assert ((plain - reply.logits[-read:]).abs().max() > 0.05) == (image is not None or not silent)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.5


def neurons(there, layer, count, bias=0.5):
    d = there.model.backbone.width
    gated = {"up": drawn(1, d, count, seed=layer + 5), "up_bias": drawn(1, count, seed=6) * bias}
    keys, values = drawn(1, d, count, seed=layer), drawn(1, count, d, seed=layer + 1)
    return {layer: Neurons(keys, drawn(1, count, seed=3) * bias, values, **gated)}


def changes(there, layer=2):
    found = there.model.backbone.decoder.layers[layer]
    names = found.names.ffn_matrices
    return {layer: {name: drawn(1, *found.part(name).weight.shape, seed=i) for i, name in enumerate(names)}}


def opened(folder, base):
    """The model that a folder's own load.py makes."""
    spec = util.spec_from_file_location("load", folder / "load.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(base)


def shift(there, layers=(1, 3), **settings):
    d = there.model.backbone.width
    keys = {layer: drawn(SLOTS, d, seed=layer) for layer in layers}
    values = {layer: drawn(SLOTS, d, seed=layer + 20) for layer in layers}
    encoders = {}
    for layer in layers:
        torch.manual_seed(layer)
        encoders[layer] = Encoder(d, 8, d, 2)
    readings = {"top_k": 5, "alpha_scale": 2.0, "rotate_memory": False} | settings
    return latent_shift(Memory(keys, values), encoders, **readings)
