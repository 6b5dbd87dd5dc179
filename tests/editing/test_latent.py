"""The latent shift against loops over heads and tokens, and against attention over a concatenated memory (Eq. 8-9)."""

import math
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from patches import latent_shift, patch_of
from tiny_models import QUERIES, WIDTH
from torch.nn.functional import cosine_similarity

from unike_lib.backbones.edit import PassContext, Trace
from unike_lib.knowledge.encoders import Encoder
from unike_lib.knowledge.memory import Memory
from unike_lib.methods.unike.latent_shift import Slots

ENTRIES = 9


def make_memory(layers=(2, 3, 4, 5)):
    generator = torch.Generator().manual_seed(5)
    draw = lambda: {layer: torch.randn(ENTRIES, WIDTH, generator=generator) for layer in layers}  # noqa: E731
    return Memory(draw(), draw())


def make_shift(**settings):
    torch.manual_seed(0)
    encoders = {layer: Encoder(WIDTH, 8, WIDTH, 2).requires_grad_(False) for layer in range(6)}
    return latent_shift(make_memory(), encoders, **{"top_k": 4, **settings})


def attend_by_hand(layer, query, slots):
    """One row: loops over heads and tokens. Returns outputs [token, d] and head-averaged weights [token, slot]."""
    module, width = layer.attention, layer.attention.head_dim
    queries, keys, values = module.q_proj(query), module.k_proj(slots), module.v_proj(slots)
    heads, kv_heads = queries.shape[-1] // width, keys.shape[-1] // width
    outputs, weights = torch.zeros_like(queries), torch.zeros(len(query), len(slots))
    for head in range(heads):
        own, shared = slice(head * width, (head + 1) * width), head // (heads // kv_heads)
        theirs = slice(shared * width, (shared + 1) * width)
        for token in range(len(query)):
            scores = [float(queries[token, own] @ key[theirs]) / math.sqrt(width) for key in keys]
            share = torch.tensor([math.exp(score) for score in scores])
            share /= share.sum()
            weights[token] += share / heads
            outputs[token, own] = sum(w * value[theirs] for w, value in zip(share, values, strict=True))
    return layer.part(f"{layer.names.attention}.{layer.names.output}")(outputs), weights


def inputs_outputs(backbone):
    layer = backbone.decoder.layers[4]
    generator = torch.Generator().manual_seed(3)
    draw = lambda: torch.randn(8, 5, WIDTH, generator=generator)  # noqa: E731
    return layer, draw(), draw(), torch.tensor([2, 4, 1, 3, 0, 2, 4, 1])


@pytest.mark.parametrize("operands", ["mixture", "attention_outputs"])
@pytest.mark.parametrize(("attention", "scale"), [("projected", 0.7), ("raw", 0.7), ("raw", 20.0)])
def test_shift_equals_the_loops(backbone, operands, attention, scale):
    """Also where the similarity is negative (alpha 0), and where its scale takes it above one (alpha 1)."""
    shift = make_shift(alpha_operands=operands, attention_kind=attention, alpha_scale=scale)
    layer, inputs, outputs, last = inputs_outputs(backbone)
    trace = Trace()
    shifted = shift.attention(layer, inputs, outputs, PassContext(last, trace))
    keys = make_memory()
    alphas = trace.notes["alpha"][4]
    assert (alphas > 0).any() and (alphas == 0).any() and (alphas == 1).any() == (scale > 1)
    for row in range(8):
        query = inputs[row, last[row]]
        raw_keys = list(keys.keys[4])
        order = sorted(range(ENTRIES), key=lambda i: -float(cosine_similarity(query, raw_keys[i], dim=0)))[:4]
        slots = keys.values[4][order]
        if attention == "projected":
            known, weights = attend_by_hand(layer, inputs[row], slots)
        else:
            weights = torch.softmax(inputs[row] @ slots.T / math.sqrt(WIDTH), -1)
            known = weights @ slots
        at = int(last[row])
        left = weights[at] @ slots if operands == "mixture" else known[at]
        right = query if operands == "mixture" else outputs[row, at]
        alpha = min(1.0, scale * max(0.0, float(cosine_similarity(shift.encoders[4](left), right, dim=0))))
        assert float(trace.notes["alpha"][4][row]) == pytest.approx(alpha, abs=1e-5)
        torch.testing.assert_close(shifted[row], (1 - alpha) * outputs[row] + alpha * known, atol=1e-5, rtol=0)


def test_alpha_zero_is_the_identity_and_printed_swaps_the_roles(backbone):
    layer, inputs, outputs, last = inputs_outputs(backbone)
    apply = lambda **settings: make_shift(**settings).attention(layer, inputs, outputs, PassContext(last))  # noqa: E731
    torch.testing.assert_close(apply(alpha=0.0), outputs, atol=0, rtol=0)
    printed, text = apply(alpha=0.3, alpha_convention="printed"), apply(alpha=0.7)
    torch.testing.assert_close(printed, text, atol=1e-6, rtol=0)


def test_sharing_by_softmax_mass_equals_attention_over_the_concatenated_memory(make_backbone):
    """UniKE App. A: with alpha the memory's share of the softmax mass, the shift IS in-context attention."""
    backbone = make_backbone("blip2")
    layer = backbone.decoder.layers[3]
    module, width = layer.attention, layer.attention.head_dim
    states, slots = torch.randn(1, 1, WIDTH), torch.randn(1, 6, WIDTH)
    own = torch.randn(1, 3, WIDTH)
    heads = WIDTH // width
    split = lambda x: x.view(-1, heads, width).transpose(0, 1)  # noqa: E731
    query = split(module.q_proj(states)[0])
    scores = [query @ split(module.k_proj(part)[0]).transpose(1, 2) / width**0.5 for part in (slots, own)]
    joint = torch.cat(scores, -1).softmax(-1) @ torch.cat([split(module.v_proj(p)[0]) for p in (slots, own)], 1)
    mass = [s.exp().sum(-1, keepdim=True) for s in scores]
    alpha = mass[0] / (mass[0] + mass[1])
    parts = [split_heads(layer.attend(states, part)[0], layer) for part in (slots, own)]
    torch.testing.assert_close(alpha * parts[0] + (1 - alpha) * parts[1], joint, atol=1e-5, rtol=0)


def split_heads(outputs, layer):
    """Undo W_o, so that heads can be weighed one by one."""
    projection = layer.part(f"{layer.names.attention}.{layer.names.output}")
    mixed = torch.linalg.solve(projection.weight.T, (outputs[0] - projection.bias), left=False)
    return mixed.view(-1, WIDTH // layer.attention.head_dim, layer.attention.head_dim).transpose(0, 1)


def test_the_shift_covers_the_layers_of_its_memory_only(backbone):
    shift = make_shift(alpha=0.5)
    layer, inputs, outputs, last = inputs_outputs(backbone)
    assert patch_of(1, shift=shift).attention(SimpleNamespace(index=1), inputs, outputs, PassContext(last)) is outputs
    assert not torch.equal(patch_of(1, shift=shift).attention(layer, inputs, outputs, PassContext(last)), outputs)


def test_the_retrieval_uses_the_last_prompt_token_not_the_answer(backbone):
    """Same prompt, other answers: the same alpha, so a teacher-forced answer cannot leak into the retrieval."""
    patch = patch_of(1, shift=make_shift(alpha_scale=0.5))
    alphas = []
    for answer in ("hot dog", "owl"):
        trace = Trace()
        query = QUERIES[0].__class__(QUERIES[0].image, QUERIES[0].prompt, answer)
        backbone.forward(backbone.run_below(backbone.encode([query])), patch, trace=trace)
        alphas.append(torch.stack(list(trace.notes["alpha"].values())))
    torch.testing.assert_close(*alphas, atol=1e-5, rtol=0)


def test_rotated_queries_turn_by_their_places(make_backbone):
    """Pairs (i, i + d/2) as complex numbers, turned by place * theta^(-2i/d); entries stand at position 0."""
    backbone = make_backbone("minigpt4")
    layer, inputs, _, _ = inputs_outputs(backbone)
    module, width = layer.attention, layer.attention.head_dim
    rotation = backbone.decoder.masks(inputs, None)["position_embeddings"]
    angles = 10000.0 ** (-2 * torch.arange(width // 2) / width) * torch.arange(inputs.shape[1])[:, None]
    queries = module.q_proj(inputs).unflatten(-1, (-1, width))
    pairs = torch.complex(queries[..., : width // 2], queries[..., width // 2 :])
    pairs = pairs * torch.polar(torch.ones_like(angles), angles)[:, None]
    turned = torch.cat([pairs.real, pairs.imag], -1).flatten(-2)
    slots = torch.randn(len(inputs), 3, WIDTH, generator=torch.Generator().manual_seed(1))
    outputs, weights = layer.attend(inputs, slots, rotation)
    with mock.patch.object(module.q_proj, "forward", lambda _: turned):
        expected, shares = layer.attend(inputs, slots)
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights, shares, atol=1e-5, rtol=1e-4)
    plain, _ = layer.attend(inputs, slots)
    torch.testing.assert_close(outputs[:, 0], plain[:, 0], atol=1e-5, rtol=0)  # place 0 turns by nothing
    assert (outputs[:, 1:] - plain[:, 1:]).abs().amax() > 1e-3


@pytest.mark.parametrize("turning", [True, False])
def test_only_rotary_models_turn_queries(backbone, family, turning):
    """In a whole pass: a shift that turns queries answers otherwise than one that does not, where places turn them."""
    batch = backbone.encode(QUERIES)
    settings = {"alpha": 0.9, "alpha_convention": "text"}
    shifts = [make_shift(rotate_memory=turn, **settings) for turn in (turning, False)]
    found = [backbone.forward(backbone.run_below(batch), patch_of(1, shift=shift)) for shift in shifts]
    assert torch.equal(*found) == (not turning or family == "blip2")


def test_own_slots_equal_a_memory_that_holds_them(backbone):
    """Each session's rows see the shared memory and the session's own entry, as if it had been in the memory."""
    layer, inputs, outputs, last = inputs_outputs(backbone)
    settings = {"top_k": ENTRIES + 1, "retrieval_temperature": 0.5}
    shift, generator = make_shift(**settings), torch.Generator().manual_seed(8)
    own = Slots(*(torch.randn(2, 1, WIDTH, generator=generator) for _ in range(2)))
    shifted = replace(shift, own={layer.index: own}).attention(layer, inputs, outputs, PassContext(last))
    for session in range(2):
        keys = shift.memory.keys[4]
        keys = torch.cat([keys, own.keys[session]])
        values = torch.cat([shift.memory.values[4], own.values[session]])
        joined = latent_shift(Memory({4: keys}, {4: values}), shift.encoders, **settings)
        rows = slice(4 * session, 4 * session + 4)
        expected = joined.attention(layer, inputs[rows], outputs[rows], PassContext(last[rows]))
        torch.testing.assert_close(shifted[rows], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["projected", "raw"])
def test_retrieval_temperature_sharpens_towards_the_best_key(backbone, attention):
    layer, inputs, outputs, last = inputs_outputs(backbone)
    apply = lambda **settings: make_shift(alpha=0.5, attention_kind=attention, **settings).attention(  # noqa: E731
        layer, inputs, outputs, PassContext(last)
    )
    torch.testing.assert_close(apply(retrieval_temperature=1e-6), apply(top_k=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(apply(retrieval_temperature=1e9), apply(), atol=1e-5, rtol=0)
    assert not torch.allclose(apply(retrieval_temperature=0.1), apply())


def keys_of(shift, layer):
    return list(shift.memory.keys[layer])
