"""Tokenizers: what an answer must start with, and a word-level one for the embedded backbones.

The word-level one has one token a word, the vocabulary known beforehand. Case and the space before a punctuation mark
do not matter, so the prompt templates of real checkpoints fit:

    >>> build_tokenizer(["what", "is", "this"]).tokenize("Question: What is this?")
    ['question', ':', 'what', 'is', 'this', '?']
"""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, BEGIN, END, IMAGE = "<pad>", "<unk>", "<s>", "</s>", "<image>"
SPECIAL = (PAD, UNKNOWN, BEGIN, END, IMAGE)
SEPARATORS = (";", ".")
STOPS = (END, *SEPARATORS)
NEWLINE = "Ċ"  # how byte-level BPE writes it
TEMPLATE_WORDS = (
    "question",
    "short",
    "answer",
    ":",
    "?",
    ",",
    *SEPARATORS,
    "###human",
    "<img>",
    "</img>",
    "that",
    "is",
)
_MARKS = Regex("[?:;,.]")


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer over the special tokens, the template words and `words` (sorted, so the order is immaterial).

    `<pad>` is token 0 and padding is on the right; an unlisted word becomes `<unk>`.
    """
    others = sorted({word.lower() for word in words} - set(TEMPLATE_WORDS) - set(SPECIAL))
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *TEMPLATE_WORDS, *others))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(_MARKS, behavior="isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[IMAGE],
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Return the id of one token."""
    return int(tokenizer.get_vocab()[token])


def stop_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids that end a generated answer: the end symbol, `;`, `.`, a byte-level newline."""
    known = tokenizer.get_vocab()
    return [known[stop] for stop in (tokenizer.eos_token, *SEPARATORS, NEWLINE) if stop in known]


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
