"""Criterion `generated`: what the model writes is the wanted answer, after normalisation."""

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.criterion import Criterion, Reply


def same_text(reply: Reply) -> float:
    """Return 1 if the greedy answer equals the wanted one, else 0."""
    return float(normalise_answer(reply.text) == normalise_answer(reply.wanted_text))


CRITERION = Criterion(
    "generated",
    "greedy answer equal to the target; locality: equal to the answer before the edit",
    same_text,
    reads_text=True,
)
