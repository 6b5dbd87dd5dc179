"""Intervals with loops over edits and over pairs of edits, from the formulas of the papers named; one column."""

from math import sqrt

from scipy import stats


def merged(clusters):
    """Return the set of edits of each fact; two facts with the same edits are one."""
    return {
        frozenset(row for row, names in enumerate(clusters) if name in names) for facts in clusters for name in facts
    }


def worth(clusters, weights=None):
    """Return how many independent edits there are, if each fact of an edit made an equal and independent part of it.

    The variance of the weighted mean is then the sum of w_i w_j c_ij; c_ij: what two edits share, a cosine.
    """
    facts, n = merged(clusters), len(clusters)
    weights = weights or [1 / n] * n
    of = [[number for number, edits in enumerate(facts) if row in edits] for row in range(n)]
    total = 0.0
    for i in range(n):
        for j in range(n):
            alike = len(set(of[i]) & set(of[j])) / sqrt(len(of[i]) * len(of[j]))
            total += weights[i] * weights[j] * alike
    return 1 / total


def interval(cells, clusters, kind, confidence=0.95):
    """Return the two ends for the average of the cells' means; kind: `scores`, `differences` or `unbounded`."""
    values = [value for cell in cells for value in cell]
    weights = [1 / len(cell) / len(cells) for cell in cells for _ in cell]
    means = [sum(cell) / len(cell) for cell in cells for _ in cell]
    sizes = [len(cell) for cell in cells for _ in cell]
    parts, start = [], 0
    for cell in cells:
        parts += [worth(clusters[start : start + len(cell)])] * len(cell)
        start += len(cell)
    mean = sum(w * v for w, v in zip(weights, values, strict=True))
    n, groups = 1 / sum(w * w for w in weights), worth(clusters, weights)
    z = stats.norm.ppf((1 + confidence) / 2)
    t = stats.t.ppf((1 + confidence) / 2, n - 1)
    errors = [w * (v - m) for w, v, m in zip(weights, values, means, strict=True)]
    plain = sum(error**2 for error in errors)
    if plain < 1e-20:  # all equal: what was not seen may lie anywhere
        bottom, top = (0, 1) if kind == "scores" else (-1, 1)
        share = z**2 / (groups + z**2)
        return mean - share * (mean - bottom), mean + share * (top - mean)
    apart = sum(error**2 * size / (size - 1) for error, size in zip(errors, sizes, strict=True))
    together = 0.0
    for i, one in enumerate(errors):
        for j, other in enumerate(errors):
            if set(clusters[i]) & set(clusters[j]):
                together += one * other * sqrt(parts[i] / (parts[i] - 1) * parts[j] / (parts[j] - 1))
    effect = 1.0
    if together > 1e-9 * apart:
        effect = together / apart * (stats.t.ppf((1 + confidence) / 2, groups - 1) / t) ** 2
    if kind == "scores":
        quantile = z if set(values) <= {0, 1} else t
        # So many independent 0/1 scores have this variance; then Wilson 1927.
        count = mean * (1 - mean) / (plain * effect)
        centre = (mean + quantile**2 / (2 * count)) / (1 + quantile**2 / count)
        half = quantile / (1 + quantile**2 / count) * sqrt(mean * (1 - mean) / count + quantile**2 / (4 * count**2))
        return centre - half, centre + half
    if kind == "differences":  # Agresti and Min 2005: half an edit at each end
        end = sum(w * v * v for w, v in zip(weights, values, strict=True))
        end /= sum(w * abs(v) for w, v in zip(weights, values, strict=True))
        spread = (n * n * plain + ((end - mean) ** 2 + (end + mean) ** 2) / 2) / (n + 1)
        half = t * sqrt(effect * spread / (n + 1))
        return max(mean - half, -1), min(mean + half, 1)
    half = t * sqrt(effect * apart)
    return mean - half, mean + half
