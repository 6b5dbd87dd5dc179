"""Criterion `normalised`: what the model writes is an accepted answer by SQuAD's rule, which also drops articles."""

import re
import string

from unike_lib.criterion import Criterion, accepts

PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_answer(text: str) -> str:
    """Return an answer in lower case, without punctuation and articles, with single spaces (SQuAD 1.1's evaluation).

    Reading: of an answer that is articles alone ("A", the letter), they stay.

    Example:
        >>> squad_answer("The cat's  owner.")
        'cats owner'
    """
    plain = " ".join(text.lower().translate(PUNCTUATION).split())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split()) or plain


CRITERION = Criterion(
    "normalised",
    "as `generated`, without articles and punctuation (SQuAD's rule)",
    accepts(squad_answer),
    reads_text=True,
)
