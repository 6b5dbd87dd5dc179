"""Bootstrap intervals of mean scores over edits that may share facts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def cluster_weights(clusters: Sequence[Sequence[str]], resamples: int, seed: int) -> Floats:
    """Draw bootstrap weights of edits by resampling the facts that they rest on (pigeonhole bootstrap, Owen 2007).

    Facts are drawn with replacement; an edit weighs the product of its facts' multiplicities. With one fact of its own
    for each edit this is the ordinary bootstrap. With several facts an edit, it errs on the wide side.

    Args:
        clusters: the facts of each edit; an edit without facts is a cluster by itself.
        resamples: number of resamples.
        seed: the same seed and facts give the same draws, so that methods are compared on common resamples.

    Returns:
        [resample, edit] weights; a resample may weigh nothing at all.
    """
    facts = [sorted(set(names)) or [f"\0edit {row}"] for row, names in enumerate(clusters)]
    names = sorted({name for edit in facts for name in edit})
    number = {name: column for column, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    # A last column of ones pads edits with fewer facts than others.
    drawn = np.concatenate([drawn, np.ones((resamples, 1), dtype=drawn.dtype)], axis=1)
    widest = max(len(edit) for edit in facts)
    columns = [[number[name] for name in edit] + [len(names)] * (widest - len(edit)) for edit in facts]
    weights = np.ones((resamples, len(facts)))
    for slot in np.array(columns).T:
        weights *= drawn[:, slot]
    return weights


def count_clusters(clusters: Sequence[Sequence[str]]) -> int:
    """Return the number of different facts that the edits rest on; an edit without facts counts as one."""
    return len({name for names in clusters for name in names}) + sum(not len(names) for names in clusters)


def percentile_interval(scores: Floats, weights: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return the percentile bootstrap interval of the mean of each column.

    Resamples that weigh nothing are left out.

    Args:
        scores: [edit, column].
        weights: [resample, edit].
        confidence: for example 0.95.

    Returns:
        Lower and upper ends, [column] each; NaN where the weights cannot vary (fewer than two clusters).
    """
    return interval_over_cells([scores], weights, confidence)


def interval_over_cells(cells: Sequence[Floats], weights: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return the percentile bootstrap interval of the unweighted average of the cells' means, column by column.

    Args:
        cells: scores of each cell, [edit, column].
        weights: [resample, edit], the edits of all cells one after another.
        confidence: for example 0.95.
    """
    parts = np.split(weights, np.cumsum([len(scores) for scores in cells])[:-1], axis=1)
    totals = np.stack([part.sum(axis=1) for part in parts], axis=1)
    usable = (totals > 0).all(axis=1)
    if (weights[usable] == 1).all():
        nothing = np.full(cells[0].shape[1], np.nan)
        return nothing, nothing
    means = [
        part[usable] @ scores / total[usable, None] for part, scores, total in zip(parts, cells, totals.T, strict=True)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.mean(means, axis=0), [tail, 1 - tail], axis=0)
    return low, high
