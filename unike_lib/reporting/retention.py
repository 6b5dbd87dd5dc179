"""Retention: what one session of many edits leaves of what a backbone knew, and of its own edits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.io import read_table, write_csv
from unike_lib.reporting.intervals import DIFFERENCES, SCORES, mean_interval
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.plotting import MARKERS, STYLE, legend_below, make_panels, save_figure
from unike_lib.types import InputError

ROW_HEIGHT = 1.9  # inches
KEYS = ["backbone", "method", "k", "set"]
# A panel each: the set, and the column drawn.
PANELS = {
    "taught": ("retained", "taught facts,\nanswered as before"),
    "general": ("retained", "general questions,\nanswered as before"),
    "edits": ("at_end", "the edits' own questions,\nright"),
}
COLUMNS = ("retained", "right", "right_after", "at_end", "gap")


def draw_retention(
    records: Sequence[Path], outputs: Mapping[str, Path], methods: Sequence[str], statistics: StatisticsConfig
) -> None:
    """Draw what is retained against the number of edits in one session, a row of panels per backbone.

    Dotted: the edits' own questions, each right after its edit. Bars are intervals over questions.

    Args:
        records: files of `evaluation.retention.RETENTION_SCHEMA`.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of `retention_table`.
        methods: in the order of the legend.
        statistics: how intervals are made.

    Raises:
        InputError: records of a method that is not among them.
    """
    points = retention_table(pd.concat([read_table(path) for path in records], ignore_index=True), statistics)
    unknown = sorted(set(points["method"]) - set(methods))
    if unknown:
        raise InputError(f"retention: records of method {unknown[0]}, expected {', '.join(methods)}")
    with style.context(STYLE, after_reset=True):
        save_figure(_figure(points, methods), points, outputs)


def retention_table(records: pd.DataFrame, statistics: StatisticsConfig) -> pd.DataFrame:
    """Return one row per backbone, method, number of edits K and set of questions; shares in percent.

    Columns: `questions`, and `left_out` because an edit concerns them; with intervals X_low, X_high: `retained`
    (answered as before any edit; the edits' own as right after the edit) and `right` (the target); of the set "edits"
    also `right_after` (each right after its edit), `at_end` (after all K) and `gap`, the first minus the second.
    K = 0 is before any edit.
    """
    rows = []
    for key, group in records.groupby(KEYS, sort=False):
        at_end = group["right"].where(group["right_after"].notna())
        scores = group.assign(at_end=at_end, gap=group["right_after"] - at_end)
        row: dict[str, object] = dict(zip(KEYS, key, strict=True))
        row |= {"questions": len(group), "left_out": group["left_out"].iloc[0]}
        for name in COLUMNS:
            values = 100 * np.array([scores[name].mean(), *_interval(scores, name, statistics)])
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def write_cost(tables: Sequence[Path], out: Path) -> None:
    """Write what edits of a long session cost, of all backbones and methods."""
    write_csv(out, pd.concat([read_table(path) for path in tables], ignore_index=True))


def _interval(scores: pd.DataFrame, name: str, statistics: StatisticsConfig) -> tuple[float, float]:
    values = scores[[name]].to_numpy(dtype=float)
    if np.isnan(values).any():
        return np.nan, np.nan
    bounds = DIFFERENCES if name == "gap" else SCORES
    low, high = mean_interval([values], list(map(tuple, scores["clusters"])), statistics.confidence, bounds)
    return float(low[0]), float(high[0])


def _figure(points: pd.DataFrame, methods: Sequence[str]) -> Figure:
    backbones, ks = points["backbone"].unique(), sorted(points["k"].unique())
    figure, axes = make_panels(len(backbones), len(PANELS), False, ROW_HEIGHT)
    for row, backbone in zip(axes, backbones, strict=True):
        for panel, (name, (column, _)) in zip(row, PANELS.items(), strict=True):
            drawn = points[(points["backbone"] == backbone) & (points["set"] == name)]
            for number, method in enumerate(methods):
                _line(panel, drawn[drawn["method"] == method].sort_values("k"), column, (method, number), ks)
            panel.set_xticks(range(len(ks)), list(map(str, ks)))
            panel.set_xlim(-0.4, len(ks) - 0.6)
            panel.set_ylim(-4, 104)
        row[0].set_ylabel(f"{backbone}\n%")
        for panel in row[1:]:
            panel.tick_params(labelleft=False)
    for panel, (_, title) in zip(axes[0], PANELS.values(), strict=True):
        panel.set_title(title)
    for panel in axes[-1]:
        panel.set_xlabel("edits in the session")
    legend_below(figure, "dotted: right after the item's own edit")
    return figure


def _line(panel: Axes, points: pd.DataFrame, column: str, named: tuple[str, int], ks: Sequence[int]) -> None:
    """Draw the line of one method with its intervals; `named`: its name and its place among the methods."""
    (name, number), color = named, f"C{named[1]}"
    if points.empty:
        return
    x = np.array([ks.index(k) for k in points["k"]]) + 0.06 * number
    spread = [(points[column] - points[f"{column}_low"]).clip(0), (points[f"{column}_high"] - points[column]).clip(0)]
    panel.errorbar(x, points[column], spread, fmt="none", ecolor=color, alpha=0.5, elinewidth=0.7, zorder=1.9)
    panel.plot(x, points[column], color=color, marker=MARKERS[number % len(MARKERS)], label=short_title(name))
    if column == "at_end":
        panel.plot(x, points["right_after"], ":", color=color, label="_")
