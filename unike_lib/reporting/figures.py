"""The figures: drawn from records and training curves, each with a table of the numbers that it shows.

The same input gives the same bytes: no dates in the files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from unike_lib.config import Config
from unike_lib.io import atomic_path
from unike_lib.reporting.paper import PAPER_METHODS
from unike_lib.reporting.records import CELL, load_records
from unike_lib.reporting.scores import THREE_AIMS, score_table
from unike_lib.types import InputError

STYLE = Path(__file__).with_name("style.mplstyle")
WIDTH = 6.3  # inches
PANEL_HEIGHT = 2.4  # inches
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TASK_TITLES = {"vqa": "VQA", "caption": "caption"}
NO_DATES: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}


def draw_frontier(
    records: Sequence[Path], outputs: Mapping[str, Path], config: Config, criterion: str = "token"
) -> None:
    """Draw generality over locality, one line a method through the values of the swept knob.

    A panel is a backbone (down) and task (across); bars are bootstrap intervals over edits. Locality is the mean of
    T-Loc and M-Loc, generality that of T-Gen and M-Gen, edit by edit. A point up and to the right is better.

    Args:
        records: record files with the column `value`: the knob's value (`config.frontier.knob`).
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the plotted numbers.
        config: the run; `frontier.knob`, `statistics` and `seed` are used.
        criterion: of the scores.

    Raises:
        InputError: see `load_records`; or scores that were not measured under this criterion.
    """
    keys = [*CELL, "value"]
    frame = load_records(records, ["value"])
    points = score_table(frame, criterion, config.statistics, config.seed, columns=THREE_AIMS, keys=keys)
    if points["generality"].isna().any():
        raise InputError(f"{frame['file'].iloc[0]}: criterion {criterion} was not measured")
    unknown = sorted(set(points["method"]) - set(config.frontier.methods))
    if unknown:
        raise InputError(f"frontier: records of method {unknown[0]}, expected {', '.join(config.frontier.methods)}")
    points.insert(len(keys), "knob", config.frontier.knob)
    with style.context(STYLE, after_reset=True):
        figure = _frontier_figure(points, config)
        save_figure(figure, points, outputs)


def draw_encoder_losses(losses: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Draw the training curves of the contrastive encoders: a panel a backbone and loss, a line a layer.

    Args:
        losses: backbone -> CSV file with the columns layer, epoch, and one column a loss.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the plotted numbers.

    Raises:
        InputError: no files, a file without one of the columns, or files with different losses.
    """
    curves = pd.concat([_read_losses(name, path) for name, path in losses.items()]) if losses else pd.DataFrame()
    if curves.empty:
        raise InputError("encoder losses: nothing given, expected one CSV with rows a backbone")
    named = [str(column) for column in curves if column not in {"backbone", "layer", "epoch"}]
    gaps = curves[curves[named].isna().any(axis=1)]
    if len(gaps):
        path = losses[gaps["backbone"].iloc[0]]
        raise InputError(f"{path}: a row without a value, expected {', '.join(named)} in every row")
    with style.context(STYLE, after_reset=True):
        save_figure(_losses_figure(curves, named), curves, outputs)


def _frontier_figure(points: pd.DataFrame, config: Config) -> Figure:
    backbones = list(points["backbone"].unique())
    tasks = sorted(points["task"].unique(), key=lambda task: (task != "vqa", task))
    figure, axes = panels(len(backbones), len(tasks), shared=True)
    for row, backbone in enumerate(backbones):
        for column, task in enumerate(tasks):
            panel = axes[row][column]
            chosen = points[(points["backbone"] == backbone) & (points["task"] == task)]
            for number, method in enumerate(config.frontier.methods):
                _line(panel, chosen[chosen["method"] == method].sort_values("value"), method, number)
            panel.set_title(f"{backbone}, {TASK_TITLES.get(task, task)}")
            panel.margins(0.12)
        axes[row][0].set_ylabel("generality, %")
    for panel in axes[-1]:
        panel.set_xlabel("locality, %")
    legend_below(figure, f"labels: {config.frontier.knob.replace('_', ' ')}")
    return figure


def _line(panel: Axes, points: pd.DataFrame, method: str, number: int) -> None:
    # A percentile interval may lie wholly to one side of the mean when there are few clusters.
    spans = {
        aim: [(points[aim] - points[f"{aim}_low"]).clip(0), (points[f"{aim}_high"] - points[aim]).clip(0)]
        for aim in ("locality", "generality")
    }
    x, y = points["locality"], points["generality"]
    panel.errorbar(
        x,
        y,
        xerr=spans["locality"],
        yerr=spans["generality"],
        fmt="none",
        alpha=0.5,
        elinewidth=0.7,
        ecolor=f"C{number}",
    )
    panel.plot(x, y, color=f"C{number}", marker=MARKERS[number % len(MARKERS)], label=PAPER_METHODS.get(method, method))
    # Neighbouring lines carry their labels on opposite sides.
    offset, across, along = (3, "left", "bottom") if number % 2 else (-3, "right", "top")
    for point in points.to_dict("records"):
        label = panel.annotate(
            f"{point['value']:g}",
            (point["locality"], point["generality"]),
            xytext=(offset, offset),
            textcoords="offset points",
            ha=across,
            va=along,
            fontsize=6,
            color=f"C{number}",
        )
        label.set_path_effects([withStroke(linewidth=1.5, foreground="white")])


def _losses_figure(curves: pd.DataFrame, named: Sequence[str]) -> Figure:
    backbones = list(curves["backbone"].unique())
    layers = sorted(curves["layer"].unique())
    figure, axes = panels(len(backbones), len(named), shared=False)
    for row, backbone in enumerate(backbones):
        for column, loss in enumerate(named):
            panel = axes[row][column]
            for layer, curve in curves[curves["backbone"] == backbone].groupby("layer"):
                panel.plot(curve["epoch"], curve[loss], color=f"C{layers.index(layer)}", label=f"layer {layer}")
            panel.set_title(f"{backbone}, {loss.replace('_', ' ')}")
        axes[row][0].set_ylabel("loss, nats")
    for panel in axes[-1]:
        panel.set_xlabel("epoch")
    legend_below(figure, None)
    return figure


def _read_losses(backbone: str, path: Path) -> pd.DataFrame:
    curve = pd.read_csv(path)
    missing = [column for column in ("layer", "epoch") if column not in curve]
    if missing or curve.shape[1] < 3:
        raise InputError(f"{path}: no column {', '.join(missing) or 'with a loss'}; expected layer, epoch and losses")
    curve.insert(0, "backbone", backbone)
    return curve


def panels(rows: int, columns: int, shared: bool, height: float = PANEL_HEIGHT) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of rows by columns of panels, each `height` inches high; `shared`: they have the same axes."""
    figure = Figure(figsize=(WIDTH, 0.5 + height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    return figure, [list(row) for row in axes]


def legend_below(figure: Figure, title: str | None) -> None:
    """Explain each line that has a name once, although panels may hold different ones."""
    named = [line for panel in figure.axes for line in panel.get_lines() if not str(line.get_label()).startswith("_")]
    lines = {str(line.get_label()): line for line in named}
    columns = min(len(lines), 6)
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=columns, title=title, title_fontsize=7
    )


def save_figure(figure: Figure, numbers: pd.DataFrame, outputs: Mapping[str, Path]) -> None:
    """Write the figure to `pdf`, `png` and the numbers that it shows to `csv`, whichever are asked for."""
    for kind, metadata in NO_DATES.items():
        if kind in outputs:
            with atomic_path(outputs[kind]) as temporary:
                figure.savefig(temporary, format=kind, metadata=metadata)
    if "csv" in outputs:
        with atomic_path(outputs["csv"]) as temporary:
            numbers.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
