"""The shapes of a sweep's figure: each draws one backbone and task into a panel."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.plotting import MARKERS

# Each aim has a colour, a marker and a dash of its own, so that none has to be told by colour alone.
AIMS = {"reliability": ("C2", "^", ":"), "generality": ("C0", "o", "-"), "locality": ("C1", "s", "--")}
TWO_AIMS = ("generality", "locality")
LEVELS = ((0, (1, 1)), (0, (4, 1, 1, 1)))  # dashes of level lines, a method each
FEW = 3  # methods whose intervals can be told apart in one panel


def draw_path(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw generality over locality: a line a method through its points, labelled with the values.

    Of more than a few lines, intervals are not drawn and the ends alone are labelled; the CSV has all.
    """
    few = rows["method"].nunique() <= FEW
    for number, (method, points) in enumerate(rows.groupby("method", sort=False)):
        colour, x, y = f"C{number}", points["locality"], points["generality"]
        spans = {aim: _spans(points, aim) for aim in TWO_AIMS}
        if few or len(points) == 1:
            spread_x, spread_y = spans["locality"], spans["generality"]
            panel.errorbar(x, y, spread_y, spread_x, fmt="none", alpha=0.5, elinewidth=0.7, ecolor=colour)
        name = ": ".join(filter(None, (short_title(str(method)), _fields(points))))
        panel.plot(x, y, color=colour, marker=MARKERS[number % len(MARKERS)], label=name)
        # Neighbouring lines carry their labels on opposite sides.
        offset, across, along = (3, "left", "bottom") if number % 2 else (-3, "right", "top")
        for point in (points if few else points.iloc[[0, -1]]).to_dict("records"):
            label = panel.annotate(
                _short(str(point["value"])),
                (point["locality"], point["generality"]),
                xytext=(offset, offset),
                textcoords="offset points",
                ha=across,
                va=along,
                fontsize=6,
                color=colour,
            )
            label.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
    panel.margins(0.12)
    panel.set_xlabel("locality, %")


def draw_lines(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw generality and locality over a number; a value that is no number becomes a level line with its interval."""
    several = rows["method"].nunique() > 1
    panel.set_xticks(sorted(pd.to_numeric(rows["value"], errors="coerce").dropna().unique()))
    for number, (method, points) in enumerate(rows.groupby("method", sort=False)):
        numbers = pd.to_numeric(points["value"], errors="coerce")
        for aim in TWO_AIMS:
            colour, marker, dash = AIMS[aim]
            name = f"{aim}, {short_title(str(method))}" if several else aim
            marker = MARKERS[(MARKERS.index(marker) + 2 * number) % len(MARKERS)]
            line = points.assign(x=numbers)[numbers.notna()].sort_values("x")
            shift = 0.004 * (numbers.max() - numbers.min()) * (-1 if aim == "locality" else 1)
            if len(line):
                _mark(panel, line["x"] + shift, line, aim, linestyle=dash, marker=marker, label=name, color=colour)
            for _, level in points[numbers.isna()].iterrows():
                panel.axhspan(level[f"{aim}_low"], level[f"{aim}_high"], color=colour, alpha=0.12, linewidth=0)
                label, look = f"{name}, {level['value']}", LEVELS[number % len(LEVELS)]
                panel.axhline(level[aim], color=colour, linestyle=look, linewidth=1.0, label=label)
    panel.set_xlabel(_fields(rows))


def draw_dots(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw the scores of named values side by side, with their numbers; more methods take more places."""
    several = rows["method"].nunique() > 1
    rows = rows.reset_index(drop=True)
    for aim, shift in zip(TWO_AIMS, (-0.12, 0.12), strict=True):
        colour, marker, _ = AIMS[aim]
        _mark(panel, rows.index + shift, rows, aim, linestyle="none", marker=marker, label=aim, color=colour)
        for place, value in zip(rows.index + shift, rows[aim], strict=True):
            panel.annotate(
                f"{value:.1f}",
                (place, value),
                xytext=(3 if shift > 0 else -3, 0),
                textcoords="offset points",
                ha="left" if shift > 0 else "right",
                va="center",
                fontsize=6,
                color=colour,
            )
    names = [f"{row['value']}\n{short_title(row['method'])}" if several else row["value"] for _, row in rows.iterrows()]
    panel.set_xticks(range(len(rows)), names)
    panel.set_xlim(-0.7, len(rows) - 0.3)
    panel.grid(axis="x", visible=False)
    panel.set_xlabel(_fields(rows))


def draw_differences(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw each change's difference in points, a row a change; filled where the interval leaves out zero."""
    several = rows["method"].nunique() > 1
    rows = rows.reset_index(drop=True)
    panel.axvline(0, color="black", linewidth=0.6)
    for number, (aim, (colour, marker, _)) in enumerate(AIMS.items()):
        places = rows.index + 0.25 * (number - 1)
        clear = (rows[f"{aim}_low"] > 0) | (rows[f"{aim}_high"] < 0)
        panel.hlines(places, rows[f"{aim}_low"], rows[f"{aim}_high"], color=colour, alpha=0.6, linewidth=0.8)
        for chosen, face in ((clear, colour), (~clear, "white")):
            panel.plot(
                rows[aim][chosen], places[chosen], color=colour, marker=marker, linestyle="none", markerfacecolor=face
            )
        panel.plot([], [], color=colour, marker=marker, linestyle="none", label=aim)
    changes = [f"{row['field']}: {_short(row['value'])}" for _, row in rows.iterrows()]
    if several:
        changes = [f"{short_title(name)}, {change}" for name, change in zip(rows["method"], changes, strict=True)]
    panel.set_yticks(range(len(rows)), changes)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("difference, points")


def _mark(panel: Axes, x: Iterable[float], rows: pd.DataFrame, aim: str, **look: str) -> None:
    """Draw scores with their intervals."""
    x = np.asarray(list(x))
    panel.errorbar(
        x, rows[aim], yerr=_spans(rows, aim), fmt="none", alpha=0.6, elinewidth=0.8, ecolor=look["color"], zorder=1.9
    )
    panel.plot(x, rows[aim].to_numpy(), **look)  # type: ignore[arg-type]


def _spans(rows: pd.DataFrame, aim: str) -> list[pd.Series]:
    # A percentile interval may lie wholly to one side of the mean when there are few clusters.
    return [(rows[aim] - rows[f"{aim}_low"]).clip(0), (rows[f"{aim}_high"] - rows[aim]).clip(0)]


def _fields(rows: pd.DataFrame) -> str:
    return " / ".join(str(field).replace("_", " ") for field in rows["field"].unique())


def _short(value: str) -> str:
    """Return a number without superfluous digits (0.10 as 0.1, 1.0 as 1), and any other value as it is."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return value
