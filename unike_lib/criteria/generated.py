"""Criterion `generated`: what the model writes is an accepted answer, but for case, spaces and closing punctuation."""

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.criterion import Criterion, accepts

CRITERION = Criterion(
    "generated",
    "greedy answer equal to the target; locality: equal to the answer before the edit",
    accepts(normalise_answer),
    reads_text=True,
)
