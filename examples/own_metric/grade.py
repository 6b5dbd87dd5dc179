"""A grade from 1 to 5 by the words that the written answer shares with the wanted one: the place of a judge."""

from unike_lib.criterion import Criterion, Reply


def grade(reply: Reply) -> float:
    """Return 1 for no shared word, 5 for the same words."""
    said, wanted = set(reply.text.split()), set(reply.accepted[0].split())
    return 1 + 4 * len(said & wanted) / max(1, len(said | wanted))


CRITERION = Criterion("grade", "grade by shared words", grade, low=1.0, high=5.0, reads_text=True)
