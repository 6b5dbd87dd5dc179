"""Scores of edits, and their means with clustered bootstrap intervals, in percent.

Reading: the paper prints no intervals. Ours describe the sampling of edits only: one backbone; seeds are averaged over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from unike_lib.config import StatisticsConfig
from unike_lib.reporting.bootstrap import Floats, cluster_weights, count_clusters, percentile_interval
from unike_lib.reporting.records import CELL, CRITERIA, REPEATED, SETTING
from unike_lib.types import PROBE_KINDS, InputError

# A column of a table -> the probe kinds that it averages, edit by edit.
Columns = Mapping[str, Sequence[str]]
FIVE_METRICS: Columns = {kind: (kind,) for kind in PROBE_KINDS}
THREE_AIMS: Columns = {"reliability": ("rel",), "generality": ("t_gen", "m_gen"), "locality": ("t_loc", "m_loc")}

# Columns of `paired_differences`: the second method is subtracted from the first.
PAIR = ["first", "second"]


@dataclass(frozen=True)
class EditScores:
    """The scores of one cell, edit by edit in the order of their names.

    `values`: [edit, column] in [0, 1]; `clusters`: what makes edits dependent; `failed`: number of failed edits, with
    every seed; `cases`: their names.
    """

    values: Floats
    clusters: tuple[tuple[str, ...], ...]
    failed: int
    cases: tuple[str, ...]

    def minus(self, other: "EditScores") -> "EditScores":
        """Return the differences from another cell with the same edits; failed edits of both are counted."""
        return EditScores(self.values - other.values, self.clusters, self.failed + other.failed, self.cases)


def edit_scores(records: pd.DataFrame, criterion: str, columns: Columns = FIVE_METRICS) -> EditScores:
    """Gather the records of one cell into scores an edit: its mean over seeds.

    Clusters are the facts of an edit, or its session when sessions hold several edits (those share their edits).
    Sessions hold the same edits with every seed.

    Raises:
        InputError: unknown criterion.
    """
    if criterion not in CRITERIA:
        raise InputError(f"criterion {criterion!r}: expected one of {', '.join(CRITERIA)}")
    one = ["session", "case"]  # its position in a session may depend on the seed
    wide = records.pivot(index=REPEATED, columns="kind", values=criterion).sort_index()
    wide = wide.groupby(level=one, sort=False).mean()
    values = np.stack([wide[list(kinds)].to_numpy(dtype=np.float64).mean(axis=1) for kinds in columns.values()], axis=1)
    if (records["k"] > 1).any():
        clusters = tuple((f"session {name}",) for name in wide.index.get_level_values("session"))
    else:
        facts = records[records["kind"] == "rel"].drop_duplicates(one).set_index(one)["facts"].reindex(wide.index)
        clusters = tuple(tuple(names) for names in facts)
    failed = records.loc[records["status"] != "ok", REPEATED].drop_duplicates()
    return EditScores(values, clusters, len(failed), tuple(wide.index.get_level_values("case")))


def score_table(
    records: pd.DataFrame,
    criterion: str,
    statistics: StatisticsConfig,
    seed: int,
    columns: Columns = FIVE_METRICS,
    keys: Sequence[str] = CELL,
) -> pd.DataFrame:
    """Return mean scores in percent: one row a backbone, task and method (and any further key).

    Args:
        records: from `load_records`.
        criterion: `token`, `mmedit`, `exact` or `generated`; the last is NaN where generation was off.
        statistics: resamples and confidence.
        seed: of the resamples.
        columns: columns to make.
        keys: what names a row.

    Returns:
        The keys, `edits`, `failed` (they count, as unedited), `clusters`, and for each column X: X, X_low, X_high.
    """
    rows = []
    for key, cell in records.groupby(list(keys), sort=True):
        scores = edit_scores(cell, criterion, columns)
        rows.append({**dict(zip(keys, key, strict=True)), **summarise_scores(scores, columns, statistics, seed)})
    return pd.DataFrame(rows)


def paired_differences(
    records: pd.DataFrame, criterion: str, pair: tuple[str, str], statistics: StatisticsConfig, seed: int
) -> pd.DataFrame:
    """Return mean differences between two methods on the same edits, in points: one row a backbone, task and K.

    Args:
        records: from `load_records`, which checks that methods share their edits.
        criterion: see `score_table`.
        pair: two method names; the second is subtracted from the first.
        statistics: resamples and confidence.
        seed: of the resamples.

    Raises:
        InputError: a backbone, task and K where one of the methods has no records.
    """
    rows = []
    for key, group in records.groupby(SETTING, sort=True):
        both = []
        for method in pair:
            cell = group[group["method"] == method]
            if cell.empty:
                where = ", ".join(map(str, key[:2]))
                raise InputError(f"records of {where}: no method {method!r}, expected {pair[0]} and {pair[1]}")
            both.append(edit_scores(cell, criterion))
        summary = summarise_scores(both[0].minus(both[1]), FIVE_METRICS, statistics, seed)
        rows.append({**dict(zip(SETTING, key, strict=True)), **dict(zip(PAIR, pair, strict=True)), **summary})
    return pd.DataFrame(rows)


def summarise_scores(
    scores: EditScores, columns: Columns, statistics: StatisticsConfig, seed: int
) -> dict[str, float | int]:
    """Return `edits`, `failed`, `clusters`, and for each column X in percent: X, X_low, X_high."""
    percent = 100 * scores.values
    weights = cluster_weights(scores.clusters, statistics.resamples, seed)
    low, high = percentile_interval(percent, weights, statistics.confidence)
    counts = {"edits": len(percent), "failed": scores.failed, "clusters": count_clusters(scores.clusters)}
    cells: dict[str, float] = {}
    for name, ends in zip(columns, zip(percent.mean(axis=0), low, high, strict=True), strict=True):
        cells |= {name: ends[0], f"{name}_low": ends[1], f"{name}_high": ends[2]}
    return {**counts, **cells}
