"""The numbers of a sweep: scores at each of its points, or differences from the method as it is."""

import pandas as pd

from unike_lib.config.base import setting_text
from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.config.figures import Point, SweepConfig
from unike_lib.records import CELL
from unike_lib.reporting.scores import THREE_AIMS, edit_scores, summarise_scores
from unike_lib.types import InputError

POINT = ["field", "value"]
UNCHANGED = ("", "")


def point_labels(point: Point) -> tuple[str, str]:
    """Return the field that a point changes and its value, as records name them."""
    return next(((field, setting_text(value)) for field, value in point.items()), UNCHANGED)


def sweep_table(
    records: pd.DataFrame, sweep: SweepConfig, criterion: str, statistics: StatisticsConfig
) -> pd.DataFrame:
    """Return mean scores in percent, or differences in points if the sweep's shape says so, in the sweep's order.

    Args:
        records: from `load_records`, with the columns `field` and `value`.
        sweep: with backbones and tasks filled in.
        criterion: `token`, `mmedit`, `exact` or `generated`.
        statistics: confidence.

    Returns:
        One row per backbone, task, method and point: `field`, `value`, the counts of
        `summarise_scores`, and for each aim (reliability, generality, locality) X, X_low, X_high. Intervals of
        differences are paired, edit by edit.

    Raises:
        InputError: a point without records, records of a method that is not swept, or scores that were not measured.
    """
    unknown = sorted(set(records["method"]) - set(sweep.vary))
    if unknown:
        raise InputError(f"sweep: records of method {unknown[0]}, expected {', '.join(sweep.vary)}")
    groups = dict(iter(records.groupby([*CELL, *POINT])))
    cells = [(b, t, m) for b in sweep.backbones or () for t in sweep.tasks or () for m in sweep.vary]
    rows = []
    for cell in cells:
        points = [point_labels(point) for point in sweep.points(cell[2])]
        for point in points:
            if (*cell, *point) not in groups:
                raise InputError(
                    f"sweep: no records of {', '.join(cell)} with {' = '.join(point) or 'nothing changed'}"
                )
        scores = {point: edit_scores(groups[(*cell, *point)], criterion, THREE_AIMS) for point in points}
        if sweep.shape == "differences":
            unchanged = scores.pop(UNCHANGED)
            scores = {point: changed.minus(unchanged) for point, changed in scores.items()}
        for point, values in scores.items():
            labels = dict(zip([*CELL, *POINT], (*cell, *point), strict=True))
            rows.append(labels | summarise_scores(values, THREE_AIMS, statistics))
    table = pd.DataFrame(rows)
    if table["generality"].isna().any():
        raise InputError(f"{records['file'].iloc[0]}: criterion {criterion} was not measured")
    return table
