"""Folders of other people that cannot be opened: one line in our words, before anything large is allocated."""

import json
import logging
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import processor_of, tiny_model, tokenizer_of
from transformers import LlavaConfig
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from unike_lib.backbones import load as load_module
from unike_lib.backbones.checkpoint import read_checkpoint
from unike_lib.backbones.folder import opening
from unike_lib.backbones.load import load_backbone, load_model, load_processor
from unike_lib.backbones.positions import resize_positions
from unike_lib.backbones.tower import TowerShape
from unike_lib.config.backbones import BackboneConfig
from unike_lib.types import InputError

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 13\n"
HTML = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
LLAVA = BackboneConfig(family="llava", folder="x")


def save(name, folder):
    tokenizer = tokenizer_of(name)
    for part in (tiny_model(name, tokenizer), tokenizer, processor_of(name, tokenizer).image_processor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save("llava", tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def smolvlm(tmp_path_factory):
    return save("smolvlm", tmp_path_factory.mktemp("smolvlm"))


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "model")


def change_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def refusal(call):
    with pytest.raises(InputError) as error:
        call()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def refused(folder, config=LLAVA):
    return refusal(lambda: load_backbone(folder, config, lambda names: None))


def text(**values):
    return lambda config: config["text_config"].update(values)


FIELDS = {
    "bitsandbytes": (lambda c: c.update(quantization_config={"load_in_4bit": True}), "quantization_config"),
    "awq": (lambda c: c.update(quantization_config={"quant_method": "awq", "bits": 4}), "quantization_config"),
    "text for a number": (text(hidden_size="16"), "text_config.hidden_size"),
    "text for another": (text(max_position_embeddings="many"), "max_position_embeddings"),
    "a negative number": (text(num_attention_heads=-4), "text_config.num_attention_heads"),
    "activation": (text(hidden_act="foo"), "text_config.hidden_act"),
    "the tower's activation": (lambda c: c["vision_config"].update(hidden_act="foo"), "vision_config.hidden_act"),
    "rotary kind": (text(rope_scaling={"type": "foo", "factor": 2}), "text_config.rope_scaling.rope_type"),
    "rotary number": (text(rope_parameters=3), "text_config.rope_parameters"),
    "attention": (lambda c: c.update(attn_implementation="flash_attention_2"), "attn_implementation"),
    "another decoder": (text(model_type="foo"), "text_config.model_type"),
    "another tower": (lambda c: c["vision_config"].update(model_type="foo"), "vision_config.model_type"),
    "no text_config": (lambda c: c.pop("text_config"), "text_config"),
    "text_config a list": (lambda c: c.update(text_config=[1]), "text_config"),
    "too many layers": (text(num_hidden_layers=10**9), "text_config.num_hidden_layers"),
    "key heads": (text(num_key_value_heads=0), "text_config.num_key_value_heads"),
    "patches": (lambda c: c["vision_config"].update(patch_size=0), "vision_config.patch_size"),
    "dtype": (lambda c: c.update(dtype="float7"), "dtype"),
    "a layer of the tower": (lambda c: c.update(vision_feature_layer=-9), "vision_feature_layer"),
}


@pytest.mark.parametrize(("change", "field"), FIELDS.values(), ids=FIELDS)
def test_a_field_that_does_not_fit_is_named_with_its_folder(folder, change, field):
    change_config(folder, change)
    found = refused(folder)
    assert str(folder) in found and f"field '{field}'" in found


def only_sentencepiece(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")


def half(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def deep_head(folder):
    """JSON that no parser follows to its end."""
    head = b"[" * 100_000
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)


def parts_that_are_not_there(folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def no_torch_file(folder):
    """A pickle with more inside than data; torch's own message advises to run it."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Path))


def length_in_a_list(folder):
    """Such a tokenizer opens, and fails at its first text."""
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": []}))


FILES = {
    "git lfs": (lambda f: (f / "model.safetensors").write_text(LFS), "model.safetensors: a Git LFS pointer"),
    "git lfs tokenizer": (lambda f: (f / "tokenizer.json").write_text(LFS), "tokenizer.json: a Git LFS pointer"),
    "web page": (lambda f: (f / "config.json").write_text(HTML), "config.json: a web page"),
    "empty": (lambda f: (f / "tokenizer.json").write_text(""), "tokenizer.json: an empty file"),
    "half": (half, "model.safetensors: half a file"),
    "a deep head": (deep_head, "model.safetensors: half a file, or no safetensors file"),
    "parts": (parts_that_are_not_there, "not there; download them: model-00002-of-00002.safetensors"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights: expected model.safetensors or"),
    "adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter_config.json: an adapter beside"),
    "sentencepiece": (only_sentencepiece, "tokenizer.json: no such file, only tokenizer.model"),
    "no torch file": (no_torch_file, "pytorch_model.bin: half a file, no file of torch's, or one with more"),
    "byte order mark": (lambda f: (f / "config.json").write_text("\ufeff{}"), "config.json: starts with a byte order"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json: no such file; expected"),
    "a list": (lambda f: (f / "tokenizer_config.json").write_text("[]"), "tokenizer_config.json: expected a JSON obj"),
    "a length": (length_in_a_list, "no readable tokenizer; expected one that save_pretrained wrote, whole (TypeError"),
    "heads": (
        lambda f: change_config(f, text(num_attention_heads=7)),
        "'text_config.num_attention_heads': 7 (with 'text_config.head_dim' 4, which makes 28), but",
    ),
    "tokenizer": (
        lambda f: (f / "tokenizer.json").write_text('{"model": 3}'),
        "no readable tokenizer; expected one that save_pretrained wrote, whole (",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), FILES.values(), ids=FILES)
def test_a_file_that_is_not_what_its_name_says_is_named(folder, spoil, words):
    spoil(folder)
    found = refused(folder)
    assert str(folder) in found and words in found


def test_what_is_no_folder_is_said(good, tmp_path):
    assert "config.json: a file; expected a folder" in refused(good / "config.json")
    assert "no such folder, and no hub id" in refused(tmp_path / "nowhere")
    assert "config.json: no such file" in refused(tmp_path)


def test_a_config_of_a_large_model_costs_nothing(folder, good, monkeypatch):
    """LLaVA's defaults are a 7B model: names and shapes are compared before anything is loaded."""
    monkeypatch.setattr(load_module, "load_whole", lambda *_, **__: pytest.fail("loaded"))
    (folder / "config.json").write_text(json.dumps(LlavaConfig().to_dict()))
    assert "field 'text_config.vocab_size': 32000, but the weights have 'language_model.model.embed_" in refused(folder)
    config = json.loads((good / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"vision_config": config["vision_config"] | {"image_size": 336}})
    )
    assert "field 'vision_config.image_size': 336 (with 'vision_config.patch_size' 4, which makes " in refused(folder)


def test_torchs_own_files_are_compared_without_being_read(folder, monkeypatch):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    load_backbone(folder, LLAVA, lambda names: None)
    tensors.pop(next(name for name in tensors if name.endswith("lm_head.weight")))
    torch.save(tensors, folder / "pytorch_model.bin")
    monkeypatch.setattr(load_module, "load_whole", lambda *_, **__: pytest.fail("loaded"))
    assert "1 entry missing: lm_head.weight" in refused(folder)


def test_weights_that_are_tied_or_under_their_new_names_are_right(folder):
    """LLaVA is saved under its names of 2023; its own are today's; tied heads are not saved."""
    today = tiny_model("llava", tokenizer_of("llava")).state_dict()
    assert today.keys() != load_file(folder / "model.safetensors").keys()
    save_file(today, folder / "model.safetensors", metadata={"format": "pt"})
    load_model(folder, LLAVA)
    del today["lm_head.weight"]
    save_file(today, folder / "model.safetensors", metadata={"format": "pt"})
    assert "1 entry missing: lm_head.weight" in refused(folder)
    change_config(folder, lambda config: config.update(tie_word_embeddings=True))
    load_model(folder, LLAVA)


def test_only_what_libraries_raise_becomes_a_line():
    def full():
        raise MemoryError

    for call, kind in ((full, MemoryError), (lambda: resize_positions(None, 3), TypeError)):
        with pytest.raises(kind), opening("folder", "model"):
            call()
    with pytest.raises(KeyboardInterrupt), opening("folder", "model"):
        raise KeyboardInterrupt
    with (
        pytest.raises(
            InputError,
            match=r"^folder: no readable model; expected one that save_pretrained wrote, whole \(KeyError: 'a'\)$",
        ),
        opening("folder", "model"),
    ):
        raise KeyError("a")
    with (
        pytest.raises(
            InputError, match=r"^folder: no readable model; expected one that save_pretrained wrote, whole \(OSError\)$"
        ),
        opening("folder", "model"),
    ):
        raise OSError


def test_marks_of_the_layout_must_be_tokens(tmp_path):
    folder = save("smolvlm", tmp_path / "model")
    config = BackboneConfig(family="smolvlm", folder="x")
    load_backbone(folder, config, lambda names: None)
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<global-img>", "<other-mark>"))
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("<global-img>", "<other-mark>"))
    assert "no token '<global-img>', which the layout of family 'smolvlm' has" in refused(folder, config)


def test_a_start_token_that_is_not_there_is_named(folder):
    settings = folder / "tokenizer_config.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps({name: value for name, value in values.items() if name != "bos_token"}))
    assert "field 'bos_token': family 'llava' starts its texts with it" in refused(folder)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (DEFAULT_CHAT_TEMPLATE, []),
        (DEFAULT_CHAT_TEMPLATE.replace("Assistant:", "GPT:"), ["GPT:"]),
        ("{{ nothing.of.this }}", ["cannot be used"]),
    ],
)
def test_another_chat_template_is_said_once(smolvlm, tmp_path, caplog, template, said):
    folder = shutil.copytree(smolvlm, tmp_path / "model")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    with caplog.at_level(logging.WARNING, "unike_lib"):
        for _ in range(2):
            load_backbone(folder, BackboneConfig(family="smolvlm", folder="x"), lambda names: None)
    lines = [line.getMessage() for line in caplog.records]
    assert len(lines) == len(said)
    assert all(word in line and str(folder) in line for word, line in zip(said, lines, strict=True))


@pytest.mark.parametrize(("content", "words"), [(LFS, "a Git LFS pointer"), (HTML, "a web page"), ("x" * 99, "half a")])
def test_an_original_checkpoint_that_is_none_is_named(tmp_path, content, words):
    (tmp_path / "eva.pth").write_text(content)
    found = refusal(lambda: read_checkpoint(tmp_path / "eva.pth"))
    assert "eva.pth: " in found and words in found and "weights_only" not in found


def test_a_part_that_does_not_know_its_folder_is_named_with_it():
    message = r"^here: config\.json: field 'vision_tower': expected the keys .*"
    with pytest.raises(InputError, match=message), opening("here", "model"):
        TowerShape.from_dict({})


SETTINGS = ("config.json", "preprocessor_config.json", "tokenizer_config.json", "generation_config.json")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_key_twice_in_a_folders_settings_is_refused(folder, name):
    """Of two numbers of layers, or of two ends of an answer, nobody knows which was meant."""
    file = folder / name
    text = file.read_text()
    key = next(iter(json.loads(text)))
    file.write_text(text.replace("{", f'{{"{key}": 1, ', 1))
    said = refusal(lambda: load_backbone(folder, LLAVA, lambda names: None) and load_processor(folder, LLAVA))
    assert said == f"{file}: field '{key}': there twice; expected each key once"


def test_a_key_twice_in_an_index_of_weights_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"lm_head.weight": "part.safetensors", "lm_head.weight": "other.safetensors"}}')
    said = refusal(lambda: load_model(folder, LLAVA))
    assert said == f"{index}: field 'weight_map.lm_head.weight': there twice; expected each key once"
