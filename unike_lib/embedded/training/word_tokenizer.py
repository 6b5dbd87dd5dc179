"""The tokenizer of the backbones that are trained from scratch: one token per word, the vocabulary known beforehand.

Case and the space before a punctuation mark do not matter, so the prompt templates of real checkpoints fit:

    >>> build_tokenizer(["what", "is", "this"]).tokenize("Question: What is this?")
    ['question', ':', 'what', 'is', 'this', '?']
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, BEGIN, END, IMAGE = SPECIAL_WORDS = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
SEPARATORS = (";", ".")
NEWLINE = "Ċ"  # how byte-level BPE writes it
TEMPLATE_WORDS = (
    *("question", "short", "answer", ":", "?", ",", *SEPARATORS),
    *("###human", "<img>", "</img>", "that", "is"),
)
_MARKS = Regex("[?:;,.]")


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer over the special words, the template words and `words` (sorted, so the order is immaterial).

    `<pad>` is token 0 and padding is on the right; an unlisted word becomes `<unk>`.
    """
    others = sorted({word.lower() for word in words} - set(TEMPLATE_WORDS) - set(SPECIAL_WORDS))
    vocabulary = {word: index for index, word in enumerate((*SPECIAL_WORDS, *TEMPLATE_WORDS, *others))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(_MARKS, behavior="isolated")]
    )
    return for_transformers(tokenizer, PAD, UNKNOWN, BEGIN, END)


def for_transformers(tokenizer: Tokenizer, pad: str, unknown: str, begin: str, end: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer as transformers has it, `<image>` among its special words, padding on the right."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unknown,
        bos_token=begin,
        eos_token=end,
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
