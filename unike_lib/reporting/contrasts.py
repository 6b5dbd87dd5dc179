"""What claims are judged by: differences edit by edit, between aims of a method and between two methods over all aims.

Claims of the paper compare aims or methods. Each comparison is the mean of a difference within the same edits, with its
interval, so that what edits have in common (hard ones are hard for all methods) does not count as doubt.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.reporting.intervals import Floats, mean_interval
from unike_lib.reporting.records import SETTING
from unike_lib.reporting.scores import FIVE_METRICS, PAIR, EditScores, aims_of, summarise_scores


def aim_gap(scores: EditScores, confidence: float) -> dict[str, float]:
    """Return `gap`, generality minus locality edit by edit, with gap_low and gap_high, in points."""
    aims = aims_of(scores.values)
    return _contrast("gap", aims[:, 1] - aims[:, 2], scores, confidence)


def paired_differences(
    scores: Mapping[Any, EditScores], pair: tuple[str, str], statistics: StatisticsConfig
) -> pd.DataFrame:
    """Return mean differences between two methods on the same edits, in points: one row per backbone, task and K.

    Args:
        scores: (backbone, task, K, method) -> scores of the five metrics; `load_records` checks that methods share
            their edits.
        pair: two method names; the second is subtracted from the first.
        statistics: confidence.

    Returns:
        The columns of `SETTING` and `PAIR`, those of `scores.summarise_scores`, and with ends X_low and X_high too:
        `mean` of the three aims, and `lowest`, see `lowest_difference`.
    """
    rows = []
    for *setting, method in scores:
        if method == pair[0]:
            first, second = (scores[*setting, name] for name in pair)
            difference = first.minus(second)
            means = aims_of(difference.values)
            means = means[:, ~np.isnan(means).all(axis=0)].mean(axis=1)
            rows.append(
                dict(zip(SETTING, setting, strict=True))
                | dict(zip(PAIR, pair, strict=True))
                | summarise_scores(difference, FIVE_METRICS, statistics)
                | _contrast("mean", means, first, statistics.confidence)
                | lowest_difference(first, second, statistics.confidence)
            )
    return pd.DataFrame(rows)


def lowest_difference(first: EditScores, second: EditScores, confidence: float) -> dict[str, float]:
    """Return the lowest aim of one method minus the lowest aim of another, with an interval that errs on the wide side.

    The first method is the higher one if ALL its aims lie above SOME aim of the second: the lower end is the lowest of
    the three for the second's lowest aim (an intersection-union test, Berger 1982). The upper end is the same turned
    round. Which aim is lowest is read off the means.
    """
    ours, theirs = aims_of(first.values), aims_of(second.values)
    asked = ~np.isnan(ours).all(axis=0)
    ours, theirs = ours[:, asked], theirs[:, asked]
    low_aim, low_other = ours.mean(axis=0).argmin(), theirs.mean(axis=0).argmin()
    above: Floats = ours - theirs[:, [low_other]]
    below: Floats = ours[:, [low_aim]] - theirs
    low, _ = mean_interval([above], first.clusters, confidence, first.differences)
    _, high = mean_interval([below], first.clusters, confidence, first.differences)
    return _in_points("lowest", first.unit, float(above.mean(axis=0).min()), float(np.min(low)), float(np.max(high)))


def _contrast(name: str, values: Floats, scores: EditScores, confidence: float) -> dict[str, float]:
    low, high = mean_interval([values[:, None]], scores.clusters, confidence, scores.differences)
    return _in_points(name, scores.unit, float(values.mean()), low[0], high[0])


def _in_points(name: str, unit: float, value: float, low: float, high: float) -> dict[str, float]:
    return {name: unit * value, f"{name}_low": unit * low, f"{name}_high": unit * high}
