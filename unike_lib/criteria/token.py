"""Criterion `token`: the share of answer tokens that are right under teacher forcing (MMEdit's accuracy)."""

from unike_lib.criterion import Criterion, Reply


def share_of_tokens(reply: Reply) -> float:
    """Return the share of answer tokens whose best id is the wanted one."""
    return int((reply.best == reply.wanted).sum()) / len(reply.wanted)


CRITERION = Criterion(
    "token",
    "share of answer tokens right under teacher forcing; locality: unchanged answer tokens",
    share_of_tokens,
    compares=True,
)
