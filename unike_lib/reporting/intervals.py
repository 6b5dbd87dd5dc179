"""Confidence intervals of means over edits that may share facts or sessions: one method for every table and figure.

1. As if edits were independent. A mean score has the score interval of a proportion (Wilson 1927); scores between 0 and
   1, such as shares of tokens, count as so many 0/1 scores as have their variance (as in Korn and Graubard 1998). A
   mean difference has a t interval, widened by half an edit at each end of the differences' scale (after Agresti and
   Min 2005), so that a few differences among many ties do not look surer than none.
2. Edits that share a cluster are not independent. The variance with all pairs of edits that share one, over that
   without, is the design effect (Cameron, Gelbach and Miller 2011; pairs as clusters: Aronow, Samii and Assenova 2015),
   and the t quantile of the clusters stands in the place of that of the edits (Korn and Graubard 1998).
3. Where all scores are equal nothing shows how they vary. The score interval then counts every cluster once, and what
   was not seen may lie anywhere on the scale: 20 of 20 gives 84 to 100%, 20 differences of zero -16 to 16 points.
4. Fewer than `FEWEST` independent clusters have no interval: none that we tried covers there.

`tests/reporting/test_coverage.py` simulates what this covers.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]
Bounds = tuple[float, float]

SCORES: Bounds = (0.0, 1.0)
DIFFERENCES: Bounds = (-1.0, 1.0)
UNBOUNDED: Bounds = (-np.inf, np.inf)
FEWEST = 5  # independent clusters, of which a partial session counts in part
EQUAL = 1e-20  # variance below which scores are equal but for rounding


def merge_facts(clusters: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
    """Return the edits of each cluster; facts that never occur apart are one, an edit without facts is one by itself.

    Args:
        clusters: names of the facts, or of the session, of each edit.
    """
    edits: dict[str, list[int]] = {}
    for row, names in enumerate(clusters):
        for name in set(names) or {f"\0edit {row}"}:
            edits.setdefault(name, []).append(row)
    return sorted(set(map(tuple, edits.values())))


def count_clusters(clusters: Sequence[Sequence[str]]) -> int:
    """Return the number of different clusters that the edits rest on."""
    return int(_memberships(clusters).shape[1])


def independent_clusters(clusters: Sequence[Sequence[str]]) -> float:
    """Return how many independent edits these are worth, if scores depended on clusters alone.

    An edit on several clusters depends on each of them alike. With one cluster each this is Kish's effective size:
    n where every edit is its own, the number of sessions where those are equally long.
    """
    return _worth(_memberships(clusters), np.full(len(clusters), 1 / len(clusters)))


def mean_interval(
    cells: Sequence[Floats], clusters: Sequence[Sequence[str]], confidence: float, bounds: Bounds = SCORES
) -> tuple[Floats, Floats]:
    """Return the interval of the unweighted average of the cells' means, column by column.

    Args:
        cells: scores of each cell, [edit, column]; a single cell for a mean over edits.
        clusters: names of what makes edits dependent, the edits of all cells one after another.
        confidence: for example 0.95.
        bounds: `SCORES` in [0, 1]; anything that reaches below 0 is a difference.

    Returns:
        Lower and upper ends, [column] each; NaN where there are too few independent clusters, or no scores.
    """
    sizes = np.array([len(scores) for scores in cells])
    weights = np.repeat(1 / (sizes * len(cells)), sizes)
    shared = _memberships(clusters)
    worths = np.array([_worth(part, np.full(part.shape[0], 1 / part.shape[0])) for part in _split(shared, sizes)])
    worth = _worth(shared, weights)
    if round(worth) < FEWEST or worths.min() < 1.5:
        nothing = np.full(cells[0].shape[1], np.nan)
        return nothing, nothing
    values = np.concatenate(cells)
    means = np.concatenate([np.broadcast_to(scores.mean(axis=0), scores.shape) for scores in cells])
    parts = weights[:, None] * (values - means)
    size, mean = 1 / float(weights @ weights), weights @ values
    quantile = (1 + confidence) / 2
    variance = (parts**2).sum(axis=0)
    apart = (_corrected(parts, sizes, sizes) ** 2).sum(axis=0)
    effect = _design_effect(_corrected(parts, sizes, worths), shared, apart)
    effect = np.where(effect > 0, effect * (stdtrit(worth - 1, quantile) / stdtrit(size - 1, quantile)) ** 2, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if bounds == SCORES:
            # The variance of 0/1 scores follows from their mean; that of others is estimated.
            known = np.isin(values, (0, 1)).all(axis=0)
            root = np.where(known, ndtri(quantile), stdtrit(size - 1, quantile))
            low, high = _score_ends(mean, root**2 * effect * variance / (mean * (1 - mean)))
        else:
            ratio = stdtrit(size - 1, quantile) ** 2 * effect
            half = np.sqrt(ratio * apart)
            low, high = mean - half, mean + half
            if bounds == DIFFERENCES:
                low, high = _difference_ends(weights, values, ratio, variance)
        share = ndtri(quantile) ** 2 / (worth + ndtri(quantile) ** 2)
        equal = variance < EQUAL
        low = np.where(equal, mean - share * (mean - bounds[0]), np.maximum(low, bounds[0]))
        high = np.where(equal, mean + share * (bounds[1] - mean), np.minimum(high, bounds[1]))
    return np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)


def _memberships(clusters: Sequence[Sequence[str]]) -> csr_array:
    """Return [edit, cluster]: 1 where an edit rests on a cluster."""
    return _known_memberships(tuple(map(tuple, clusters)))


@lru_cache(maxsize=8)
def _known_memberships(clusters: tuple[tuple[str, ...], ...]) -> csr_array:
    """Return what `_memberships` does: a table asks again and again about the same edits, method by method."""
    merged = merge_facts(clusters)
    rows = np.array([row for edits in merged for row in edits])
    columns = np.repeat(np.arange(len(merged)), [len(edits) for edits in merged])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(clusters), len(merged)))


def _split(shared: csr_array, sizes: NDArray[np.int64]) -> list[csr_array]:
    ends = np.cumsum(sizes)
    return [shared[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _worth(shared: csr_array, weights: Floats) -> float:
    """Return 1 / |sum of weights times unit vectors|^2, where an edit's vector has the same entry for each cluster."""
    length = np.sqrt(shared.sum(axis=1))
    return 1 / float(np.sum(((weights / length) @ shared) ** 2))


def _corrected(parts: Floats, sizes: NDArray[np.int64], counts: Floats | NDArray[np.int64]) -> Floats:
    """Return parts times sqrt(n / (n - 1)) for the mean that was taken off; `counts`: n of each cell."""
    return parts * np.repeat(np.sqrt(counts / (counts - 1)), sizes)[:, None]


def _design_effect(parts: Floats, shared: csr_array, apart: Floats) -> Floats:
    """Return the variance with what edits of the same clusters share, over that of independent edits, [column].

    Zero where it is none: clusters whose means are all equal, or scores that are.

    Args:
        parts: [edit, column], each edit's weight times its distance from its cell's mean.
        shared: [edit, cluster].
        apart: the variance of independent edits, [column].
    """
    pairs = ((shared @ shared.T) > 0).astype(np.float64)
    variance = (parts * (pairs @ parts)).sum(axis=0)
    some = variance > 1e-9 * apart
    return np.where(some, variance / np.where(some, apart, 1), 0.0)


def _score_ends(mean: Floats, ratio: Floats) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's interval; `ratio`: squared quantile over the number of 0/1 scores."""
    centre = (mean + ratio / 2) / (1 + ratio)
    half = np.sqrt(ratio * mean * (1 - mean) + ratio**2 / 4) / (1 + ratio)
    return centre - half, centre + half


def _difference_ends(weights: Floats, values: Floats, ratio: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Return the ends of the t interval with half an edit more at +m and half an edit more at -m.

    m is the size of the differences, sum d^2 / sum |d|: 1 for differences of 0/1 scores, the end of their scale. The
    mean stays where it is.

    Args:
        weights: [edit], with the sum 1.
        values: differences, [edit, column].
        ratio: squared quantile times the design effect, [column].
        variance: of their mean, were edits independent, [column].
    """
    size, mean = 1 / float(weights @ weights), weights @ values
    added = (weights @ values**2) / (weights @ np.abs(values))
    # A sum of squares about the mean is size^2 * variance; the two halves add ((m - mean)^2 + (m + mean)^2) / 2.
    half = np.sqrt(ratio * (size**2 * variance + added**2 + mean**2)) / (size + 1)
    return mean - half, mean + half
