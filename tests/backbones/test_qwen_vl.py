"""Qwen's families where they are like no other, against Hugging Face's own models, with what their processors make.

Positions on a grid at both ends, pictures of any size, released folders in both dtypes; Qwen3-VL's first layers, behind
which states of its tower are added, and the norms of its queries and keys.
"""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from patches import latent_shift, patch_of
from released import save_as_released, sure_answers_that_are_theirs
from test_families import QUERIES, known_by_heads, their_inputs
from tiny_families import LAYERS, QWEN, SIDE, picture, tiny_family
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.backbones.positions import SquareProcessor
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.backbones.reach import edited_layers, layers_with_pictures
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.editor import request_trunk
from unike_lib.evaluation.oracle_memory import demonstration_states
from unike_lib.family import find_family
from unike_lib.front.doctor import as_text, examine
from unike_lib.front.family_guess import guess_family
from unike_lib.knowledge.memory import Memory
from unike_lib.methods.ke.network import KeNetwork, condition_texts
from unike_lib.methods.ke.settings import KeMethod
from unike_lib.methods.lora.settings import LoraMethod
from unike_lib.methods.m_ore.settings import MoreMethod
from unike_lib.methods.serac_multimodal.editor import features_of
from unike_lib.methods.shared.hypernetwork import edit_gradients, last_matrices
from unike_lib.types import EditRequest, InputError, Query

ADDED = 2  # layers of the tiny Qwen3-VL that get something of a picture added behind them


@pytest.fixture(scope="module", params=QWEN)
def tiny(request):
    return tiny_family(request.param)


@pytest.fixture(scope="module")
def qwen3():
    return tiny_family("qwen3-vl")


def ours(backbone, patch=None, queries=QUERIES):
    return backbone.forward(backbone.run_below(backbone.encode(queries)), patch)


def close_to(model, tiny, found, queries=QUERIES):
    for row, query in enumerate(queries):
        theirs = model(**their_inputs(tiny, query)).logits[0]
        torch.testing.assert_close(found[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.4


@torch.no_grad()
def test_pictures_of_several_sizes_in_one_batch(tiny):
    """Each becomes the same square, as their processor is given it."""
    sizes = {"wide": (90, 11), "high": (7, 60), "fits": (SIDE, SIDE), "one": (1, 1)}
    pictures = {name: picture(name).resize(size) for name, size in sizes.items()}
    backbone, prepare = copy.copy(tiny.backbone), SquareProcessor("tiny", tiny.processor.image_processor, SIDE)
    backbone.images = lambda names: embed_images(tiny.model, prepare, [pictures[name] for name in names])
    queries = [Query(name, "what is this?", "red cat") for name in pictures] + [QUERIES[1]]
    found = ours(backbone, queries=queries)
    for row, query in enumerate(queries[:-1]):
        content = [{"type": "image"}, {"type": "text", "text": "Question: what is this? Short answer:"}]
        chat = tiny.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = tiny.processor(text=chat + "red cat", return_tensors="pt", images=[pictures[query.image]])
        theirs = tiny.model(**inputs).logits[0]
        torch.testing.assert_close(found[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", QWEN)
def test_both_ends_of_the_positions(name):
    """A picture of four tokens takes two positions: the longest row has two tokens more than there are positions."""
    most = 60
    tiny = tiny_family(name, max_position_embeddings=most)
    bare = int(tiny.backbone.encode([Query("one", "", style="plain")]).lengths[0])
    last = Query("one", "." * (most + 2 - bare), style="plain")
    batch = tiny.backbone.encode([last])
    assert int(batch.lengths[0]) == most + 2 and int(batch.positions.max()) == most - 1
    queries = [last, Query(None, ".", style="plain")]
    close_to(tiny.model, tiny, ours(tiny.backbone, queries=queries), queries)
    with pytest.raises(InputError, match=f"needs {most + 1} positions, but the model has {most}"):
        tiny.backbone.encode([Query("one", last.prompt + ".", style="plain")])


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """As released, where its image processor takes pictures of many sizes."""
    path = tmp_path_factory.mktemp(tiny.name) / "model"
    return save_as_released(tiny, path, size={"shortest_edge": 8**2, "longest_edge": 400**2})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_released_folder_says_what_its_own_model_says(tiny, folder, dtype, caplog):
    config = BackboneConfig(family=tiny.name, folder=str(folder), dtype=dtype, image_size=SIDE)
    assert sure_answers_that_are_theirs(tiny, config, atol=1e-5) > 0.6
    assert not caplog.records  # its chat template is the family's


def test_the_doctor_says_which_layers_can_be_edited(tiny, folder, tmp_path):
    section = {"family": tiny.name, "folder": str(folder), "image_size": SIDE}
    found = examine("mine", None, tmp_path / "results", [{"backbones": {"mine": section}}])
    assert found.problem is None and found.template and found.visual == (SIDE // 8) ** 2
    assert guess_family(folder).family == tiny.name
    first = ADDED if tiny.name == "qwen3-vl" else 0
    assert found.edited == tuple(range(first, LAYERS))
    assert f"each of {first} to 3 can be edited; as it stands {first} to 3 are" in as_text(found)


def test_a_folder_of_the_other_generation_is_named(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    for family in set(QWEN) - {config["model_type"].replace("_5", ".5").replace("_", "-")}:
        with pytest.raises(InputError, match=f"family '{family}' expects .*, found '{config['model_type']}'"):
            load_backbone(folder, BackboneConfig(family=family, folder="x"), lambda names: None)


def test_a_size_that_no_memory_has_room_for_is_the_folders_fault(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "model")
    settings = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").write_text(json.dumps(settings | {"temporal_patch_size": 10**12}))
    kind = json.loads((copied / "config.json").read_text())["model_type"].replace("_5", ".5").replace("_", "-")
    with pytest.raises(InputError, match=f"^{copied}: no readable image processor; .*Unable to allocate"):
        load_processor(copied, BackboneConfig(family=kind, folder=str(copied), image_size=SIDE))


@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1, 2), (1,)])
def test_layers_that_pictures_are_added_behind_cannot_be_edited(qwen3, layers):
    backbone = qwen3.backbone
    assert backbone.layers == (2, 3) and backbone.embed(torch.tensor([5])).shape == (1, 16 * (1 + ADDED))
    with pytest.raises(InputError, match=r"behind its first 2 layers; layers 2 to 3 can be edited, found [01]$"):
        type(backbone)(qwen3.model, qwen3.tokenizer, find_family("qwen3-vl"), backbone.images, layers)
    with pytest.raises(InputError, match=r"layers 2 to 3 can be edited, found 1$"):
        backbone.run_below(backbone.encode(QUERIES), 1)


def test_a_model_that_adds_pictures_behind_all_its_layers_is_refused(qwen3):
    model = copy.deepcopy(qwen3.model)
    model.config.vision_config.depth, model.config.vision_config.deepstack_visual_indexes = 9, [0, 2, 4, 6, 6, 99]
    assert layers_with_pictures(model.config) == LAYERS
    with pytest.raises(InputError, match=r"this model has 0, .*; no layer can be edited$"):
        edited_layers(None, 0)
    with pytest.raises(InputError, match="behind its first 4 layers; no layer can be edited"):
        type(qwen3.backbone)(model, qwen3.tokenizer, find_family("qwen3-vl"), qwen3.backbone.images)


@torch.no_grad()
def test_what_is_added_behind_each_of_the_first_layers_is_theirs(qwen3):
    """What enters every layer of their model at a question's tokens, those of its picture included."""
    entering = {}
    handles = [
        module.register_forward_pre_hook(lambda _, given, layer=layer: entering.update({layer: given[0][0]}))
        for layer, module in enumerate(qwen3.model.model.language_model.layers)
    ]
    try:
        for query in QUERIES:
            qwen3.model(**their_inputs(qwen3, query))
            batch = qwen3.backbone.encode([query])
            states, rest = qwen3.backbone.decoder.start(batch.embeddings), ADDED
            for layer in range(LAYERS):
                assert states.shape[2] == 16 * (1 + max(rest, 0))
                torch.testing.assert_close(states[0, :, :16], entering[layer], atol=1e-5, rtol=0)
                states, rest = qwen3.backbone.decoder.run(states, [layer], positions=batch.positions), rest - 1
            picture = batch.picture[0].tolist()
            inside = slice(picture[0], sum(picture))
            assert bool(batch.embeddings[0, inside, 16:].abs().sum()) is (query.image is not None)
            batch.embeddings[0, inside] = 0
            assert not batch.embeddings[0, :, 16:].any()
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def test_what_methods_read_below_the_edited_layers_is_of_the_models_width(qwen3):
    """States at questions, demonstrations' states, a picture's feature, what KE reads of a text."""
    backbone, inside = qwen3.backbone, {}
    asked = [Query(query.image, query.prompt, None, query.style) for query in QUERIES]
    attention = [module.self_attn for module in qwen3.model.model.language_model.layers]
    handles = [
        module.register_forward_pre_hook(
            lambda _, __, named, layer=layer: inside.setdefault(layer, []).append(named["hidden_states"][0, -1]),
            with_kwargs=True,
        )
        for layer, module in enumerate(attention)
    ]
    for query in asked:
        qwen3.model(**their_inputs(qwen3, query))
    for handle in handles:
        handle.remove()
    for place, states in enumerate(prompt_states(backbone, asked, [0, 1, 2]).unbind(1)):
        torch.testing.assert_close(states, torch.stack(inside[place]), atol=1e-5, rtol=1e-5)
    assert {states.shape for states in demonstration_states(backbone, QUERIES, "last").values()} == {(4, 16)}
    whole = qwen3.model.get_image_features(
        **SquareProcessor("tiny", qwen3.processor.image_processor, SIDE)(images=[picture("one")], return_tensors="pt")
    )
    torch.testing.assert_close(features_of(backbone)("one"), whole.pooler_output[0].mean(0), atol=1e-5, rtol=1e-5)
    network, request = (
        KeNetwork((), backbone.width, KeMethod(method="ke")),
        EditRequest("1", "vqa", "one", "what?", "owl"),
    )
    trunk = backbone.run_below(backbone.encode([request.query]))
    (text,) = condition_texts(backbone, [request], trunk)
    chat = qwen3.processor.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
    words, read = qwen3.model.get_input_embeddings()(qwen3.tokenizer([chat], return_tensors="pt")["input_ids"]), []
    network.reader.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    network.changes(backbone, [request], trunk, {})
    torch.testing.assert_close(read[0], words)


def by_rotated_heads(module, states, slots, rotation):
    """Their attention over slots whose keys have no place, of queries at their places in time, row and column."""
    split = lambda tensor: tensor.unflatten(-1, (-1, module.head_dim)).transpose(-2, -3)  # noqa: E731
    queries = module.q_norm(module.q_proj(states).unflatten(-1, (-1, module.head_dim))).transpose(1, 2)
    keys = module.k_norm(module.k_proj(slots).unflatten(-1, (-1, module.head_dim))).transpose(0, 1)[None]
    queries, _ = apply_rotary_pos_emb(queries, queries, *rotation)
    scores = (queries @ keys.repeat_interleave(2, 1).transpose(-1, -2)) * 8**-0.5
    mixed = scores.softmax(-1) @ split(module.v_proj(slots))[None].repeat_interleave(2, 1)
    return module.o_proj(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("rotate", [False, True])
@torch.no_grad()
def test_the_latent_shift_reads_a_memory_through_the_norms_of_queries_and_keys(qwen3, rotate):
    alpha, slots, layers = 0.3, draw(5, 16, seed=5), (2, 3)
    memory = Memory(dict.fromkeys(layers, slots), dict.fromkeys(layers, slots))
    shift = latent_shift(memory, {}, top_k=5, alpha=alpha, rotate_memory=rotate)
    edited, model = ours(qwen3.backbone, patch_of(1, shift=shift)), copy.deepcopy(qwen3.model)

    def shifted(module, _, keywords, output):
        if rotate:
            known = by_rotated_heads(module, keywords["hidden_states"], slots, keywords["position_embeddings"])
        else:
            known = known_by_heads(module, keywords["hidden_states"], slots)
        return (1 - alpha) * output[0] + alpha * known, *output[1:]

    for layer in layers:
        model.model.language_model.layers[layer].self_attn.register_forward_hook(shifted, with_kwargs=True)
    close_to(model, qwen3, edited)
    assert (edited - ours(qwen3.backbone)).abs().max() > 0.03


@pytest.mark.parametrize("settings", [MoreMethod(method="m-ore", rank=4), LoraMethod(method="lora", layers="all")])
def test_methods_of_more_layers_than_can_be_edited_act_in_those_that_can(qwen3, settings):
    """M-ORE's twelve last layers, LoRA's "all": a tiny Qwen3-VL has four, and adds pictures behind the first two."""
    request = EditRequest("", "vqa", "one", "what is this?", "owl")
    editor = build_editor(settings, qwen3.backbone, EditorSources(Path()), 0)
    made = editor.edit([request], editor.start(1))
    (part,) = made.patch.parts
    inside = {layer for layer, _ in part.outputs} if settings.method == "m-ore" else set(part.layers)
    assert inside == {2, 3} and made.patch.first_layer == 2 and not any(made.failures)


def test_mend_and_ke_read_gradients_of_the_last_layers_that_can_be_edited(qwen3):
    """Three last layers are asked for. Theirs: the gradients of their own weights, through their own forward."""
    query, matrices = Query("one", "what is this?", "owl"), last_matrices(qwen3.backbone, 3)
    assert [matrix.layer for matrix in matrices] == [2, 2, 3, 3]
    trunk = request_trunk(qwen3.backbone, [EditRequest("", "vqa", query.image, query.prompt, query.answer)], 2)
    losses, found = edit_gradients(qwen3.backbone, trunk, matrices)
    model, answer = copy.deepcopy(qwen3.model), torch.tensor(qwen3.backbone.answer_ids(query.answer))
    weights = [model.model.language_model.layers[m.layer].get_submodule(m.name).weight for m in matrices]
    for weight in weights:
        weight.requires_grad_(True)
    logits = model(**their_inputs(qwen3, query)).logits[0, -len(answer) - 1 : -1]
    loss = torch.nn.functional.cross_entropy(logits, answer, reduction="sum")
    torch.testing.assert_close(losses[0] * len(answer), loss.detach())
    for matrix, wanted in zip(matrices, torch.autograd.grad(loss, weights), strict=True):
        made = torch.einsum("to,ti->oi", found[matrix].outputs[0], found[matrix].inputs[0])
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-4)


def test_edited_layers_that_begin_too_late_for_mend_and_ke_say_a_start_that_can_be(qwen3):
    backbone = copy.copy(qwen3.backbone)
    backbone.layers = (3,)
    with pytest.raises(InputError, match=r"layers 2 to 3, .* start at 3; expected a start at 2 or before"):
        last_matrices(backbone, 3)
    assert edited_layers([2], LAYERS, ADDED) == (2,)
