"""Texts that a backbone's tokenizer cannot take as they are: words it does not know, and its own special tokens.

An unknown word becomes `<unk>`: an edit of `<unk>` is fully reliable, and says nothing. A special token in a user's
text (`<image>`, `<s>`) becomes a bare embedding instead of letters. Both are refused, by record: users' texts and a
family's marks are tokenised as one text, so that special tokens cannot be plain text there. What only looks like a
mark to people (MiniGPT-4's `###Human:`) is plain text.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unike_lib.benchmark.dialect import PROBLEMS_SHOWN
from unike_lib.types import EditCase, InputError, Query


def check_texts(tokenizer: Any, files: Mapping[str, Sequence[EditCase]], backbone: str) -> dict[str, int]:
    """Return how many cases and different texts there are, all of which the tokenizer can take.

    Args:
        tokenizer: the backbone's.
        files: file -> its cases.
        backbone: named in the error.

    Raises:
        InputError: questions or answers have unknown or special tokens; names the first twenty by file and record.
    """
    asked = [(file, case.request.id, *each) for file, cases in files.items() for case in cases for each in _texts(case)]
    strange = strange_parts(tokenizer, [text for *_, text in asked])
    problems = [
        f"{file}: record {record}: {field} {text[:60]!r}: {strange[text]}"
        for file, record, field, text in dict.fromkeys(asked)
        if text in strange
    ]
    if problems:
        records = len({(file, record) for file, record, _, text in asked if text in strange})
        shown = "; ".join(problems[:PROBLEMS_SHOWN])
        more = f" (and {len(problems) - PROBLEMS_SHOWN} more)" if len(problems) > PROBLEMS_SHOWN else ""
        raise InputError(
            f"{backbone}: the tokenizer cannot take the texts of {records} records as they are; take these records "
            f"out, or change their texts: {shown}{more}"
        )
    return {"cases": sum(map(len, files.values())), "texts": len({text for *_, text in asked})}


def strange_parts(tokenizer: Any, texts: Sequence[str]) -> dict[str, str]:
    """Return, for each text that the tokenizer cannot take as it is, what is wrong with it."""
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    unique = list(dict.fromkeys(texts))
    rows = tokenizer(unique, add_special_tokens=False)["input_ids"] if unique else []
    found = {}
    for text, ids in zip(unique, rows, strict=True):
        met = dict.fromkeys(token for token in ids if token in special or token == tokenizer.unk_token_id)
        if met:
            found[text] = _said(tokenizer, text, list(met))
    return found


def _said(tokenizer: Any, text: str, met: Sequence[int]) -> str:
    """Say of the tokens met in a text that they are special, or stand for words that are not known."""
    parts = []
    for token in met:
        name = tokenizer.convert_ids_to_tokens(token)
        if token == tokenizer.unk_token_id and name not in text:
            parts.append(f"words that the tokenizer does not know ({', '.join(_unknown_words(tokenizer, text))})")
        else:
            parts.append(f"{name!r} is a special token of the tokenizer")
    return ", ".join(parts)


def _unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Return the words, as blanks part them, that have unknown tokens."""
    words = dict.fromkeys(text.split(" "))
    rows = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in words)
    return [repr(word) for word, ids in zip(words, rows, strict=True) if tokenizer.unk_token_id in ids]


def _texts(case: EditCase) -> Iterator[tuple[str, str]]:
    """Yield the questions and answers of a case that the backbone is given, each with what it is."""
    queries: list[tuple[str, Query]] = [("request", request.query) for request in case.requests]
    queries += [(probe.kind, probe.query) for probe in case.probes]
    for kind, query in queries:
        yield f"{kind}: question", query.prompt
        if query.answer:
            yield f"{kind}: answer", query.answer
