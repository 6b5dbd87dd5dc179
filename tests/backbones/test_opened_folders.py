"""A tiny model's folder that lacks something, is another family's, or is opened on several devices."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_families import QUERIES, saved
from tiny_families import QWEN, tiny_family

from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.load import load_backbone, load_model, load_processor
from unike_lib.config.backbones import BackboneConfig
from unike_lib.family import families
from unike_lib.types import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tiny_family("smolvlm"), tmp_path_factory.mktemp("smolvlm"))


@pytest.mark.parametrize(
    ("changes", "family", "words"),
    [
        ({}, "llava", ["field 'model_type'", "'llava'", "found 'idefics3'"]),
        ({}, "blip2", ["field 'model_type'", "'blip-2'", "found 'idefics3'"]),
        ({"model_type": "new-vlm"}, "smolvlm", ["new-vlm"]),
        ({"text_config": {"model_type": "gemma2"}}, "smolvlm", ["'text_config.model_type'", "'llama'", "'gemma2'"]),
    ],
)
def test_an_architecture_that_does_not_fit_is_named(folder, tmp_path, changes, family, words):
    config = json.loads((folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as error:
        load_backbone(tmp_path, BackboneConfig(family=family, folder="x"), lambda names: None)
    assert "\n" not in str(error.value)
    for word in [str(tmp_path), *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_an_incomplete_folder_is_named(folder, tmp_path, missing):
    for file in folder.iterdir():
        if file.name != missing and not (missing == "tokenizer.json" and file.name.startswith("tokenizer")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = BackboneConfig(family="smolvlm", folder=str(tmp_path))
    with pytest.raises(InputError, match=str(tmp_path)):
        if missing == "preprocessor_config.json":
            load_processor(tmp_path, config)
        load_backbone(tmp_path, config, lambda names: None)


def test_the_configuration_knows_every_family():
    known = {"blip2", "minigpt4", "smolvlm", "idefics3", "llava", "llava-onevision", "internvl", *QWEN, "gemma3"}
    assert set(families()) == known
    with pytest.raises(ValueError, match=r"(?s)family.*'gpt4': expected one of blip2, .*, or path/to/file\.py:FAMILY"):
        BackboneConfig(family="gpt4", folder="x")
    with pytest.raises(ValueError, match="folder: expected a folder or hub id, because no llava backbone"):
        BackboneConfig(family="llava")


BIAS = "model.vision_model.encoder.layers.1.mlp.fc1.bias"  # not compared before the model is built
CHANGED = {
    "missing": (lambda tensors: tensors.pop("lm_head.weight"), "1 entry missing: lm_head.weight"),
    "unexpected": (
        lambda tensors: tensors.update(extra=torch.zeros(2)),
        "1 entry unexpected: extra",
    ),
    "mis-shaped": (
        lambda tensors: tensors.update({BIAS: tensors[BIAS][:-1].contiguous()}),
        f"1 entry of another shape: {BIAS} (",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGED.values(), ids=CHANGED)
def test_a_checkpoint_that_is_not_the_models_is_named(folder, tmp_path, change, message):
    shutil.copytree(folder, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as error:
        load_model(tmp_path / "model", BackboneConfig(family="smolvlm", folder="x"))
    assert str(error.value).startswith(f"{tmp_path / 'model'}: {message}") and "\n" not in str(error.value)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    tokenizer = tiny_family("smolvlm").tokenizer
    tokenizer.add_tokens(["neverseen"])
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match=r"tokenizer of \d+ tokens, but the model has embeddings of \d+"):
        load_backbone(tmp_path / "model", BackboneConfig(family="smolvlm", folder="x"), lambda names: None)


def test_a_gpu_that_is_not_there_is_one_clear_line(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"device: cuda: PyTorch .* sees no GPU here"):
        load_model(folder, BackboneConfig(family="smolvlm", folder="x", device="cuda"))


def test_a_model_with_accelerates_hooks_answers_the_same(folder):
    """On one device: what is shown is that the hooks, which carry inputs from card to card, fit layer-wise runs."""
    accelerate = pytest.importorskip("accelerate")
    here, hooked = (
        load_backbone(folder, BackboneConfig(family="smolvlm", folder="x", device=device), lambda names: None)
        for device in ("cpu", "auto")
    )
    leaves = [name for name, module in hooked.model.named_modules() if not list(module.children())]
    accelerate.dispatch_model(hooked.model, dict.fromkeys(leaves, "cpu"), main_device="cpu", force_hooks=True)
    assert all(hasattr(hooked.model.get_submodule(name), "_hf_hook") for name in leaves)
    queries = [query for query in QUERIES if query.image is None]
    torch.testing.assert_close(*(each.forward(each.run_below(each.encode(queries))) for each in (here, hooked)))


def test_edited_layers_on_two_cards_are_refused(make_backbone, monkeypatch):
    places = iter(["cuda:0", "cuda:1", "cuda:1", "cuda:1"])
    monkeypatch.setattr(DecoderLayer, "device", property(lambda layer: next(places)))
    with pytest.raises(InputError, match="lie on cuda:0, cuda:1; expected one"):
        make_backbone("blip2")
