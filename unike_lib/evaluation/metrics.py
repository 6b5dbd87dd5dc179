"""The metric families of a probe: token, mmedit, exact, as pure functions of logits or token ids.

Convention: `targets[row, t]` is the id that must be predicted AT position t, and IGNORED where nothing is asked.
Locality needs no functions of its own: it is accuracy against the answers before the edit (`unchanged_targets`).

Example:
    >>> before, after = torch.tensor([[3, 5, 7]]), torch.tensor([[3, 5, 8]])
    >>> targets = torch.tensor([[IGNORED, 5, 9]])
    >>> token_accuracy(after, unchanged_targets(before, targets)).tolist()
    [0.5]
"""

import torch
from torch import Tensor

from unike_lib.backbones.batch import IGNORED

IMAGE_RANKS = 10  # best ids compared at each position by M-Loc (MMEdit)


def unchanged_targets(before: Tensor, targets: Tensor) -> Tensor:
    """Return the targets of a locality probe: what the unedited model answers at the answer positions.

    Args:
        before: [row, token] best ids of the unedited model.
        targets: [row, token]; only says which positions count.
    """
    return before.masked_fill(targets == IGNORED, IGNORED)


def answer_correct(best: Tensor, targets: Tensor) -> Tensor:
    """Say at each position whether the best id is the target; False where nothing is asked.

    Args:
        best: [row, token] ids, for example `logits.argmax(-1)`.
        targets: [row, token].
    """
    return (best == targets) & (targets != IGNORED)


def token_accuracy(best: Tensor, targets: Tensor) -> Tensor:
    """Return the share of answer tokens predicted right under teacher forcing, a row (criterion `token`).

    Args:
        best: [row, token] ids.
        targets: [row, token].

    Returns:
        [row] float64 in [0, 1].

    Raises:
        ValueError: a row without an answer token.
    """
    return answer_correct(best, targets).sum(-1).double() / _count(targets)


def exact_match(best: Tensor, targets: Tensor) -> Tensor:
    """Return 1 for a row with all its answer tokens right, else 0 (UniKE Eq. 11-15 as printed; criterion `exact`).

    Args:
        best: [row, token] ids.
        targets: [row, token].

    Returns:
        [row] float64, 0 or 1.

    Raises:
        ValueError: a row without an answer token.
    """
    return (answer_correct(best, targets).sum(-1) == _count(targets)).double()


def top_ids(logits: Tensor, ranks: int = IMAGE_RANKS) -> Tensor:
    """Return the ids of the largest logits at each position, best first.

    Reading: MMEdit ranks the softmax of the logits. Where one id takes nearly all, a softmax in float32 rounds the
    others to equal numbers, and their order is chance; logits keep it. Without such ties both orders are the same.

    Args:
        logits: [..., vocabulary].
        ranks: how many ids; at most the vocabulary.

    Returns:
        [..., rank] int64 ids.
    """
    return logits.topk(ranks, dim=-1).indices


def ordered_agreement(before: Tensor, after: Tensor) -> float:
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


def _count(targets: Tensor) -> Tensor:
    counts = (targets != IGNORED).sum(-1)
    if bool((counts == 0).any()):
        rows = torch.nonzero(counts == 0).flatten().tolist()
        raise ValueError(f"rows {rows}: no answer token; every probe needs at least one")
    return counts
