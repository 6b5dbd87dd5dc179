"""Criterion `normalised`: what the model writes is an accepted answer by SQuAD's rule, which also drops articles."""

import re
import string

from unike_lib.criterion import Criterion, Reply

PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_answer(text: str) -> str:
    """Return an answer in lower case, without punctuation and articles, with single spaces (SQuAD 1.1's evaluation).

    Example:
        >>> squad_answer("The cat's  owner.")
        'cats owner'
    """
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(PUNCTUATION)).split())


def same_answer(reply: Reply) -> float:
    """Return 1 if the greedy answer equals an accepted one, else 0."""
    return float(squad_answer(reply.text) in map(squad_answer, reply.accepted))


CRITERION = Criterion(
    "normalised",
    "as `generated`, without articles and punctuation (SQuAD's rule)",
    same_answer,
    reads_text=True,
)
