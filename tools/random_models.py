"""The paper's two backbones with random weights: shapes and bytes of the real ones, nothing of what they know.

For rehearsals and benchmarks at full size. Both are Hugging Face's BLIP-2: EVA-ViT-g (39 layers, width 1408, patch 14,
pictures of 364 pixels), a Q-Former of BERT-base's size with 32 queries, and OPT 2.7B or Llama 7B.

Example:
    >>> model = random_model(geometry("blip2-opt-2.7b", tiny=True), torch.bfloat16)  # doctest: +SKIP
"""

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import Blip2Config, Blip2ForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from unike_lib.io import read_json, write_json

Sizes = dict[str, Any]
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # OPT's, in its order
START = {"blip2-opt-2.7b": "</s>", "minigpt4-vicuna-7b": "<s>"}  # what the real tokenizers put in front of a text
LEARNED_WORDS = 2000  # tokens learned from texts; the rest of the vocabulary is pairs of bytes
VISION: Sizes = {"hidden_size": 1408, "num_hidden_layers": 39, "num_attention_heads": 16, "intermediate_size": 6144}
QFORMER: Sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TEXT: dict[str, Sizes] = {
    "blip2-opt-2.7b": {
        "model_type": "opt",
        "hidden_size": 2560,
        "word_embed_proj_dim": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "ffn_dim": 10240,
        "vocab_size": 50272,
        "max_position_embeddings": 2048,
        "dropout": 0.0,
    },
    "minigpt4-vicuna-7b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
    },
}
# What --tiny takes instead: the same architecture, small in every direction.
TINY: Sizes = {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 600}
TINY_PARTS: Sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def geometry(name: str, tiny: bool = False) -> Blip2Config:
    """Return the configuration of one of the paper's backbones, a key of `TEXT`; `tiny`: its small sister."""
    text, vision, qformer = dict(TEXT[name]), dict(VISION), dict(QFORMER)
    side, queries = (364, 32) if not tiny else (56, 4)
    if tiny:
        text |= TINY | {key: TINY["hidden_size"] for key in ("word_embed_proj_dim",) if key in text}
        text |= {key: value for key, value in (("ffn_dim", 128), ("intermediate_size", 96)) if key in text}
        text |= {"num_key_value_heads": 4} if "num_key_value_heads" in text else {}
        vision, qformer = dict(TINY_PARTS), dict(TINY_PARTS)
    ids = {"bos_token_id": SPECIAL.index(START[name]), "pad_token_id": 1, "eos_token_id": 2}
    return Blip2Config(
        vision_config={**vision, "image_size": side, "patch_size": 14, "initializer_range": 0.02},
        qformer_config={**qformer, "encoder_hidden_size": vision["hidden_size"], "cross_attention_frequency": 2},
        text_config={**text, **ids},
        num_query_tokens=queries,
    )


def random_model(config: Blip2Config, dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> Any:
    """Return a model with random weights, made in its dtype on its device: there is no copy in another dtype."""
    torch.manual_seed(seed)
    with torch.device(device):
        model: Any = Blip2ForConditionalGeneration._from_config(config, dtype=dtype)
    torch.nn.init.normal_(model.query_tokens, std=0.02)
    # Random weights hardly ever write the end symbol: every fourth token ends an answer, so that answers have an end.
    text: Any = config.text_config
    model.generation_config.eos_token_id = list(range(text.eos_token_id, text.vocab_size, 4))
    return model.eval().requires_grad_(False)


def byte_tokenizer(texts: Iterable[str], size: int, start: str) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE with exactly `size` tokens: words of the texts, then pairs of bytes.

    It splits any text, and the texts that it was made from about as finely as a real tokenizer does; it puts the token
    `start` (one of `SPECIAL`) in front of a text.

    Raises:
        ValueError: there are not so many pairs of bytes, or not room for all bytes.
    """
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=min(LEARNED_WORDS, size),
        special_tokens=list(SPECIAL),
        initial_alphabet=letters,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    vocabulary: dict[str, int] = learned["vocab"]
    merges = [tuple(pair) for pair in learned["merges"]]
    for pair in product(letters, letters):
        if len(vocabulary) == size:
            break
        if "".join(pair) not in vocabulary:
            vocabulary["".join(pair)] = len(vocabulary)
            merges.append(pair)
    if len(vocabulary) != size:
        raise ValueError(f"a byte-level vocabulary of {size} tokens cannot be made: it has {len(vocabulary)}")
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    template = {"single": f"{start} $A", "special_tokens": [(start, vocabulary[start])]}
    tokenizer.post_processor = processors.TemplateProcessing(**template)
    names = {"bos_token": start, "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


def write_random_checkpoint(name: str, texts: Iterable[str], folder: Path, tiny: bool = False) -> None:
    """Write a random backbone in bfloat16 as a `save_pretrained` folder: model, tokenizer, image processor.

    A folder that is complete already is left as it is.

    Args:
        name: a key of `TEXT`.
        texts: what the tokenizer learns its words from.
        folder: where it is written; `complete.json` comes last.
        tiny: the small sister.
    """
    mark, done = {"name": name, "tiny": tiny, "start": START[name]}, folder / "complete.json"
    if done.is_file() and read_json(done) == mark:
        return
    config: Any = geometry(name, tiny)
    side = config.vision_config.image_size
    random_model(config, torch.bfloat16).save_pretrained(folder)
    byte_tokenizer(texts, config.text_config.vocab_size, START[name]).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    write_json(done, mark)
