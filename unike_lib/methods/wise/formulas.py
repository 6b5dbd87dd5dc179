"""What WISE computes, as functions of tensors: distances, margins, routing, and the merge of memories."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LONG = 100  # tokens: the released code takes a longer row's largest distance when it routes


def distances(
    side: Tensor, original: Tensor, where: Tensor, activate: Callable[[Tensor], Tensor], largest_of_long: bool = False
) -> Tensor:
    """Return d = mean over tokens of |act(S h) - act(W h)|, [row].

    Args:
        side: outputs of the matrix with the side memory, [row, token, out].
        original: those of the matrix as it is.
        where: the tokens that count, bool [row, token].
        activate: the FFN's own non-linearity.
        largest_of_long: a row with more than 100 such tokens takes the largest of them in place of the mean.
    """
    each = torch.linalg.vector_norm(activate(side) - activate(original), dim=-1)
    counts = where.sum(1)
    means = (each * where).sum(1) / counts
    return torch.where(counts > LONG, (each * where).amax(1), means) if largest_of_long else means


def margin_loss(own: Tensor, unrelated: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    """Return M(d_out - d_in + gamma) + M(d_out - alpha) + M(beta - d_in), [session].

    M is the mean over what is above zero, so that rows within a margin do not thin the others.

    Args:
        own: d_in, distances of the edit's rows, [session, row].
        unrelated: d_out, those of unrelated rows, [session, row or 1].
        alpha: the most that unrelated rows should have.
        beta: the least that the edit's should have.
        gamma: how far apart both should be.
    """
    terms = (unrelated - own + gamma, unrelated - alpha, beta - own)
    return torch.stack([term.clamp(min=0).sum(1) / (term > 0).sum(1).clamp(min=1) for term in terms]).sum(0)


def route(far: Tensor, thresholds: Tensor, side: Tensor) -> Tensor:
    """Return which memory each row takes, by number, [row]; -1: the matrix as it is.

    The side memory is taken from its threshold on. A memory takes over if it is above its own and farther than the
    farthest so far, which at first is the side memory, open or not; the first of equals wins.

    Args:
        far: distances [row, memory].
        thresholds: [row, memory]; infinite: never taken.
        side: the number of each row's side memory [row]; the number of memories: it is untouched.
    """
    far = torch.cat([far, torch.zeros_like(far[:, :1])], 1)
    thresholds = torch.cat([thresholds, torch.full_like(thresholds[:, :1], torch.inf)], 1)
    farthest = far.gather(1, side[:, None])[:, 0]
    opens = farthest >= thresholds.gather(1, side[:, None])[:, 0]
    taken = torch.where(opens, side, -1)
    for memory in range(far.shape[1]):
        wins = (far[:, memory] > farthest) & (far[:, memory] > thresholds[:, memory])
        farthest, taken = torch.where(wins, far[:, memory], farthest), torch.where(wins, memory, taken)
    return taken


def ties(changes: Tensor, density: float, size: int) -> Tensor:
    """Return memories merged by sign and magnitude (TIES), all with the same weight, [session, entry].

    Of each memory the int(density size) largest changes stay. The sign of their sum decides entry by entry (0: plus);
    those of that sign are averaged.

    Args:
        changes: S - W of each memory, [memory, session, entry].
        density: share of the matrix that stays.
        size: numbers of the matrix; entries that are not given are 0 in all memories.
    """
    kept = int(density * size)
    if kept < changes.shape[2]:
        largest = changes.abs().topk(kept, dim=2).indices
        changes = torch.zeros_like(changes).scatter(2, largest, changes.gather(2, largest))
    sign = torch.where(changes.sum(0) >= 0, 1.0, -1.0).to(changes.dtype)
    agree = changes.sign() == sign
    return (changes * agree).sum(0) / agree.sum(0).clamp(min=1)


def dense(values: Tensor, places: Tensor, shape: Sequence[int]) -> Tensor:
    """Return changes of a matrix [session, out, in] from those of some of its numbers.

    Args:
        values: [session, entry].
        places: where each stands in the matrix, row after row, [entry].
        shape: out, in.
    """
    flat = values.new_zeros(len(values), shape[0] * shape[1])
    return flat.index_copy(1, places, values).unflatten(1, tuple(shape))
