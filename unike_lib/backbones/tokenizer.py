"""What a tokenizer does at the start of a text and of an answer."""

import json
from typing import Any


def starts_texts(tokenizer: Any) -> bool:
    """Tell whether a tokenizer itself puts its start token in front of a text, as OPT's and Llama's do.

    Seen from a text: transformers' `add_bos_token` is False for a tokenizer.json that brings the start token by itself.
    """
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])


def is_byte_level(tokenizer: Any) -> bool:
    """Tell whether a tokenizer is a byte-level BPE (GPT-2, OPT, Llama 3, Qwen, SmolLM2): spaces belong to words."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.pre_tokenizer is None:
        return False
    steps = json.loads(backend.to_str())["pre_tokenizer"]
    return any(step["type"] == "ByteLevel" for step in steps.get("pretokenizers", [steps]))


def answer_prefix(tokenizer: Any) -> str:
    """Return what an answer that follows a prompt starts with, so that tokens of the two join to those of the whole.

    A byte-level BPE marks the space inside a word's token, so the answer must bring it; a sentencepiece tokenizer adds
    its own leading space; a word-level one has none.
    """
    return " " if is_byte_level(tokenizer) else ""
