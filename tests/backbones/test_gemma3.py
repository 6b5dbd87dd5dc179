"""Gemma 3 where it is like no other family, against Hugging Face's own model, processor and greedy generation.

Norms behind blocks and of queries and keys, layers with a window beside such that see all, rotary positions of two
bases, pictures whose tokens see each other both ways.
"""

import copy
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from patches import latent_shift, patch_of
from PIL import Image
from released import save_as_released, sure_answers_that_are_theirs
from test_families import QUERIES, known_by_heads, their_inputs
from tiny_families import LAYERS, SIDE, picture, tiny_family
from torch import nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.generate import generate
from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.oracle_memory import states_entering
from unike_lib.evaluation.readout import readout_table
from unike_lib.knowledge.extraction import extract_ffn_inputs
from unike_lib.knowledge.memory import Memory
from unike_lib.knowledge.states import read_ffn_inputs
from unike_lib.methods.grace.keys import key_states
from unike_lib.methods.liveedit.editor import behind
from unike_lib.methods.lora.factors import LoraFactors
from unike_lib.methods.shared.low_rank import LowRank
from unike_lib.methods.shared.neurons import Neurons
from unike_lib.methods.wise.editor import Wise
from unike_lib.types import InputError, Query

ASKED = [replace(query, answer=None) for query in QUERIES]
SLIDING, FULL = 2, 3  # the last layers of the tiny model


@pytest.fixture(scope="module")
def tiny():
    return tiny_family("gemma3")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.4


def ours(backbone, patch=None, queries=QUERIES):
    return backbone.forward(backbone.run_below(backbone.encode(queries)), patch)


def close_to(model, tiny, found, queries=QUERIES, atol=2e-5):
    for row, query in enumerate(queries):
        theirs = model(**their_inputs(tiny, query)).logits[0]
        torch.testing.assert_close(found[row, : len(theirs)], theirs, atol=atol, rtol=0)


@pytest.mark.parametrize("window", [2, 3, 512])
@torch.no_grad()
def test_greedy_answers_are_theirs(monkeypatch, window):
    """Windows narrower than a picture of four tokens, and wider than all; their cache drops what a window leaves."""
    tiny = tiny_family("gemma3", sliding_window=window)
    monkeypatch.setattr(Backbone, "stop_tokens", frozenset())
    close_to(tiny.model, tiny, ours(tiny.backbone))
    written = generate(tiny.backbone, ASKED, [[], [5, 6], [], [7]], None, max_new_tokens=7)
    for query, answer in zip(ASKED, written, strict=True):
        inputs = their_inputs(tiny, query)
        theirs = tiny.model.generate(**inputs, max_new_tokens=7, do_sample=False, eos_token_id=None)[0]
        assert answer == theirs[inputs["input_ids"].shape[1] :].tolist()


@torch.no_grad()
def test_pictures_of_several_sizes_in_one_batch(tiny):
    sizes = {"wide": (90, 11), "high": (7, 60), "fits": (SIDE, SIDE), "one": (1, 1)}
    pictures = {name: picture(name).resize(size) for name, size in sizes.items()}
    backbone = copy.copy(tiny.backbone)
    prepare = tiny.processor.image_processor
    backbone.images = lambda names: embed_images(tiny.model, prepare, [pictures[name] for name in names])
    queries = [Query(name, "what is this?", "red cat") for name in pictures] + [QUERIES[1]]
    found = ours(backbone, queries=queries)
    for row, query in enumerate(queries[:-1]):
        inputs = their_inputs(tiny, query) | tiny.processor.image_processor(pictures[query.image], return_tensors="pt")
        theirs = tiny.model(**{name: value for name, value in inputs.items() if name != "num_crops"}).logits[0]
        torch.testing.assert_close(found[row, : len(theirs)], theirs, atol=2e-5, rtol=0)


@torch.no_grad()
def test_both_ends_of_the_positions():
    most = 40
    tiny = tiny_family("gemma3", max_position_embeddings=most)
    room = most - int(tiny.backbone.encode([Query("one", "", style="plain")]).lengths[0])
    last = Query("one", "." * room, style="plain")
    assert int(tiny.backbone.encode([last]).lengths[0]) == most
    queries = [last, Query(None, ".", style="plain")]
    close_to(tiny.model, tiny, ours(tiny.backbone, queries=queries), queries)
    with pytest.raises(InputError, match="needs 41 positions, but the model has 40"):
        tiny.backbone.encode([replace(last, prompt=last.prompt + ".")])


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """As released, where its image processor would cut long pictures into crops."""
    crops = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 4, "pan_and_scan_max_num_crops": 4}
    path = tmp_path_factory.mktemp("gemma") / "model"
    return save_as_released(tiny, path, **crops, pan_and_scan_min_ratio_to_activate=1.2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_released_folder_says_what_its_own_model_says(tiny, folder, dtype, caplog):
    config = BackboneConfig(family="gemma3", folder=str(folder), dtype=dtype)
    assert sure_answers_that_are_theirs(tiny, config, atol=2e-5) > 0.6
    assert not caplog.records  # its chat template is the family's


def test_the_crops_of_a_long_picture_are_none(folder):
    processor = load_processor(folder, BackboneConfig(family="gemma3", folder=str(folder)))
    assert processor(images=[Image.new("RGB", (64, 16))], return_tensors="pt")["pixel_values"].shape[0] == 1


def test_pictures_of_another_size_than_the_towers_are_refused(tiny):
    prepare = copy.deepcopy(tiny.processor.image_processor)
    prepare.size = {"height": 8, "width": 8}
    with pytest.raises(InputError, match="pictures of 8 x 8 pixels, but the model takes 16 x 16"):
        embed_images(tiny.model, prepare, [picture("one")])


def test_a_kind_of_rotary_positions_of_one_kind_of_layers_is_named(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["rope_parameters"]["sliding_attention"]["rope_type"] = "sideways"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"'text_config.rope_parameters.sliding_attention.rope_type': .*'sideways'"):
        load_backbone(tmp_path, BackboneConfig(family="gemma3", folder="x"), lambda names: None)


def test_a_text_that_sees_what_follows_is_refused(tiny):
    model = copy.deepcopy(tiny.model)
    model.model.language_model.config.use_bidirectional_attention = True
    decoders = {"gemma3_text": tiny.backbone.decoder.names}
    with pytest.raises(InputError, match="use_bidirectional_attention is set; expected a decoder whose text is causal"):
        Decoder(model.model.language_model, model.lm_head, decoders)


def test_what_the_decoder_refuses_names_the_folder(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((copied / "config.json").read_text())
    config["text_config"]["use_bidirectional_attention"] = True
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"^{copied}: decoder: use_bidirectional_attention is set"):
        load_backbone(copied, BackboneConfig(family="gemma3", folder=str(copied)), lambda names: None)


def wider(linear, weight, rows):
    """A matrix with more outputs (rows) or more inputs."""
    both = torch.cat([linear.weight, weight], 0 if rows else 1)
    wide = nn.Linear(both.shape[1], both.shape[0], bias=False)
    wide.weight = nn.Parameter(both)
    return wide


@torch.no_grad()
def test_neurons_are_a_wider_ffn_in_front_of_its_norm(tiny):
    """In a layer with a window and in one without, for two sessions; their model is given the columns themselves."""
    none = torch.zeros(2, 3)
    groups = {
        layer: Neurons(draw(2, 16, 3, seed=layer), none, draw(2, 3, 16, seed=9), draw(2, 16, 3, seed=8), none)
        for layer in (SLIDING, FULL)
    }
    edited = ours(tiny.backbone, patch_of(2, groups), QUERIES * 2)
    for session, found in enumerate(edited.split(len(QUERIES))):
        model = copy.deepcopy(tiny.model)
        for layer, group in groups.items():
            mlp = model.model.language_model.layers[layer].mlp
            mlp.gate_proj = wider(mlp.gate_proj, group.keys[session].T, rows=True)
            mlp.up_proj = wider(mlp.up_proj, group.up[session].T, rows=True)
            mlp.down_proj = wider(mlp.down_proj, group.values[session].T, rows=False)
        close_to(model, tiny, found)
    assert (edited - ours(tiny.backbone, None, QUERIES * 2)).abs().max() > 0.1


@pytest.mark.parametrize("layer", [SLIDING, FULL])
@torch.no_grad()
def test_changes_of_every_matrix_are_those_of_their_weights(tiny, layer):
    module = tiny.backbone.decoder.layers[layer]
    names = [*module.names.attention_matrices.values(), "mlp.gate_proj", *module.names.ffn_matrices]
    sizes = {name: module.part(name).weight.shape for name in names}
    factors = {name: LowRank(draw(1, 2, out), draw(1, 2, size, seed=1)) for name, (out, size) in sizes.items()}
    edited, model = ours(tiny.backbone, Patch(1, (LoraFactors({layer: factors}),))), copy.deepcopy(tiny.model)
    for name, each in factors.items():
        model.model.language_model.layers[layer].get_submodule(name).weight += each.outputs[0].T @ each.inputs[0]
    close_to(model, tiny, edited)
    assert (edited - ours(tiny.backbone)).abs().max() > 0.1


def by_rotated_heads(module, states, slots, rotation):
    """Their attention over slots whose keys have no place, of queries at their places."""
    split = lambda tensor: tensor.unflatten(-1, (-1, module.head_dim)).transpose(-2, -3)  # noqa: E731
    queries, keys = module.q_norm(split(module.q_proj(states))), module.k_norm(split(module.k_proj(slots)))[None]
    queries, _ = apply_rotary_pos_emb(queries, queries, *rotation)
    scores = (queries @ keys.repeat_interleave(2, 1).transpose(-1, -2)) * 20**-0.5  # query_pre_attn_scalar
    mixed = scores.softmax(-1) @ split(module.v_proj(slots))[None].repeat_interleave(2, 1)
    return module.o_proj(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("rotate", [False, True])
@torch.no_grad()
def test_the_latent_shift_mixes_in_front_of_the_norm_behind_attention(tiny, rotate):
    """In a layer with a window and in one without: with places, each by its own rotary base."""
    alpha, slots = 0.3, draw(5, 16, seed=5)
    memory = Memory({SLIDING: slots, FULL: slots}, {SLIDING: slots, FULL: slots})
    shift = latent_shift(memory, {}, top_k=5, alpha=alpha, rotate_memory=rotate)
    edited, model = ours(tiny.backbone, patch_of(1, shift=shift)), copy.deepcopy(tiny.model)

    def shifted(module, _, keywords, output):
        if rotate:
            known = by_rotated_heads(module, keywords["hidden_states"], slots, keywords["position_embeddings"])
        else:
            known = known_by_heads(module, keywords["hidden_states"], slots)
        return (1 - alpha) * output[0] + alpha * known, *output[1:]

    for layer in (SLIDING, FULL):
        model.model.language_model.layers[layer].self_attn.register_forward_hook(shifted, with_kwargs=True)
    close_to(model, tiny, edited)
    assert (edited - ours(tiny.backbone)).abs().max() > 0.03


@pytest.fixture(scope="module")
def inside(tiny):
    """What enters modules of their model at each question's tokens: (layer, name) -> [token, ...] by question."""
    found, handles = {}, []
    for layer, module in enumerate(tiny.model.model.language_model.layers):
        for name in ("", "self_attn", "self_attn.o_proj", "mlp", "mlp.down_proj"):
            keep = lambda _, given, named, place=(layer, name): found.setdefault(place, []).append(  # noqa: E731
                (given[0] if given else named["hidden_states"])[0]
            )
            handles.append(module.get_submodule(name).register_forward_pre_hook(keep, with_kwargs=True))
    with torch.no_grad():
        for query in ASKED:
            tiny.model(**their_inputs(tiny, query))
    for handle in handles:
        handle.remove()
    return found


def last_of(states):
    return torch.stack([each[-1] for each in states])


@torch.no_grad()
def test_what_methods_read_of_questions_is_their_models(tiny, inside, tmp_path):
    """Every way of running layers lets a picture's tokens see each other."""
    backbone, close = tiny.backbone, {"atol": 2e-5, "rtol": 1e-5}
    batch = backbone.encode(ASKED)
    whole = states_entering(backbone, batch, [1, FULL])
    for row, length in enumerate(batch.lengths):
        torch.testing.assert_close(whole[FULL][row, :length], inside[FULL, ""][row], **close)
    found = prompt_states(backbone, ASKED, [SLIDING, FULL])
    for place, layer in enumerate((SLIDING, FULL)):
        torch.testing.assert_close(found[:, place], last_of(inside[layer, "self_attn"]), **close)
        trunk = backbone.run_below(batch, layer)
        if layer == SLIDING:
            left = behind(backbone, trunk).hidden
            for row, states in enumerate(inside[FULL, ""]):
                torch.testing.assert_close(left[row, : len(states)], states, **close)
        torch.testing.assert_close(key_states(backbone, trunk, layer), last_of(inside[layer, "mlp.down_proj"]), **close)
        asking = SimpleNamespace(backbone=backbone, layer=backbone.decoder.layers[layer])
        entering = Wise.inputs(asking, trunk).entering
        for row, states in enumerate(inside[layer, "mlp.down_proj"]):  # a picture's tokens included
            torch.testing.assert_close(entering[row, : len(states)], states, **close)
    entries = draw(3, 16)
    shift = latent_shift(Memory({FULL: entries}, {FULL: entries}), {}, top_k=3, alpha=1.0)
    (row,) = readout_table(backbone, [ASKED], {FULL: entries}, shift, ["red cat"] * 3).to_dict("records")
    outputs = backbone.decoder.layers[FULL].attention.o_proj(last_of(inside[FULL, "self_attn.o_proj"]))
    share = 1 - outputs.mean(0).square().sum() / outputs.square().sum(1).mean()
    assert row["attention"] == pytest.approx(float(share), abs=1e-5)
    case = SimpleNamespace(query=lambda kind: QUERIES[0], asks=lambda kind: True)
    extract_ffn_inputs(backbone, [case], 10**6, tmp_path / "ffn_inputs.parquet", "fingerprint")
    wanted = inside[FULL, "mlp"][0][-1]
    assert (read_ffn_inputs(tmp_path / "ffn_inputs.parquet")[FULL] - wanted).abs().amax(1).min() < 1e-4


def test_layers_that_can_be_edited_are_all(tiny):
    assert tiny.backbone.layers == tuple(range(LAYERS))
