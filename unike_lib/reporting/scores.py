"""Scores of edits, and their means with intervals over what edits share, in percent or in the criterion's own unit.

Reading: the paper prints no intervals. Ours describe the sampling of edits only: one backbone; seeds are averaged over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.criterion import Criterion, find_criterion
from unike_lib.probe_kinds import AIMS
from unike_lib.records import CELL
from unike_lib.reporting.intervals import (
    DIFFERENCES,
    SCORES,
    UNBOUNDED,
    Bounds,
    Floats,
    count_clusters,
    independent_clusters,
    mean_interval,
)
from unike_lib.reporting.records import REPEATED
from unike_lib.types import PROBE_KINDS, InputError

# A column of a table -> the probe kinds that it averages, edit by edit.
Columns = Mapping[str, Sequence[str]]
FIVE_METRICS: Columns = {kind: (kind,) for kind in PROBE_KINDS}
THREE_AIMS: Columns = AIMS

# Columns of `paired_differences`: the second method is subtracted from the first.
PAIR = ["first", "second"]


@dataclass(frozen=True)
class EditScores:
    """The scores of one cell, edit by edit in the order of their names.

    `values`: [edit, column], from 0 to 1 over the criterion's range, or as they are where that is infinite; `clusters`:
    what makes edits dependent; `failed`: number of failed edits, with every seed; `cases`: their names; `bounds`: of
    the values, which are differences where those reach below 0; `unit`, `zero`: a value is printed as
    `zero + unit * value`: shares in percent, others as the criterion gives them.
    """

    values: Floats
    clusters: tuple[tuple[str, ...], ...]
    failed: int
    cases: tuple[str, ...]
    bounds: Bounds = SCORES
    unit: float = 100.0
    zero: float = 0.0

    def minus(self, other: "EditScores") -> "EditScores":
        """Return the differences from another cell with the same edits; failed edits of both are counted."""
        failed = self.failed + other.failed
        values = self.values - other.values
        return EditScores(values, self.clusters, failed, self.cases, self.differences, self.unit)

    def printed(self, value: float) -> float:
        """Return a value, or a mean of values, in the unit that it is printed in."""
        return self.zero + self.unit * value

    @property
    def differences(self) -> Bounds:
        """The bounds of differences between two such values."""
        return UNBOUNDED if self.bounds == UNBOUNDED else DIFFERENCES


def edit_scores(records: pd.DataFrame, criterion: str | Criterion, columns: Columns = FIVE_METRICS) -> EditScores:
    """Gather the records of one cell into scores per edit: its mean over seeds.

    Clusters are the facts of an edit, or its session when sessions hold several edits (those share their edits).
    Sessions hold the same edits with every seed.

    Raises:
        InputError: unknown criterion, or records without it.
    """
    criterion = find_criterion(criterion) if isinstance(criterion, str) else criterion
    if criterion.name not in records:
        raise InputError(f"criterion {criterion.name!r}: the records have no such scores")
    one = ["session", "case"]  # its position in a session may depend on the seed
    wide = records.pivot(index=REPEATED, columns="kind", values=criterion.name).sort_index()
    wide = wide.groupby(level=one, sort=False).mean()
    values = np.stack([_mean_of_kinds(wide, kinds) for kinds in columns.values()], axis=1)
    clusters = edit_clusters(records, wide)
    failed = records.loc[records["status"] != "ok", REPEATED].drop_duplicates()
    cases = tuple(wide.index.get_level_values("case"))
    if not criterion.bounded:
        return EditScores(values, clusters, len(failed), cases, UNBOUNDED, unit=1.0)
    if criterion.percent:
        return EditScores(values, clusters, len(failed), cases)
    width = criterion.high - criterion.low
    return EditScores((values - criterion.low) / width, clusters, len(failed), cases, SCORES, width, criterion.low)


def _mean_of_kinds(wide: pd.DataFrame, kinds: Sequence[str]) -> Floats:
    """Return each edit's mean over those of some kinds that the edits are asked; NaN where that is none."""
    asked = [kind for kind in kinds if kind in wide]
    return wide[asked].to_numpy(dtype=np.float64).mean(axis=1) if asked else np.full(len(wide), np.nan)


def edit_clusters(records: pd.DataFrame, wide: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """Return what makes edits of a cell dependent: of each its facts, or its session where sessions hold several.

    Args:
        records: of the cell.
        wide: a row per edit, by session and case.
    """
    if (records["k"] > 1).any():
        return tuple((f"session {name}",) for name in wide.index.get_level_values("session"))
    one = list(wide.index.names)
    facts = records[records["kind"] == "rel"].drop_duplicates(one).set_index(one)["facts"].reindex(wide.index)
    return tuple(tuple(names) for names in facts)


def aims_of(scores: Floats) -> Floats:
    """Return the three aims, [edit, aim] in the order of `THREE_AIMS`, from the five metrics [edit, metric].

    A metric that is NaN for all edits is not asked: its aim is the mean of the others, NaN where there is none.
    """
    columns = pd.DataFrame(scores, columns=PROBE_KINDS).dropna(axis=1, how="all")
    return np.stack([_mean_of_kinds(columns, kinds) for kinds in THREE_AIMS.values()], axis=1)


def scores_by_cell(
    records: pd.DataFrame, criterion: str | Criterion, columns: Columns = FIVE_METRICS, keys: Sequence[str] = CELL
) -> dict[Any, EditScores]:
    """Return the scores of each cell, edit by edit, by its keys (backbone, task, method; and any further key)."""
    return {key: edit_scores(cell, criterion, columns) for key, cell in records.groupby(list(keys), sort=True)}


def score_table(
    records: pd.DataFrame,
    criterion: str | Criterion,
    statistics: StatisticsConfig,
    columns: Columns = FIVE_METRICS,
    keys: Sequence[str] = CELL,
) -> pd.DataFrame:
    """Return mean scores in percent: one row per backbone, task and method (and any further key).

    Args:
        records: from `load_records`.
        criterion: by name, or itself; NaN where it reads greedy answers and generation was off.
        statistics: confidence.
        columns: columns to make.
        keys: what names a row.

    Returns:
        The keys; see `summarise_scores`.
    """
    cells = scores_by_cell(records, criterion, columns, keys)
    return pd.DataFrame(
        [dict(zip(keys, key, strict=True)) | summarise_scores(cell, columns, statistics) for key, cell in cells.items()]
    )


def summarise_scores(scores: EditScores, columns: Columns, statistics: StatisticsConfig) -> dict[str, float | int]:
    """Return the means of a cell, as they are printed, and how many edits they rest on.

    Returns:
        `edits`, `failed` (they count, as unedited), `clusters`, `independent` (what edits and clusters are worth), and
        for each column X: X, X_low, X_high; no ends where too few edits are independent (`intervals.FEWEST`).
    """
    row: dict[str, float | int] = {
        "edits": len(scores.values),
        "failed": scores.failed,
        "clusters": count_clusters(scores.clusters),
        "independent": independent_clusters(scores.clusters),
    }
    low, high = mean_interval([scores.values], scores.clusters, statistics.confidence, scores.bounds)
    for name, mean, bottom, top in zip(columns, scores.values.mean(axis=0), low, high, strict=True):
        row |= {name: scores.printed(mean), f"{name}_low": scores.printed(bottom), f"{name}_high": scores.printed(top)}
    return row
