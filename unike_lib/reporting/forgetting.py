"""Forgetting: what the later edits of a session leave of an earlier one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unike_lib.config import Config
from unike_lib.reporting.drawing import MARKERS, STYLE, legend_below, make_panels, save_figure
from unike_lib.reporting.paper import short_title
from unike_lib.reporting.records import RIGHT_AFTER, ROW, SETTING, load_records
from unike_lib.reporting.scores import THREE_AIMS, score_table
from unike_lib.reporting.table_text import TASK_TITLES
from unike_lib.types import InputError

CRITERIA = ("token", "mmedit")
ROW_HEIGHT = 1.7  # inches
BANDS = 3  # more methods' bands hide one another
KEYS = [*ROW, "since"]


def draw_forgetting(records: Sequence[Path], outputs: Mapping[str, Path], config: Config) -> None:
    """Draw scores at the end of a session against the number of edits made since the item's own.

    A row of panels is a backbone, task and K; reliability has the score right after the item's own edit beside it
    (dotted). Bands are bootstrap intervals over sessions, of at most BANDS methods; the CSV has those of all.

    Args:
        records: record files of sessions of several edits.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the plotted numbers.
        config: the run; `table2`, `statistics` and `seed` are used.

    Raises:
        InputError: see `load_records`; records of one-step editing, or of a method that is not in Table 2.
    """
    points = forgetting(load_records(records, ["k"]), config)
    unknown = sorted(set(points["method"]) - set(config.table2.methods))
    if unknown:
        raise InputError(f"forgetting: records of method {unknown[0]}, expected {', '.join(config.table2.methods)}")
    with style.context(STYLE, after_reset=True):
        save_figure(_figure(points, config), points, outputs)


def forgetting(records: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return one row a cell, criterion and number of edits since the item's own.

    An item at position p of a session of n edits (the last session may be shorter than K) has n - 1 - p edits since.

    Args:
        records: from `load_records`.
        config: the run; `statistics` and `seed` are used.

    Returns:
        Columns: the cell, `since`, `criterion`; `edits`, `clusters` (sessions); with intervals X_low, X_high, in
        percent: `reliability`, `generality`, `locality` at the end of the session, and `right_after`: the reliability
        of the same items right after their own edit.

    Raises:
        InputError: records without scores right after the edit.
    """
    missing = records[(records["kind"] == "rel") & records[list(RIGHT_AFTER.values())].isna().any(axis=1)]
    if len(missing):
        row = missing.iloc[0]
        raise InputError(f"{row['file']}: case {row['case']}: no score right after the edit, expected K > 1")
    last = records.groupby([*ROW, "session"])["position"].transform("max")
    records = records.assign(since=last - records["position"])
    parts = []
    for criterion in CRITERIA:
        end = score_table(records, criterion, config.statistics, config.seed, columns=THREE_AIMS, keys=KEYS)
        edited = records[records["kind"] == "rel"]
        edited = edited.assign(**{criterion: edited[RIGHT_AFTER[criterion]]})
        columns = {"right_after": ("rel",)}
        after = score_table(edited, criterion, config.statistics, config.seed, columns=columns, keys=KEYS)
        after = after[[*KEYS, "right_after", "right_after_low", "right_after_high"]]
        parts.append(end.drop(columns="failed").merge(after, on=KEYS).assign(criterion=criterion))
    points = pd.concat(parts, ignore_index=True)
    return points[[*KEYS, "criterion", *points.columns.drop([*KEYS, "criterion"])]]


def _figure(points: pd.DataFrame, config: Config) -> Figure:
    found = points[SETTING].drop_duplicates().itertuples(index=False, name=None)
    settings = sorted(found, key=lambda setting: (setting[0], setting[2], setting[1] != "vqa"))
    figure, axes = make_panels(len(settings), len(THREE_AIMS), False, ROW_HEIGHT)
    methods = [method for method in config.table2.methods if method in set(points["method"])]
    for row, (backbone, task, k) in zip(axes, settings, strict=True):
        chosen = points[(points["backbone"] == backbone) & (points["task"] == task) & (points["k"] == k)]
        for panel, aim in zip(row, THREE_AIMS, strict=True):
            for number, method in enumerate(methods):
                _lines(panel, chosen[chosen["method"] == method], aim, (method, number), len(methods) <= BANDS)
            panel.set_ylim(-4, 104)
        row[0].set_ylabel(f"{backbone}\n{TASK_TITLES[task]}, K = {k}\n%")
    for panel, aim in zip(axes[0], THREE_AIMS, strict=True):
        panel.set_title(aim)
    for panel in axes[-1]:
        panel.set_xlabel("edits since the item's own")
    legend_below(figure, "dotted: right after the edit; dashed: locality by MMEdit's rules")
    return figure


def _lines(panel: Axes, points: pd.DataFrame, aim: str, named: tuple[str, int], banded: bool) -> None:
    """Draw the lines of one method, with intervals if `banded`; `named`: its name and its place among the methods."""
    (name, number), color = named, f"C{named[1]}"
    for criterion, line in (("token", "-"), ("mmedit", "--")):
        curve = points[points["criterion"] == criterion].sort_values("since")
        if criterion == "token" or aim == "locality":  # elsewhere the two criteria are the same
            label = short_title(name) if line == "-" else "_"
            panel.plot(
                curve["since"], curve[aim], line, color=color, marker=MARKERS[number % len(MARKERS)], label=label
            )
            if banded:
                panel.fill_between(curve["since"], curve[f"{aim}_low"], curve[f"{aim}_high"], color=color, alpha=0.12)
        if criterion == "token" and aim == "reliability":
            panel.plot(curve["since"], curve["right_after"], ":", color=color, label="_")
