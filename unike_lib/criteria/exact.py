"""Criterion `exact`: all answer tokens are right, or none counts (UniKE Eq. 11-15 as printed)."""

from unike_lib.criterion import Criterion, Reply


def all_tokens(reply: Reply) -> float:
    """Return 1 if every answer token's best id is the wanted one, else 0."""
    return float(bool((reply.best == reply.wanted).all()))


CRITERION = Criterion("exact", "all answer tokens right; locality: all answer tokens unchanged", all_tokens)
