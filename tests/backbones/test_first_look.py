"""A wrong folder is refused before torch is imported."""

import json
import os
import shutil
import sys

import pytest
import torch
from folders import as_torch_file, change_entry, look, parts
from test_folder import FIELDS, HTML, LFS, change_config, only_sentencepiece, save
from transformers import CONFIG_MAPPING, LlavaConfig
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from unike_lib.backbones.library_names import ACTIVATIONS, DTYPES, MODEL_TYPES, ROTARY_KINDS, LibraryNames


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save("llava", tmp_path_factory.mktemp("good") / "model")


def cut(file, size):
    os.truncate(file, size)


def field(name):
    return lambda folder: change_config(folder, FIELDS[name][0])


def without(part, field=None):
    return lambda folder: change_config(
        folder, lambda config: config.pop(part) if field is None else config[part].pop(field)
    )


def large(folder):
    """LLaVA's defaults are a 7B model."""
    (folder / "config.json").write_text(json.dumps(LlavaConfig().to_dict()))


SIZE = "model: config.json: field '{}_config.{}': {}, but the weights have "
KINDS = {
    "quantised": (field("awq"), "'quantization_config'"),
    "text for a number": (field("text for a number"), "'text_config.hidden_size'"),
    "activation": (field("activation"), "'text_config.hidden_act': expected an activation that transformers knows"),
    "the tower's activation": (field("the tower's activation"), "'vision_config.hidden_act'"),
    "rotary kind": (field("rotary kind"), "'text_config.rope_scaling.rope_type': expected a kind that transformers"),
    "another tower": (field("another tower"), "'vision_config.model_type': expected a type that transformers knows"),
    "dtype": (field("dtype"), "'dtype': expected a dtype of PyTorch's"),
    "pointer": (lambda f: (f / "model.safetensors").write_text(LFS), "model.safetensors: a Git LFS pointer"),
    "page": (lambda f: (f / "tokenizer.json").write_text(HTML), "tokenizer.json: a web page"),
    "adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter_config.json: an adapter"),
    "half": (
        lambda f: cut(f / "model.safetensors", (f / "model.safetensors").stat().st_size - 1),
        " bytes; download it again",
    ),
    "half a head": (lambda f: cut(f / "model.safetensors", 100), "half a file: 100 of "),
    "half of torch's": (
        lambda f: cut(file := as_torch_file(f), file.stat().st_size // 2),
        "pytorch_model.bin: half a file: it starts as one of torch's, and its end is missing",
    ),
    "none of torch's": (lambda f: as_torch_file(f).write_text("x" * 99), "pytorch_model.bin: half a file, no file of"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights: expected model.safetensors or"),
    "tokenizer.model alone": (only_sentencepiece, "tokenizer.json: no such file, only tokenizer.model"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "preprocessor_config.json: no such file"),
    "7B": (large, SIZE.format("text", "vocab_size", 32000) + "'language_model.model.embed_tokens.weight' of (131, 16)"),
    "more layers": (parts(text_num_hidden_layers=5), SIZE.format("text", "num_hidden_layers", 5) + "4 layers there"),
    "a wider decoder": (parts(text_hidden_size=32), SIZE.format("text", "hidden_size", 32)),
    "a wider network": (
        parts(text_intermediate_size=25),
        SIZE.format("text", "intermediate_size", 25)
        + "'language_model.model.layers.0.mlp.gate_proj.weight' of (24, 16); expected the config.json of these weights",
    ),
    "fewer layers": (parts(text_num_hidden_layers=3), SIZE.format("text", "num_hidden_layers", 3) + "4 layers there"),
    "fewer layers of the tower": (parts(vision_num_hidden_layers=1), SIZE.format("vision", "num_hidden_layers", 1)),
    "a size that is left out": (
        without("text_config", "intermediate_size"),
        "'text_config.intermediate_size': missing, which means 11008, but the weights have 'language_model.model.layer",
    ),
    "a part that is left out": (  # LLaVA 1.5's tower
        without("vision_config"),
        "'vision_config.hidden_size': missing, which means 1024, but the weights have 'vision_tower.embeddings.patch_",
    ),
    "larger pictures": (
        parts(vision_image_size=24),
        "'vision_config.image_size': 24 (with 'vision_config.patch_size' 4, which makes 37), but the weights have "
        "'vision_tower.embeddings.position_embedding.weight' of (17, 8)",
    ),
    "more heads": (
        parts(text_num_attention_heads=8),
        "'text_config.num_attention_heads': 8 (with 'text_config.head_dim' 4, which makes 32), but the weights have "
        "'language_model.model.layers.0.self_attn.q_proj.weight' of (16, 16)",
    ),
    "more heads of keys": (
        parts(text_num_key_value_heads=4),
        "'text_config.num_key_value_heads': 4 (with 'text_config.head_dim' 4 and 'text_config.num_attention_heads' 4, "
        "which makes 16), but the weights have 'language_model.model.layers.0.self_attn.k_proj.weight' of (8, 16)",
    ),
    "heads that do not share out the tower": (
        parts(vision_num_attention_heads=3),
        "'vision_config.num_attention_heads': 3, but 'vision_config.hidden_size' is 8; expected a number that divides",
    ),
    "a norm": (
        lambda f: change_entry(f, "layers.2.post_attention_layernorm.weight", lambda norm: norm[:8]),
        SIZE.format("text", "hidden_size", 16) + "'language_model.model.layers.2.post_attention_layernorm.weight' of ",
    ),
    "a file of torch's": (
        lambda f: [parts(text_hidden_size=32)(f), as_torch_file(f)],
        SIZE.format("text", "hidden_size", 32) + "'language_model.model.embed_tokens.weight' of (131, 16)",
    ),
    "torch's of before 2020": (
        lambda f: [parts(text_hidden_size=32)(f), as_torch_file(f, _use_new_zipfile_serialization=False)],
        SIZE.format("text", "hidden_size", 32) + "'language_model.model.embed_tokens.weight' of (131, 16)",
    ),
    "half of torch's of before 2020": (
        lambda f: cut(file := as_torch_file(f, _use_new_zipfile_serialization=False), file.stat().st_size - 1),
        "pytorch_model.bin: half a file: ",
    ),
    "more layers of the tower": (parts(vision_num_hidden_layers=3), SIZE.format("vision", "num_hidden_layers", 3)),
    "a wider network of the tower": (
        parts(vision_intermediate_size=17),
        SIZE.format("vision", "intermediate_size", 17) + "'vision_tower.",
    ),
    "other patches": (parts(vision_patch_size=8), SIZE.format("vision", "patch_size", 8) + "'vision_tower."),
    "a projection to another width": (
        lambda f: change_entry(f, "linear_1.weight", lambda matrix: matrix[:12]),
        SIZE.format("text", "hidden_size", 16) + "'multi_modal_projector.linear_1.weight' of (12, 8)",
    ),
    "a projection from another width": (
        lambda f: change_entry(f, "linear_1.weight", lambda matrix: matrix[:, :6]),
        "'vision_config.hidden_size': 8 (with 'vision_feature_layer' -2, which makes 8), but the weights have "
        "'multi_modal_projector.linear_1.weight' of (16, 6); expected the config.json of these weights",
    ),
    "an entry missing": (
        lambda f: change_entry(f, "layers.1.mlp.down_proj.weight", None),
        "1 entry missing: model.language_model.layers.1.mlp.down_proj.weight; expected the weights of the model",
    ),
    "an entry missing in all layers": (
        lambda f: [change_entry(f, "mlp.gate_proj.weight", None) for _ in range(4)],
        "4 entries missing: model.language_model.layers.0.mlp.gate_proj.weight, model.language_model.layers.1.",
    ),
    "an entry of the decoder's missing": (
        lambda f: change_entry(f, "language_model.model.norm.weight", None),
        "1 entry missing: model.language_model.norm.weight;",
    ),
    "an entry of the tower's missing": (
        lambda f: change_entry(f, "post_layernorm.weight", None),
        "1 entry missing: model.vision_tower.post_layernorm.weight;",
    ),
    "an entry of the projection's missing": (
        lambda f: change_entry(f, "linear_2.bias", None),
        "1 entry missing: model.multi_modal_projector.linear_2.bias;",
    ),
    "an entry too many": (
        lambda f: change_entry(f, "linear_2.bias", lambda vector: vector, "linear_3.bias"),
        "1 entry unexpected: multi_modal_projector.linear_3.bias;",
    ),
    "an entry under another name": (
        lambda f: [
            change_entry(f, "lm_head.weight", lambda head: head, "foo.weight"),
            change_entry(f, "lm_head.weight", None),
        ],
        "1 entry missing: lm_head.weight; 1 entry unexpected: language_model.foo.weight; expected the weights of the",
    ),
    "an entry too many of the tower": (
        lambda f: change_entry(f, "layers.1.mlp.fc1.bias", lambda vector: vector, "layers.1.mlp.fc9.bias"),
        "encoder.layers.1.mlp.fc9.bias; expected the weights of the model that is built from the settings beside them",
    ),
    "a projection's second half": (
        lambda f: change_entry(f, "linear_2.weight", lambda matrix: matrix[:, :6]),
        SIZE.format("text", "hidden_size", 16) + "'multi_modal_projector.linear_2.weight' of (16, 6)",
    ),
}


def test_every_kind_is_said_before_torch_is_imported(good, tmp_path):
    """So that a wrong folder costs a fraction of a second, not the imports."""
    folders = [shutil.copytree(good, tmp_path / str(index) / "model") for index in range(len(KINDS))]
    for folder, (spoil, _) in zip(folders, KINDS.values(), strict=True):
        spoil(folder)
    lines = look([("llava", folder) for folder in folders])
    assert len(lines) == len(KINDS)
    for folder, line, (name, (_, words)) in zip(folders, lines, KINDS.items(), strict=True):
        assert str(folder) in line and words in line, (name, line)
    whole = (good / "model.safetensors").stat().st_size
    assert f"half a file: {whole - 1} of {whole} bytes" in lines[[*KINDS].index("half")]


def test_every_name_that_the_libraries_know_is_in_their_source():
    floats = [name for name in dir(torch) if isinstance(each := getattr(torch, name), torch.dtype)
              and each.is_floating_point]  # fmt: skip
    known = {ACTIVATIONS: ACT2FN, ROTARY_KINDS: ROPE_INIT_FUNCTIONS, MODEL_TYPES: CONFIG_MAPPING, DTYPES: floats}
    for names, table in known.items():
        assert len(list(table)) > 4 and names.long_known in table
        assert [name for name in table if not names.has(name)] == []
        assert not any(names.has(name) for name in ("foo", "gelu_of_mine", "float7", "lama", ".*"))


def test_the_library_is_asked_where_it_is_imported_and_believed_where_its_source_is_another(monkeypatch):
    """Families from outside may add types to transformers; a package's source may be written in another way."""
    assert LibraryNames("torch", ("_C/__init__.pyi",), "float32", lambda name: name == "mine").know("mine")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "torch")
    names = [LibraryNames("torch", (file,), known, None) for file, known in (("_C/__init__.pyi", "float32"),
             ("_C/__init__.pyi", "float7"), ("nowhere.py", "float32"))]  # fmt: skip
    assert [each.know("mine") for each in names] == [False, True, True]
    assert not names[1].know(["float32"])
