"""Low-rank edits as peft's files, sums of what stands apart, and the language models of embedded backbones."""

import json
from pathlib import Path

import pytest
import torch
from exported import compare, drawn, edit_of
from safetensors.torch import load_file
from tiny_models import tiny_model as tiny_blip2
from tiny_models import tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

import unike_lib as unike
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.tower import Blip2WithTower, TowerShape, tower_config
from unike_lib.editing.patch import Patch
from unike_lib.front.cli import main
from unike_lib.methods.fine_tune.weight_changes import WeightChangesPerEdit
from unike_lib.methods.lora.factors import LoraFactors, LoraFactorsPerEdit
from unike_lib.methods.m_ore.pairs import Pairs
from unike_lib.methods.shared.low_rank import LowRank, LowRankChanges
from unike_lib.methods.shared.neurons import ExtraNeurons, Neurons
from unike_lib.types import InputError, Query

WEIGHTS = "adapter_model.safetensors"


def low_rank(there):
    """Factors of ranks 1 and 3, of a matrix of attention among them."""
    layers = there.model.backbone.decoder.layers
    places = {(1, layers[1].names.down): 3, (3, layers[3].names.up): 3, (2, layers[2].names.attention_matrices["q"]): 1}
    found = {}
    for number, (place, rank) in enumerate(places.items()):
        out, inner = layers[place[0]].part(place[1]).weight.shape
        found[place] = LowRank(drawn(1, rank, out, seed=number), drawn(1, rank, inner, seed=number + 9))
    return LoraFactors.of(found)


def applied(model, folder):
    """A model with the factors of a folder as peft's documentation says: W + (lora_alpha / r) B A."""
    config, tensors = (
        json.loads((folder / "adapter_config.json").read_text()),
        load_file(folder / "adapter_model.safetensors"),
    )
    assert set(config["target_modules"]) == {
        name.split(".lora_")[0].removeprefix("base_model.model.") for name in tensors
    }
    for path in config["target_modules"]:
        a, b = (tensors[f"base_model.model.{path}.lora_{side}.weight"] for side in "AB")
        rank, alpha = (
            config["rank_pattern"].get(path, config["r"]),
            config["alpha_pattern"].get(path, config["lora_alpha"]),
        )
        assert rank == len(a)
        model.get_submodule(path).weight.data += alpha / rank * b @ a
    return model


@pytest.mark.parametrize("name", ["llava", "gemma3"])
def test_low_rank_edits_are_pefts_files(made, name, tmp_path):
    there = made(name)
    edit = edit_of(there, low_rank(there))
    assert edit.export(tmp_path / "out") == "peft"
    base = AutoModelForImageTextToText.from_pretrained(there.root / "model").eval()
    compare(there, edit, applied(base, tmp_path / "out"), atol=1e-4)
    assert edit.export(tmp_path / "merged", form="merged") == "merged"
    compare(there, edit, AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval(), atol=1e-4)
    assert "PeftModel.from_pretrained" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("name", ["llava", "gemma3"])
def test_peft_itself_loads_them(made, name, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed (the extra 'exports')")
    there = made(name)
    edit = edit_of(there, low_rank(there))
    edit.export(tmp_path / "out")
    base = AutoModelForImageTextToText.from_pretrained(there.root / "model")
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "out").eval()
    adapted = {name.split(".lora_A.")[0] for name, _ in loaded.named_parameters() if ".lora_A." in name}
    assert len(adapted) == 3  # each matrix of the edit, none besides
    compare(there, edit, loaded, atol=1e-4)


def test_pairs_of_m_ore_and_factors_of_edits_are_sums():
    """s B A by hand; factors that stand apart by edit count together, as they act without a scope."""
    place, a, b = (3, "mlp.down_proj"), drawn(2, 24, seed=1), drawn(1, 16, 2, seed=2)
    pairs = Pairs({place: a}, 0.25, {place: b}, {place: torch.zeros(1, 2, 2)})
    torch.testing.assert_close(pairs.in_weights().factors[place].whole, 0.25 * b[0] @ a)
    outputs, inputs = drawn(1, 4, 2, 16, seed=3), drawn(1, 4, 2, 24, seed=4)
    apart = LoraFactorsPerEdit.of({place: LowRank(outputs, inputs)})
    expected = sum(outputs[0, edit].T @ inputs[0, edit] for edit in range(4))
    torch.testing.assert_close(apart.in_weights().factors[place].whole, expected)
    each = WeightChangesPerEdit({3: {"mlp.down_proj": drawn(1, 4, 16, 24, seed=5)}})
    torch.testing.assert_close(
        each.in_weights().changes[place], sum(drawn(1, 4, 16, 24, seed=5)[0, edit] for edit in range(4))
    )


@pytest.fixture(scope="module")
def towered(tmp_path_factory):
    """A BLIP-2 with this project's own picture tower over a tiny OPT, as the embedded backbones have it."""
    root = tmp_path_factory.mktemp("towered")
    tokenizer, shape = tiny_tokenizer(), TowerShape(identity_components=4, patch_components=2)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = tiny_starter_model().config.text_config.to_dict()
    torch.manual_seed(0)
    qformer = {**small, "encoder_hidden_size": shape.width, "vocab_size": 8}
    model = Blip2WithTower(tower_config(shape, qformer, text, num_query_tokens=3)).eval()
    model.language_model.load_state_dict(tiny_starter_model().language_model.state_dict())
    for part in (model, tokenizer):
        part.save_pretrained(root / "model")
    (root / "config.yaml").write_text(json.dumps({"backbones": {"own": {"family": "blip2", "folder": "model"}}}))
    return unike.load("own", results=root / "results")


def tiny_starter_model():
    return tiny_blip2("blip2")


@pytest.mark.parametrize("form", ["merged", "peft"])
def test_the_language_model_of_an_embedded_backbone_can_be_had(towered, form, tmp_path):
    fields = {"question": "what is this ?", "answer": "red cat", "method": "fine-tune", "settings": {"steps": 1}}
    edit, d = towered.edit(**fields), towered.backbone.width
    group = Neurons(drawn(1, d, 3, seed=1), drawn(1, 3, seed=2), drawn(1, 3, d, seed=3))
    factors = LowRankChanges.of({(4, "fc2"): LowRank(drawn(1, 2, d, seed=4), drawn(1, 2, 32, seed=5))})
    edit.patch = Patch(1, (factors,) if form == "peft" else (factors, ExtraNeurons({5: group})))
    with pytest.raises(InputError, match=r"own: its picture tower is this project's own.* OPTForCausalLM: --lang"):
        edit.export(tmp_path / "out")
    assert edit.export(tmp_path / "out", language_model=True) == form
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / ("base" if form == "peft" else "")).eval()
    if form == "peft":
        loaded = applied(loaded, tmp_path / "out")
    else:
        assert loaded.config.ffn_dim == 32 + 3
    query = Query(None, "what is a cat ?", "red owl")
    ids = towered.backbone.prompt_ids(query) + towered.backbone.answer_ids("red owl")
    said = answer_logits(towered.backbone, [query], edit.patch).logits
    with torch.no_grad():
        theirs = loaded(input_ids=torch.tensor([ids])).logits[0, -len(said) :]
    torch.testing.assert_close(theirs, said, atol=2e-5, rtol=0)
    assert (answer_logits(towered.backbone, [query]).logits - said).abs().max() > 0.05


def test_the_command_takes_the_language_model_alone(towered, tmp_path):
    edit = towered.edit(question="what is this ?", answer="red cat", method="fine-tune", settings={"steps": 1})
    edit.save(tmp_path / "edit.safetensors")
    given = ["export", str(tmp_path / "edit.safetensors"), "--results", str(Path(towered.folder).with_name("results"))]
    assert main([*given, "--to", str(tmp_path / "out")]) == 1
    assert main([*given, "--language-model", "--to", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["architectures"] == ["OPTForCausalLM"]
