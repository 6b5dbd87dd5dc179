"""The figure of edits as a whole: what becomes of them, one stacked bar per method."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unike_lib.reporting.markdown import rows_of
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.plotting import STYLE, legend_below, make_panels, save_figure
from unike_lib.reporting.records import SETTING
from unike_lib.reporting.table_text import setting_text
from unike_lib.reporting.whole_edits import OUTCOMES

COLOURS = ("C2", "C0", "C1", "C4", "0.8")  # of `OUTCOMES`, in their order
FEWEST_SHOWN = 8.0  # percent: a shorter part of a bar has no number in it
BAR = 0.26  # inches per method


def draw_joint(edits: Path, outputs: Mapping[str, Path]) -> None:
    """Draw what becomes of edits: a panel per backbone (down) and task and K (across), a stacked bar per method.

    Args:
        edits: CSV file of `whole_edits`.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the numbers.
    """
    table = pd.read_csv(edits)
    with style.context(STYLE, after_reset=True):
        save_figure(_figure(table), table, outputs)


def _figure(table: pd.DataFrame) -> Figure:
    cells = dict(iter(table.groupby(SETTING, sort=False)))
    backbones, settings = table["backbone"].unique(), list(dict.fromkeys((task, k) for _, task, k in cells))
    height = 0.5 + BAR * max(len(rows) for rows in cells.values())
    figure, axes = make_panels(len(backbones), len(settings), False, height)
    for row, backbone in zip(axes, backbones, strict=True):
        for panel, (task, k) in zip(row, settings, strict=True):
            rows = cells[backbone, task, k]
            _bars(panel, rows)
            panel.set_title(f"{backbone}, {setting_text({'task': task, 'k': k})} ({rows['edits'].iloc[0]} edits)")
        for panel in row[1:]:
            panel.tick_params(labelleft=False)
    for panel in axes[-1]:
        panel.set_xlabel("% of edits")
    legend_below(figure, f"criterion {table['criterion'].iloc[0]}")
    return figure


def _bars(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw the bar of each method, the first on top, with numbers in the parts that have room."""
    left = pd.Series(0.0, rows.index)
    places = range(len(rows))
    for (outcome, title), colour in zip(OUTCOMES.items(), COLOURS, strict=True):
        panel.barh(places, rows[outcome], left=left, color=colour, edgecolor="white", linewidth=0.5)
        panel.plot([], [], "s", color=colour, label=title)
        for place, row, start in zip(places, rows_of(rows), left, strict=True):
            if row[outcome] >= FEWEST_SHOWN:
                panel.text(start + row[outcome] / 2, place, f"{row[outcome]:.0f}", ha="center", va="center", fontsize=6)
        left = left + rows[outcome]
    panel.set_yticks(places, [short_title(name) for name in rows["method"]])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(0, 100)
    panel.grid(visible=False)
