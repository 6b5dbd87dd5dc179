"""A benchmark of three things on two backgrounds, what the tower sees of it, and a tiny pretrained language model."""

import itertools
import json
import zipfile

import gguf
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM

from unike_lib.embedded.training import tower_features
from unike_lib.embedded.training.smol_base import MEMBER, build_base
from unike_lib.embedded.training.tower_features import extract_tower_features

NAMES, COLOURS = ["cat", "hot dog", "owl"], [(250, 250, 250), (40, 40, 90)]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<reserved_{i}>" for i in range(3, 17))]
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), "Ġc", "at", "Ġcat", "16"]
MERGES = ["Ġ c", "a t", "Ġc at", "1 6"]


def picture(left: int, right: int, background: int) -> np.ndarray:
    """Two 64-pixel tiles: each thing is a texture of its own."""
    tiles = []
    for concept in (left, right):
        tile = np.full((64, 64, 3), COLOURS[background], dtype=np.uint8)
        if concept >= 0:
            tile[12:52, 12:52] = np.random.default_rng(concept).integers(0, 256, (5, 5, 3)).repeat(8, 0).repeat(8, 1)
        tiles.append(tile)
    return np.concatenate(tiles, axis=1)


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "images").mkdir()
    slots = [(c, -1) for c in range(3)] + [(-1, c) for c in range(3)] + [(0, 1), (1, 2), (2, 0)]
    scenes, rows = [], []
    for number, ((left, right), background) in enumerate(itertools.product(slots, range(2))):
        name = f"images/{number}.png"
        Image.fromarray(picture(left, right, background)).save(folder / name)
        scenes.append((name, "training", left, right, background, "noto", False))
        if -1 in (left, right):
            answer = NAMES[max(left, right)]
            rows.append((name, "vqa", "naming", "", ["what is this ?", "name it ."], answer, []))
        else:
            answer = f"{NAMES[left]} beside {NAMES[right]}"
            rows.append((name, "caption", "caption", "", ["a photo of"], answer, []))
    rows.append((None, "text", "kind", "owl", ["what kind is owl ?"], "bird", []))
    scenes.append(("images/none.png", "eval", 0, -1, 0, "twemoji", True))
    fields = ["image", "split", "left", "right", "background", "artist", "occluded"]
    pd.DataFrame(scenes, columns=fields).to_parquet(folder / "scenes.parquet")
    fields = ["image", "task", "relation", "name", "prompts", "answer", "facts"]
    pd.DataFrame(rows, columns=fields).to_parquet(folder / "training.parquet")
    words = {word for row in rows for text in (*row[4], row[5]) for word in text.split()}
    (folder / "vocabulary.json").write_text(json.dumps(sorted(words)))
    return folder


@pytest.fixture(scope="session")
def features(benchmark, tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "features.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tower_features, "COVERED_SHARE", 0.0)
        extract_tower_features(benchmark, path)
    return path


@pytest.fixture(scope="session")
def original():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(TOKENS), num_key_value_heads=2, tie_word_embeddings=True, **sizes)
    return LlamaForCausalLM(config).half().float().eval()


@pytest.fixture(scope="session")
def wheel(original, tmp_path_factory):
    """A wheel with the original as GGUF, written the way llama.cpp orders rotary projections."""
    folder = tmp_path_factory.mktemp("wheel")
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_block_count(3)
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_vocab_size(len(TOKENS))
    writer.add_rope_freq_base(original.config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(original.config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
    for name, value in original.state_dict().items():
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
        if heads is not None:  # the permutation of llama.cpp's own converter
            value = value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "tiny.gguf", MEMBER)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture(scope="session")
def base(wheel, tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "tiny"
    build_base(wheel, out)
    return out
