"""MiniGPT-4 as its papers describe it, over tiny random tensors under the names of its files.

Written for the tests alone: an EVA ViT (Fang et al. 2022), a BERT Q-Former with cross-attention in every second layer
(Li et al. 2023), a linear projection; the language model is any that takes embeddings.
"""

import math

import torch
from torch.nn.functional import conv2d, gelu, layer_norm, linear

VISION, VISION_HEADS, BLOCKS, PATCH, SIDE = 24, 2, 3, 4, 12
QFORMER, QFORMER_HEADS, LAYERS, QUERIES = 16, 2, 4, 5


def draw(generator, *shape, mean=0.0, deviation=0.15):
    return mean + deviation * torch.randn(*shape, generator=generator)


def norm_tensors(generator, name, width):
    return {f"{name}.weight": draw(generator, width, mean=1.0), f"{name}.bias": draw(generator, width)}


def linear_tensors(generator, name, outward, inward):
    return {f"{name}.weight": draw(generator, outward, inward), f"{name}.bias": draw(generator, outward)}


def eva_file(generator):
    """One block more than is used, and a final norm that is not."""
    tensors = {
        "cls_token": draw(generator, 1, 1, VISION),
        "pos_embed": draw(generator, 1, (SIDE // PATCH) ** 2 + 1, VISION),
        "patch_embed.proj.weight": draw(generator, VISION, 3, PATCH, PATCH, deviation=0.01),
        "patch_embed.proj.bias": draw(generator, VISION),
        **norm_tensors(generator, "norm", VISION),
    }
    for block in range(BLOCKS + 1):
        name = f"blocks.{block}"
        tensors |= norm_tensors(generator, f"{name}.norm1", VISION) | norm_tensors(generator, f"{name}.norm2", VISION)
        tensors[f"{name}.attn.qkv.weight"] = draw(generator, 3 * VISION, VISION)
        tensors |= {f"{name}.attn.{part}_bias": draw(generator, VISION) for part in "qv"}
        tensors |= linear_tensors(generator, f"{name}.attn.proj", VISION, VISION)
        tensors |= linear_tensors(generator, f"{name}.mlp.fc1", 2 * VISION, VISION)
        tensors |= linear_tensors(generator, f"{name}.mlp.fc2", VISION, 2 * VISION)
    return tensors


def qformer_file(generator):
    """With the parts for reading text and for T5, which MiniGPT-4 does not use."""
    bert = "Qformer.bert"
    tensors = {
        "query_tokens": draw(generator, 1, QUERIES, QFORMER, deviation=1.0),
        f"{bert}.embeddings.position_ids": torch.arange(7)[None],
        f"{bert}.embeddings.word_embeddings.weight": draw(generator, 9, QFORMER),
        f"{bert}.embeddings.position_embeddings.weight": draw(generator, 7, QFORMER),
        "Qformer.cls.predictions.bias": draw(generator, 9),
        **norm_tensors(generator, f"{bert}.embeddings.LayerNorm", QFORMER),
        **norm_tensors(generator, "ln_vision", VISION),
        **linear_tensors(generator, "t5_proj", 8, QFORMER),
    }
    for layer in range(LAYERS):
        name = f"{bert}.encoder.layer.{layer}"
        for kind, inward in {"attention": QFORMER, **({"crossattention": VISION} if layer % 2 == 0 else {})}.items():
            tensors |= linear_tensors(generator, f"{name}.{kind}.self.query", QFORMER, QFORMER)
            tensors |= linear_tensors(generator, f"{name}.{kind}.self.key", QFORMER, inward)
            tensors |= linear_tensors(generator, f"{name}.{kind}.self.value", QFORMER, inward)
            tensors |= linear_tensors(generator, f"{name}.{kind}.output.dense", QFORMER, QFORMER)
            tensors |= norm_tensors(generator, f"{name}.{kind}.output.LayerNorm", QFORMER)
        for suffix in ("", "_query"):
            tensors |= linear_tensors(generator, f"{name}.intermediate{suffix}.dense", 2 * QFORMER, QFORMER)
            tensors |= linear_tensors(generator, f"{name}.output{suffix}.dense", QFORMER, 2 * QFORMER)
            tensors |= norm_tensors(generator, f"{name}.output{suffix}.LayerNorm", QFORMER)
    return tensors


def projection_file(generator, width):
    return linear_tensors(generator, "llama_proj", width, QFORMER)


def attended(query, key, value, heads):
    """Softmax attention, head by head, without a mask."""
    parts = zip(*(part.chunk(heads, -1) for part in (query, key, value)), strict=True)
    mixed = [(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v for q, k, v in parts]
    return torch.cat(mixed, -1)


def affine(file, name, states):
    return linear(states, file[f"{name}.weight"], file[f"{name}.bias"])


def normed(file, name, states, eps):
    return layer_norm(states, states.shape[-1:], file[f"{name}.weight"], file[f"{name}.bias"], eps)


def visual_tokens(eva, bridge, projection, pixels):
    """What the language model sees of pictures [picture, 3, side, side]: [picture, query, width]."""
    patches = conv2d(pixels, eva["patch_embed.proj.weight"], eva["patch_embed.proj.bias"], stride=PATCH)
    patches = patches.flatten(2).transpose(1, 2)
    states = torch.cat([eva["cls_token"].expand(len(pixels), -1, -1), patches], 1) + eva["pos_embed"]
    for block in (f"blocks.{index}" for index in range(BLOCKS)):
        inputs = normed(eva, f"{block}.norm1", states, 1e-6)
        query, key, value = (inputs @ eva[f"{block}.attn.qkv.weight"].T).chunk(3, -1)
        query, value = query + eva[f"{block}.attn.q_bias"], value + eva[f"{block}.attn.v_bias"]
        states = states + affine(eva, f"{block}.attn.proj", attended(query, key, value, VISION_HEADS))
        inputs = normed(eva, f"{block}.norm2", states, 1e-6)
        states = states + affine(eva, f"{block}.mlp.fc2", gelu(affine(eva, f"{block}.mlp.fc1", inputs)))
    seen = normed(bridge, "ln_vision", states, 1e-5)
    bert = "Qformer.bert"
    states = normed(bridge, f"{bert}.embeddings.LayerNorm", bridge["query_tokens"].expand(len(pixels), -1, -1), 1e-12)
    for index in range(LAYERS):
        layer = f"{bert}.encoder.layer.{index}"
        for kind in ("attention", "crossattention") if index % 2 == 0 else ("attention",):
            source = states if kind == "attention" else seen
            name = f"{layer}.{kind}.self"
            query = affine(bridge, f"{name}.query", states)
            key, value = affine(bridge, f"{name}.key", source), affine(bridge, f"{name}.value", source)
            mixed = affine(bridge, f"{layer}.{kind}.output.dense", attended(query, key, value, QFORMER_HEADS))
            states = normed(bridge, f"{layer}.{kind}.output.LayerNorm", mixed + states, 1e-12)
        inner = gelu(affine(bridge, f"{layer}.intermediate_query.dense", states))
        outward = affine(bridge, f"{layer}.output_query.dense", inner)
        states = normed(bridge, f"{layer}.output_query.LayerNorm", outward + states, 1e-12)
    return affine(projection, "llama_proj", states)
