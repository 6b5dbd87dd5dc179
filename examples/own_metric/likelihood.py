"""Log-probability of the wanted answer, per token and in nats: it still moves where the best token does not."""

import math

from unike_lib.criterion import Criterion, Reply


def log_probability(reply: Reply) -> float:
    """Return the mean over answer tokens; of a locality, of what the unedited model answers."""
    return float(reply.log_probabilities.double().mean())


CRITERION = Criterion(
    "log_probability",
    "mean log-probability of the wanted answer's tokens, in nats",
    log_probability,
    low=-math.inf,
    high=0.0,
    worst=-100.0,
    reads_probabilities=True,
    compares=True,
)
