"""Criterion `generated`: what the model writes is an accepted answer, but for case, spaces and closing punctuation."""

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.criterion import Criterion, Reply


def same_text(reply: Reply) -> float:
    """Return 1 if the greedy answer equals an accepted one, else 0."""
    return float(normalise_answer(reply.text) in map(normalise_answer, reply.accepted))


CRITERION = Criterion(
    "generated",
    "greedy answer equal to the target; locality: equal to the answer before the edit",
    same_text,
    reads_text=True,
)
