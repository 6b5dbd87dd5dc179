"""Figures drawn from records: sweeps of one field, and methods as they are; each with a table of what it shows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unike_lib.evaluation_config import StatisticsConfig
from unike_lib.figure_settings import FiguresConfig, SweepConfig
from unike_lib.io import write_csv
from unike_lib.records import CELL
from unike_lib.reporting.drawing import STYLE, legend_below, make_panels, save_figure
from unike_lib.reporting.records import MAIN, load_records
from unike_lib.reporting.scores import THREE_AIMS, score_table
from unike_lib.reporting.shapes import draw_differences, draw_dots, draw_lines, draw_path
from unike_lib.reporting.sweeps import POINT, sweep_table
from unike_lib.reporting.table_text import TASK_TITLES
from unike_lib.types import InputError

SHAPES: Mapping[str, Callable[[Axes, pd.DataFrame], None]] = {
    "path": draw_path,
    "lines": draw_lines,
    "dots": draw_dots,
    "differences": draw_differences,
}
ROW_HEIGHT = 0.3  # inches a change in a figure of differences


def draw_sweep(
    records: Sequence[Path], outputs: Mapping[str, Path], sweep: SweepConfig, statistics: StatisticsConfig
) -> None:
    """Draw a sweep of the configuration: a panel a backbone (down) and task (across), in the sweep's shape.

    Bars and bands are intervals over edits; none where too few are independent. Locality is the mean of T-Loc and
    M-Loc, generality that of T-Gen and M-Gen, edit by edit.

    Args:
        records: record files with the columns `field` and `value`: what each point changes.
        outputs: `pdf`, `png` -> figure paths, by the criterion `token`; `mmedit_pdf`, `mmedit_png`: by `mmedit`; `csv`
            -> path of the numbers plotted in both.
        sweep: from `FiguresConfig.sweep`.
        statistics: how intervals are made.

    Raises:
        InputError: see `load_records` and `sweep_table`.
    """
    frame = load_records(records, POINT)
    points = {criterion: sweep_table(frame, sweep, criterion, statistics) for criterion in MAIN}
    _draw(points, sweep.shape, outputs)


def draw_methods(
    records: Sequence[Path], outputs: Mapping[str, Path], shown: FiguresConfig, statistics: StatisticsConfig
) -> None:
    """Draw generality over locality of methods as they are (Fig. 2a).

    Args:
        records: record files of the methods `shown.fig2a`.
        outputs: as in `draw_sweep`.
        shown: `backbones`, `tasks` and `fig2a` are used.
        statistics: how intervals are made.

    Raises:
        InputError: see `load_records`; or a method without records.
    """
    frame = load_records(records)
    wanted = pd.DataFrame(
        [(backbone, task, name) for backbone in shown.backbones for task in shown.tasks for name in shown.fig2a],
        columns=CELL,
    )
    points = {}
    for criterion in MAIN:
        table = score_table(frame, criterion, statistics, columns=THREE_AIMS)
        rows = wanted.merge(table, how="left")
        gaps = rows[rows["generality"].isna()]
        if len(gaps):
            raise InputError(f"fig2a: no {criterion} scores of {', '.join(gaps.iloc[0][CELL])}")
        points[criterion] = rows.assign(field="", value="")
    _draw(points, "path", outputs)


def _draw(points: Mapping[str, pd.DataFrame], shape: str, outputs: Mapping[str, Path]) -> None:
    """Draw the points of each criterion: `token` into the plain outputs, another into those with its name."""
    numbers = pd.concat([table.assign(criterion=criterion) for criterion, table in points.items()])
    with style.context(STYLE, after_reset=True):
        for criterion, table in points.items():
            prefix = "" if criterion == "token" else f"{criterion}_"
            files = {kind: outputs[prefix + kind] for kind in ("pdf", "png") if prefix + kind in outputs}
            save_figure(_figure(table, shape, criterion), table, files)
    if "csv" in outputs:
        write_csv(outputs["csv"], numbers[["criterion", *numbers.columns.drop("criterion")]])


def _figure(points: pd.DataFrame, shape: str, criterion: str) -> Figure:
    cells = dict(iter(points.groupby(["backbone", "task"], sort=False)))
    backbones, tasks = points["backbone"].unique(), points["task"].unique()
    forest = shape == "differences"
    height = 0.4 + ROW_HEIGHT * max(len(rows) for rows in cells.values()) if forest else 2.4
    figure, axes = make_panels(len(backbones), len(tasks), True, height)
    for row, backbone in enumerate(backbones):
        for column, task in enumerate(tasks):
            panel, chosen = axes[row][column], cells[backbone, task]
            SHAPES[shape](panel, chosen)
            panel.set_title(f"{backbone}, {TASK_TITLES.get(task, task)} ({chosen['edits'].iloc[0]} edits)")
            if row < len(backbones) - 1:
                panel.set_xlabel("")
        if not forest:
            axes[row][0].set_ylabel("generality, %" if shape == "path" else "%")
    legend_below(figure, f"criterion {criterion}")
    return figure
