"""The one normalisation of answers, used wherever two answer texts are compared (triplets, generated answers)."""

ENDINGS = ".,;:!?"


def normalise_answer(text: str) -> str:
    """Return an answer in the form in which answers are compared: lower case, single spaces, no closing punctuation.

    Reading: the paper compares generated answers without saying how. Articles and inner punctuation are kept: they are
    part of captions, and dropping them as the VQA evaluation does would make different captions equal.

    Example:
        >>> normalise_answer("  A red\\nCat . ")
        'a red cat'
    """
    return " ".join(text.lower().split()).rstrip(ENDINGS + " ")
