"""Exported edits: folders that plain Hugging Face classes load, with the logits of the edit beside the frozen model."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny_families import picture, processor_of, tiny_model, tokenizer_of
from tokenizers import decoders
from transformers import AutoModelForImageTextToText

import unike_lib as unike
from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.patch import Part, Patch
from unike_lib.front.cli import main
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.shared.low_rank import LowRank, LowRankChanges
from unike_lib.methods.shared.neurons import ExtraNeurons, Neurons
from unike_lib.types import InputError, Query

ANSWER = "red cat"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What makes a tiny model of a family, once: its folder in a configuration that names it, and a picture."""
    known = {}

    def make(name):
        if name in known:
            return known[name]
        root, tokenizer = tmp_path_factory.mktemp(name), tokenizer_of(name)
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
        known[name] = SimpleNamespace(root=root, model=opened, processor=processor, image=str(root / "one.png"))
        return known[name]

    return make


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
def compare(there, edit, loaded, atol=2e-5):
    """A loaded model says at prompt and answer what the edit says, with a picture and without; and the base does not."""
    for image in (there.image, None):
        query = Query(image, "what is this?", ANSWER)
        reply = answer_logits(there.model.backbone, [query], edit.patch)
        inputs, read = asked(there, image)
        torch.testing.assert_close(loaded(**inputs).logits[0, -read:], reply.logits[-read:], atol=atol, rtol=0)
        plain = answer_logits(there.model.backbone, [query]).logits[-read:]
        assert (plain - reply.logits[-read:]).abs().max() > 0.05


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


@pytest.mark.parametrize("name", ["llava", "idefics3"])
def test_weights_and_neurons_are_a_folder_of_hugging_faces(made, name, tmp_path):
    """Neurons of different numbers in two layers: the FFN is as wide everywhere as the config says."""
    there = made(name)
    both = ExtraNeurons({**neurons(there, 1, 2), **neurons(there, 3, 5)})
    edit = edit_of(there, both, WeightChanges(changes(there)))
    before = {key: value.clone() for key, value in there.model.backbone.model.state_dict().items()}
    assert edit.export(tmp_path / "out") == "merged"
    torch.testing.assert_close(there.model.backbone.model.state_dict(), before, atol=0, rtol=0)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    assert type(loaded) is type(there.model.backbone.model)
    assert loaded.config.text_config.intermediate_size == 24 + 5 and loaded.config.text_config.mlp_bias
    compare(there, edit, loaded)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "README.md"} <= names
    again = unike.load(tmp_path / "out", family=name, results=there.root / "results")
    assert [each.before for each in again.edit(image=there.image, question="what is this?", answer="x",
                                               method="fine-tune", settings={"steps": 1}).answers()] == [
        edit.answers()[0].after]  # fmt: skip


@pytest.mark.parametrize("name", ["gemma3", "qwen2-vl"])
def test_neurons_whose_biases_a_config_cannot_say_are_refused_and_those_without_are_held(made, name, tmp_path):
    there = made(name)
    with pytest.raises(InputError, match=r"biases, which the configuration of a \w+ decoder cannot say"):
        edit_of(there, ExtraNeurons(neurons(there, 2, 3))).export(tmp_path / "out", form="merged")
    assert not (tmp_path / "out").exists()
    edit = edit_of(there, ExtraNeurons(neurons(there, 2, 3, bias=0.0)), WeightChanges(changes(there, 3)))
    assert edit.export(tmp_path / "out") == "merged"
    compare(there, edit, AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval())


def test_a_card_says_base_edit_and_licence(made, tmp_path):
    there = made("llava")
    edit = edit_of(there)
    edit.export(tmp_path / "one")
    text = (tmp_path / "one/README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "other" and header["base_model"] == "model" and header["library_name"] == "transformers"
    assert header["tags"] == ["knowledge-editing", "fine-tune"]
    own = edit.answers()[0]
    assert f"| what is this? | one.png | {own.before} | {own.after} | {ANSWER} |" in text
    assert float(re.search(r"by (\S+) at most", text)[1]) < 1e-4 and str(there.root) not in text
    (there.root / "model/README.md").write_text("---\nlicense: llama2\ntags: [a]\n---\n# Base\n")
    edit.export(tmp_path / "two")
    (there.root / "model/README.md").unlink()
    text = (tmp_path / "two/README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "llama2" and "llama2, as the base" in text


class Nowhere(Part):
    """A part of somebody's own that no form holds."""

    def tensors(self):
        return {"a": torch.ones(1)}


def test_what_cannot_be_exported_is_refused_with_a_sentence(made, tmp_path):
    there = made("llava")
    with pytest.raises(InputError, match="Nowhere"):
        edit_of(there, Nowhere()).export(tmp_path / "out")
    edit = edit_of(there)
    with pytest.raises(InputError, match="form: expected one of merged, peft, loader, found 'zip'"):
        edit.export(tmp_path / "out", form="zip")
    with pytest.raises(InputError, match="form: peft holds low-rank factors alone"):
        edit.export(tmp_path / "out", form="peft")
    with pytest.raises(InputError, match="language_model: in a LlavaForConditionalGeneration it has no head of its own"):
        edit.export(tmp_path / "out", language_model=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(InputError, match="expected a folder that is not there or empty"):
        edit.export(tmp_path / "full")
    edit.undo()
    with pytest.raises(InputError, match="nothing was changed"):
        edit.export(tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "full"] and [*(tmp_path / "full").iterdir()]


def test_weights_whose_rounding_loses_the_edit_are_refused(made, tmp_path):
    """In bfloat16 a change of a thousandth of a weight is nothing; beside the weights it was all of the edit."""
    there = made("llava")
    edit = edit_of(there)
    edit.model = unike.load("mine", results=there.root / "results", dtype="bfloat16")
    layer = edit.model.backbone.decoder.layers[3]
    down = layer.part(layer.names.down).weight
    edit.patch = Patch(1, (WeightChanges({3: {layer.names.down: (down.float() * 1e-3)[None] * 400}}),))
    edit.model.backbone.decoder.layers[3].part(layer.names.down).weight.data.mul_(1.0)
    assert edit.export(tmp_path / "out") == "merged"  # large enough to be held
