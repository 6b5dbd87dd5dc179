"""SmolVLM, Idefics3, LLaVA against Hugging Face: its processors' token ids, its merging of images, its forward."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patches import latent_shift, patch_of
from tiny_families import LAYERS, QWEN, SIDE, family_of, image_mark, picture, tiny_family

from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.generate import generate
from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.backbones.visual import VisualStore, embed_images, extract_visual
from unike_lib.config.backbones import BackboneConfig
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.context_visibility import SEPARATOR, behind, run_visible
from unike_lib.knowledge.memory import Memory
from unike_lib.methods.shared.neurons import Neurons
from unike_lib.types import InputError, Query

QUERIES = [
    Query("one", "what is this?", "red cat"),
    Query(None, "what is an owl?", "an owl on the left"),
    Query("two", "a photo of", "owl", "plain"),
    Query("one", "is this on the left?"),
]


NAMES = ["smolvlm", "smolvlm2", "idefics3", "llava", "llava+qwen2", *QWEN, "gemma3"]
NAMES += ["llava-chatml+qwen3", "internvl+qwen2", "internvl+llama", "llava-onevision+qwen2"]


@pytest.fixture(scope="module", params=NAMES)
def tiny(request):
    name, _, text = request.param.partition("+")
    return tiny_family(name, text or "llama")


def their_inputs(tiny, query):
    """What the model's own processor makes of a query, with the answer written after the generation prompt."""
    prompt = f"Question: {query.prompt} Short answer:" if query.style == "question" else query.prompt
    content = [{"type": "image"}] * (query.image is not None) + [{"type": "text", "text": prompt}]
    chat = [{"role": "user", "content": content}]
    text = tiny.processor.apply_chat_template(chat, add_generation_prompt=True)
    space = "" if text.endswith("\n") else " "
    text += space + query.answer if query.answer else ""
    images = {} if query.image is None else {"images": [picture(query.image)]}
    return tiny.processor(text=text, return_tensors="pt", **images)


@torch.no_grad()
def test_logits_equal_the_whole_model_after_its_own_processor(tiny):
    """Chat template, image placeholders, pixels, merging, all layers: nothing of ours on the other side."""
    backbone = tiny.backbone
    batch = backbone.encode(QUERIES)
    ours = backbone.forward(backbone.run_below(batch))
    for row, query in enumerate(QUERIES):
        theirs = tiny.model(**their_inputs(tiny, query)).logits[0]
        assert len(theirs) == int(batch.lengths[row])
        torch.testing.assert_close(ours[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_equal_the_whole_model_on_a_padded_batch(tiny):
    inputs = [their_inputs(tiny, query) for query in QUERIES]
    rows = [each["input_ids"][0] for each in inputs]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tiny.tokenizer.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    pixels = torch.cat([each["pixel_values"] for each in inputs if "pixel_values" in each])
    if pixels.ndim == 5 and tiny.name != "llava-onevision":  # one sample with all pictures, merged in their order
        pixels = pixels.transpose(0, 1)
    more = {}
    if tiny.name in QWEN:
        kinds = [each["mm_token_type_ids"][0] for each in inputs]
        more["mm_token_type_ids"] = torch.nn.utils.rnn.pad_sequence(kinds, batch_first=True)
        more["image_grid_thw"] = torch.cat([each["image_grid_thw"] for each in inputs if "image_grid_thw" in each])
    if tiny.name == "llava-onevision":
        more = {"image_sizes": torch.cat([each["image_sizes"] for each in inputs if "image_sizes" in each])}
        more["batch_num_images"] = torch.tensor([len(pixels)])
    if tiny.name == "gemma3":
        kinds = [each["token_type_ids"][0] for each in inputs]
        more["token_type_ids"] = torch.nn.utils.rnn.pad_sequence(kinds, batch_first=True)
    theirs = tiny.model(input_ids=ids, attention_mask=mask, pixel_values=pixels, **more).logits
    backbone = tiny.backbone
    ours = backbone.forward(backbone.run_below(backbone.encode(QUERIES)))
    torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=1e-5, rtol=0)


TEXT = st.text("abc what is?.,:'1-", min_size=1, max_size=30).map(lambda text: " ".join(text.split())).filter(bool)


@torch.no_grad()
def test_a_query_behind_a_demonstration_equals_the_whole_model(tiny):
    """Their token ids of both, one after the other, with both pictures; they find the positions themselves."""
    backbone, last = tiny.backbone, replace(QUERIES[2], answer=None)
    pairs = [(QUERIES[0], last), (QUERIES[1], QUERIES[3]), (QUERIES[2], QUERIES[3])]
    batch, context = behind(backbone, *zip(*pairs, strict=True))
    ((_, hidden),) = run_visible(backbone.decoder, batch, context, {"all": range(LAYERS)})
    ours = backbone.decoder.logits(backbone.decoder.finish(hidden))
    between = torch.tensor([backbone.tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]])
    for row, pair in enumerate(pairs):
        parts = [their_inputs(tiny, query) for query in pair]
        inputs = {}
        for name in parts[1]:
            tokens = parts[1][name].shape == parts[1]["input_ids"].shape
            middle = [between if name == "input_ids" else torch.full_like(between, int("mask" in name))] * tokens
            beside = int(tokens or tiny.name in ("smolvlm", "smolvlm2", "idefics3"))
            found = [part[name] for part in parts if name in part]
            inputs[name] = torch.cat([found[0], *middle, *found[1:]], beside)
        theirs = tiny.model(**inputs).logits[0]
        assert len(theirs) == int(batch.lengths[row])
        torch.testing.assert_close(ours[row, : len(theirs)], theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("style", ["question", "plain"])
@settings(max_examples=25, deadline=None)
@given(prompt=TEXT, answer=TEXT, with_image=st.booleans())
def test_any_text_has_the_token_ids_of_their_processor(tiny, style, prompt, answer, with_image):
    query = Query("one" if with_image else None, prompt, answer, style)
    ids = their_inputs(tiny, query)["input_ids"][0]
    batch = tiny.backbone.encode([query])
    embedded = tiny.model.get_input_embeddings()(ids)
    placeholder = ids == tiny.tokenizer.convert_tokens_to_ids(image_mark(tiny.name))
    assert bool(placeholder.any()) is with_image
    written = batch.embeddings[0, :, : embedded.shape[1]]  # Qwen3-VL's are wider: what is added later, of pictures
    torch.testing.assert_close(written[~placeholder], embedded[~placeholder])
    written = batch.targets[0][batch.targets[0] != IGNORED]
    assert written.tolist() == ids[int(batch.last_prompt[0]) + 1 :].tolist()


@torch.no_grad()
def test_the_unedited_model_writes_what_its_own_full_passes_say(tiny):
    """Written behind kept keys and values, where pictures on a grid take fewer positions than tokens."""
    answers = generate(tiny.backbone, QUERIES, [[], [], [5, 6], []], None, max_new_tokens=4)
    for query, answer in zip(QUERIES, answers, strict=True):
        ids = their_inputs(tiny, replace(query, answer=None))
        for token in answer:
            logits = tiny.model(**ids).logits[0, -1]
            assert float(logits.max() - logits[token]) < 1e-4
            ids["input_ids"] = torch.cat([ids["input_ids"], torch.tensor([[token]])], 1)
            for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
                if name in ids:
                    more = torch.full((1, 1), int(name == "attention_mask"), dtype=ids[name].dtype)
                    ids[name] = torch.cat([ids[name], more], 1)


def test_generation_stops_where_the_chat_ends(tiny):
    assert tiny.tokenizer.eos_token_id in tiny.backbone.stop_tokens


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.4


def close_to_their_forward(tiny, edited):
    for row, query in enumerate(QUERIES):
        theirs = tiny.model(**their_inputs(tiny, query)).logits[0]
        torch.testing.assert_close(edited[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_weight_delta_equals_the_changed_weight_of_their_model(tiny):
    backbone, layer = tiny.backbone, LAYERS - 1
    trunk = backbone.run_below(backbone.encode(QUERIES))
    plain = backbone.forward(trunk)
    torch.testing.assert_close(backbone.forward(trunk, Patch(1)), plain)
    module = backbone.decoder.layers[layer].part("mlp.down_proj")
    delta = draw(*module.weight.shape)
    edited = backbone.forward(trunk, patch_of(1, changes={layer: {"mlp.down_proj": delta[None]}}))
    assert (edited - plain).abs().max() > 1e-2
    module.weight += delta
    try:
        close_to_their_forward(tiny, edited)
    finally:
        module.weight -= delta


@torch.no_grad()
def test_neurons_and_a_latent_shift_equal_hooks_on_their_modules(tiny):
    backbone, alpha = tiny.backbone, 0.3
    layer = backbone.decoder.layers[-1]
    new = {"keys": draw(1, 16, 3), "key_bias": draw(1, 3, seed=1), "values": draw(1, 3, 16, seed=2)}
    neurons = Neurons(**new, up=draw(1, 16, 3, seed=3), up_bias=draw(1, 3, seed=4))
    slots = draw(5, 16, seed=5)
    shift = latent_shift(Memory({layer.index: slots}, {layer.index: slots}), {}, top_k=5, alpha=alpha)
    trunk = backbone.run_below(backbone.encode(QUERIES))
    edited = backbone.forward(trunk, patch_of(1, {layer.index: neurons}, shift=shift))
    assert (edited - backbone.forward(trunk)).abs().max() > 1e-2

    def shifted(module, arguments, keywords, output):
        known = known_by_heads(module, keywords["hidden_states"], slots)
        return (1 - alpha) * output[0] + alpha * known, *output[1:]

    def widened(module, arguments, output):
        (inputs,) = arguments
        gate = module.act_fn(inputs @ neurons.keys[0] + neurons.key_bias)
        return output + (gate * (inputs @ neurons.up[0] + neurons.up_bias)) @ neurons.values[0]

    handles = [layer.attention.register_forward_hook(shifted, with_kwargs=True)]
    handles.append(layer.module.mlp.register_forward_hook(widened))
    try:
        close_to_their_forward(tiny, edited)
    finally:
        for handle in handles:
            handle.remove()


def known_by_heads(module, states, slots):
    """Attention of states [row, token, d] over slots without positions, by torch's own kernel, head by head."""
    split = lambda tensor: tensor.unflatten(-1, (-1, module.head_dim)).transpose(-2, -3)  # noqa: E731
    queries, keys, values = split(module.q_proj(states)), split(module.k_proj(slots)), split(module.v_proj(slots))
    if hasattr(module, "q_norm"):
        queries, keys = module.q_norm(queries), module.k_norm(keys)
    kernel = partial(torch.nn.functional.scaled_dot_product_attention, scale=module.scaling)
    heads = [kernel(query, keys[index // 2], values[index // 2]) for index, query in enumerate(queries.unbind(-3))]
    return module.o_proj(torch.cat(heads, -1))


def saved(tiny, folder):
    for part in (tiny.model, tiny.tokenizer, tiny.processor.image_processor):
        part.save_pretrained(folder)
    return folder


def test_a_saved_folder_is_a_backbone(tiny, tmp_path):
    name = family_of(tiny.name)
    size = SIDE if name in QWEN else None
    config = BackboneConfig(family=name, folder=str(saved(tiny, tmp_path / "model")), image_size=size)
    processor = load_processor(config.folder, config)
    assert type(getattr(processor, "processor", processor)).__name__.endswith("Pil")
    loaded = load_backbone(config.folder, config, lambda names: None)
    store = tmp_path / "visual.safetensors"
    extract_visual(loaded.model, processor, ["one", "two", "one"], picture, store, "fingerprint")
    loaded.images = VisualStore(store)
    batch, expected = loaded.encode(QUERIES), tiny.backbone.encode(QUERIES)
    torch.testing.assert_close(batch.embeddings, expected.embeddings, atol=1e-5, rtol=0)
    ours, theirs = loaded.forward(loaded.run_below(batch)), tiny.backbone.forward(tiny.backbone.run_below(expected))
    torch.testing.assert_close(ours[batch.mask], theirs[batch.mask], atol=1e-5, rtol=0)
    assert loaded.layers == tuple(range(2 if name == "qwen3-vl" else 0, LAYERS))


def test_pictures_cut_into_tiles_are_refused():
    tiny = tiny_family("smolvlm")
    tiny.processor.image_processor.do_image_splitting = True
    with pytest.raises(InputError, match="one tile per picture, found 5 for 1"):
        embed_images(tiny.model, tiny.processor.image_processor, [picture("one").resize((32, 32))])


def test_attention_is_torchs_own_kernel(tiny):
    assert tiny.model.config._attn_implementation == "sdpa"
    assert tiny.backbone.decoder.stack.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: no")]
)
def test_a_pass_that_does_not_fit_names_its_size_and_the_setting(make_backbone, monkeypatch, error):
    backbone = make_backbone("blip2")
    batch = backbone.encode([Query(None, "what is this ?")] * 5)

    def full(*_, **__):
        raise error

    trunk = backbone.run_below(batch)
    monkeypatch.setattr(backbone.decoder, "through", full)
    for call in (lambda: backbone.run_below(batch), lambda: backbone.forward(trunk)):
        with pytest.raises(
            InputError, match=r"out of memory on cpu in a pass of 5 rows of 9 tokens: lower evaluation\.sessions"
        ):
            call()


def test_other_faults_of_a_pass_keep_their_own_words(make_backbone, monkeypatch):
    backbone = make_backbone("blip2")
    batch = backbone.encode([Query(None, "what is this ?")])
    monkeypatch.setattr(backbone.decoder, "through", lambda *_, **__: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        backbone.run_below(batch)
