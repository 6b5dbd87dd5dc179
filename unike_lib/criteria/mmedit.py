"""Criterion `mmedit`: MMEdit's rules, which judge locality over every position of the input, not over the answer."""

from typing import TYPE_CHECKING

from unike_lib.criteria.token import share_of_tokens
from unike_lib.criterion import Criterion, Reply

if TYPE_CHECKING:
    from torch import Tensor


def ordered_agreement(before: "Tensor", after: "Tensor") -> float:
    """Return the share of slots (position and rank) that hold the same id before and after an edit (MMEdit).

    One rank is the rule of T-Loc, ten ranks that of M-Loc. Ids are compared rank by rank, not as sets. If the lengths
    differ, as under in-context editing, the common tail of positions is compared.

    Args:
        before: [position, rank] ids of the unedited model, best first.
        after: [position, rank] ids of the edited model.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: different numbers of ranks, or nothing to compare.
    """
    if before.ndim != 2 or after.ndim != 2 or before.shape[1] != after.shape[1]:
        raise ValueError(f"expected [position, rank] twice, equal ranks; got {[*before.shape]} and {[*after.shape]}")
    length = min(len(before), len(after))
    if length == 0 or before.shape[1] == 0:
        raise ValueError("no position or no rank to compare")
    return float((before[-length:] == after[-length:]).double().mean())


def mmedit(reply: Reply) -> float:
    """Return the share of tokens right, or of a probe that must stay the agreement of ranks."""
    if reply.must == "become":
        return share_of_tokens(reply)
    return ordered_agreement(reply.ranks_before, reply.ranks_after)


CRITERION = Criterion(
    "mmedit",
    "MMEdit's rules: as `token`, but locality over every position (T-Loc. top-1, M-Loc. ordered top-10)",
    mmedit,
    compares=True,
)
