"""The figure of the semantic scope: which layer knows a question again, and how near it finds questions."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unike_lib.io import check_fields
from unike_lib.reporting.markdown import rows_of
from unike_lib.reporting.plotting import STYLE, legend_below, make_panels, save_figure

# Sets of questions: title, colour. Lines have an AUC by layer, bars the cosines at the chosen layer.
LINES = {
    "t_gen": ("near rephrasing", "C0"),
    "t_gen_far": ("far rephrasing", "C1"),
    "m_gen": ("unseen artist", "C2"),
    "near_misses": ("near misses", "C3"),
}
BARS = {**LINES, "t_loc": ("text alone", "C4")}
CHOSEN_BY, CHOICE = ("dev", "rephrasings"), "development edits: the layer is chosen by these"
NEEDED = ("backbone", "state", "layer", "task", "split", "set", "auc", "chosen", "edited", "threshold")


def draw_scope(table: Path, outputs: Mapping[str, Path]) -> None:
    """Draw a row of panels per backbone and task: AUC by layer; cosines at the chosen layer, from 5% to 95%.

    Args:
        table: CSV file of `knowledge.scope_table`: evaluation edits are drawn, and the curve that chooses.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the drawn numbers.

    Raises:
        InputError: a column is missing.
    """
    rows = pd.read_csv(table)
    check_fields(table, rows.columns, NEEDED)
    of_choice = (rows["split"] == CHOSEN_BY[0]) & (rows["set"] == CHOSEN_BY[1]) & (rows["state"] == "raw")
    drawn = rows[of_choice | ((rows["split"] == "eval") & rows["set"].isin(BARS))]
    with style.context(STYLE, after_reset=True):
        save_figure(_figure(drawn), drawn, outputs)


def _figure(drawn: pd.DataFrame) -> Figure:
    cells = dict(iter(drawn.groupby(["backbone", "task"], sort=False)))
    figure, axes = make_panels(len(cells), 2, shared=False)
    for (left, right), ((backbone, task), cell) in zip(axes, cells.items(), strict=True):
        _curves(left, cell)
        left.set_title(f"{backbone}, {task}")
        _bars(right, cell[(cell["state"] == "raw") & cell["chosen"] & (cell["split"] == "eval")])
    axes[-1][0].set_xlabel("layer of the unedited model (grey: edited)")
    axes[-1][1].set_xlabel("cosine with an edit's question")
    legend_below(figure)
    return figure


def _curves(panel: Axes, cell: pd.DataFrame) -> None:
    """Draw the AUC of each set by layer (a diamond: the trained map), and which layers are edited and chosen."""
    raw, trained = cell[cell["state"] == "raw"], cell[cell["state"] == "trained"]
    for layer in raw.loc[raw["edited"], "layer"].unique():
        panel.axvspan(layer - 0.5, layer + 0.5, color="0.9", linewidth=0)
    panel.axvline(raw.loc[raw["chosen"], "layer"].iloc[0], color="0.4", linestyle="--", label="chosen layer")
    for name, (title, colour) in LINES.items():
        line, point = (part[(part["split"] == "eval") & (part["set"] == name)] for part in (raw, trained))
        if len(line):
            panel.plot(line["layer"], line["auc"], color=colour, label=title)
            panel.plot(point["layer"], point["auc"], "D", color=colour, markersize=4, markerfacecolor="none")
    panel.plot([], [], "D", color="0.4", markersize=4, markerfacecolor="none", label="trained map")
    choice = raw[raw["split"] == CHOSEN_BY[0]]
    panel.plot(choice["layer"], choice["auc"], color="black", linestyle=":", label=CHOICE)
    panel.set_ylabel("AUC")


def _bars(panel: Axes, cell: pd.DataFrame) -> None:
    """Draw the cosines of each set with its own edit, and of rephrasings with other edits, beside the threshold."""
    cell = cell.set_index("set").reindex([name for name in BARS if name in set(cell["set"])]).reset_index()
    titles = [BARS[name][0] for name in cell["set"]]
    for place, row in enumerate(rows_of(cell)):
        colour = BARS[row["set"]][1]
        panel.plot([row["own_low"], row["own_high"]], [place, place], color=colour, linewidth=4, solid_capstyle="butt")
        panel.plot(row["own_median"], place, "|", color="black", markersize=8)
    if len(cell):
        first, below = cell.iloc[0], len(titles)
        panel.plot([first["other_low"], first["other_high"]], [below, below], color="0.6", linewidth=4)
        panel.plot(first["other_median"], below, "|", color="black", markersize=8)
        titles.append("other edits")
        panel.axvline(first["threshold"], color="0.4", linestyle="-.", label="threshold")
        panel.set_title(f"layer {first['layer']}: 5% to 95%, median")
    panel.set_yticks(range(len(titles)), titles)
    panel.set_ylim(len(titles) - 0.5, -0.5)
