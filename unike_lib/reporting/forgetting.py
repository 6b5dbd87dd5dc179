"""Forgetting: what the later edits of a session leave of an earlier one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.records import right_after
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.plotting import MARKERS, STYLE, legend_below, make_panels, save_figure
from unike_lib.reporting.records import MAIN, ROW, SETTING, load_records
from unike_lib.reporting.scores import THREE_AIMS, score_table
from unike_lib.reporting.table_text import TASK_TITLES
from unike_lib.types import InputError

ROW_HEIGHT = 1.7  # inches
BIN = 5  # edits; a tenth of a session where that is more
KEYS = [*ROW, "since", "since_last"]
# A panel each: the criterion and the aim. Reliability and generality are the same by both criteria.
PANELS = (("token", "reliability"), ("token", "generality"), ("token", "locality"), ("mmedit", "locality"))


def draw_forgetting(
    records: Sequence[Path], outputs: Mapping[str, Path], methods: Sequence[str], statistics: StatisticsConfig
) -> None:
    """Draw scores at the end of a session against the number of edits made since the item's own.

    A row of panels is a backbone, task and K; reliability has the score right after the item's own edit beside it
    (dotted). Bars are intervals over sessions; none where there are too few.

    Args:
        records: record files of sessions of several edits.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the plotted numbers.
        methods: of Table 2, in its order.
        statistics: how intervals are made.

    Raises:
        InputError: see `load_records`; records of one-step editing, or of a method that is not in Table 2.
    """
    points = forgetting(load_records(records, ["k"]), statistics)
    unknown = sorted(set(points["method"]) - set(methods))
    if unknown:
        raise InputError(f"forgetting: records of method {unknown[0]}, expected {', '.join(methods)}")
    with style.context(STYLE, after_reset=True):
        save_figure(_figure(points, methods), points, outputs)


def forgetting(records: pd.DataFrame, statistics: StatisticsConfig) -> pd.DataFrame:
    """Return one row per cell, criterion and range of edits since the item's own: none, then a few together (`BIN`).

    An item at position p of a session of n edits (the last session may be shorter than K) has n - 1 - p edits since.

    Args:
        records: from `load_records`.
        statistics: how intervals are made.

    Returns:
        Columns: the cell, `since` to `since_last`, `criterion`; `edits`, `clusters` (sessions), `independent`; with
        intervals X_low, X_high, in percent: `reliability`, `generality`, `locality` at the end of the session, and
        `right_after`: the reliability of the same items right after their own edit.

    Raises:
        InputError: records without scores right after the edit.
    """
    missing = records[(records["kind"] == "rel") & records[[right_after(name) for name in MAIN]].isna().any(axis=1)]
    if len(missing):
        row = missing.iloc[0]
        raise InputError(f"{row['file']}: case {row['case']}: no score right after the edit, expected K > 1")
    last = records.groupby([*ROW, "session"])["position"].transform("max")
    since, width = last - records["position"], (records["k"] // 10).clip(BIN)
    first = (since // width * width).where(since >= width, since.clip(upper=1))
    longest = (records["k"] - 1).clip(upper=(since // width + 1) * width - 1)
    records = records.assign(since=first, since_last=longest.where(since > 0, 0))
    parts = []
    for criterion in MAIN:
        end = score_table(records, criterion, statistics, columns=THREE_AIMS, keys=KEYS)
        edited = records[records["kind"] == "rel"]
        edited = edited.assign(**{criterion: edited[right_after(criterion)]})
        columns = {"right_after": ("rel",)}
        after = score_table(edited, criterion, statistics, columns=columns, keys=KEYS)
        after = after[[*KEYS, "right_after", "right_after_low", "right_after_high"]]
        parts.append(end.drop(columns="failed").merge(after, on=KEYS).assign(criterion=criterion))
    points = pd.concat(parts, ignore_index=True)
    return points[[*KEYS, "criterion", *points.columns.drop([*KEYS, "criterion"])]]


def _figure(points: pd.DataFrame, methods: Sequence[str]) -> Figure:
    found = points[SETTING].drop_duplicates().itertuples(index=False, name=None)
    settings = sorted(found, key=lambda setting: (setting[0], setting[2], setting[1] != "vqa"))
    figure, axes = make_panels(len(settings), len(PANELS), False, ROW_HEIGHT)
    methods = [method for method in methods if method in set(points["method"])]
    for row, (backbone, task, k) in zip(axes, settings, strict=True):
        chosen = points[(points["backbone"] == backbone) & (points["task"] == task) & (points["k"] == k)]
        for panel, (criterion, aim) in zip(row, PANELS, strict=True):
            drawn = chosen[chosen["criterion"] == criterion]
            for number, method in enumerate(methods):
                shift = 0.12 * (number - (len(methods) - 1) / 2)
                _line(panel, drawn[drawn["method"] == method].sort_values("since"), aim, (method, number), shift)
            ranges = drawn[["since", "since_last"]].drop_duplicates().sort_values("since").to_numpy()
            panel.set_xticks(range(len(ranges)), [str(a) if a == b else f"{a}-{b}" for a, b in ranges], fontsize=5.5)
            panel.set_xlim(-0.6, len(ranges) - 0.4)
            panel.set_ylim(-4, 104)
        row[0].set_ylabel(f"{backbone}\n{TASK_TITLES[task]}, K = {k}\n%")
        for panel in row[1:]:
            panel.tick_params(labelleft=False)
    for panel, (criterion, aim) in zip(axes[0], PANELS, strict=True):
        panel.set_title(f"{aim}\n({criterion})" if aim == "locality" else aim)
    for panel in axes[-1]:
        panel.set_xlabel("edits since")
    legend_below(figure, "dotted: right after the item's own edit")
    return figure


def _line(panel: Axes, points: pd.DataFrame, aim: str, named: tuple[str, int], shift: float) -> None:
    """Draw the line of one method with its intervals; `named`: its name and its place among the methods."""
    (name, number), color = named, f"C{named[1]}"
    x = np.arange(len(points)) + shift
    spread = [(points[aim] - points[f"{aim}_low"]).clip(0), (points[f"{aim}_high"] - points[aim]).clip(0)]
    panel.errorbar(x, points[aim], spread, fmt="none", ecolor=color, alpha=0.5, elinewidth=0.7, zorder=1.9)
    panel.plot(x, points[aim], color=color, marker=MARKERS[number % len(MARKERS)], label=short_title(name))
    if aim == "reliability":
        panel.plot(x, points["right_after"], ":", color=color, label="_")
