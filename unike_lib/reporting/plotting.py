"""What all figures share: their style, their grid of panels, their legend, their files.

The same input gives the same bytes: no dates in the files.
"""

import logging
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text

from unike_lib.io import atomic_path, write_csv

log = logging.getLogger(__name__)
STYLE = Path(__file__).with_name("style.mplstyle")
WIDTH = 6.3  # inches
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NO_DATES: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}


def make_panels(rows: int, columns: int, shared: bool, height: float = 2.4) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of print width with rows of panels, `height` inches each."""
    figure = Figure(figsize=(WIDTH, 0.5 + height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    return figure, [list(row) for row in axes]


def legend_below(figure: Figure, title: str | None = None) -> None:
    """Explain each labelled line once, although panels may hold different ones."""
    lines = {str(line.get_label()): line for panel in figure.axes for line in panel.get_lines()}
    lines = {label: line for label, line in lines.items() if not label.startswith("_")}
    if not lines:
        return
    figure.legend(
        lines.values(),
        lines.keys(),
        loc="outside lower center",
        ncols=min(len(lines), max(1, int(1 / (0.06 + 0.0085 * max(map(len, lines)))))),  # shares of the width
        title=title,
        title_fontsize=7,
    )


def save_figure(figure: Figure, numbers: pd.DataFrame, outputs: Mapping[str, Path]) -> None:
    """Write `pdf`, `png` and the plotted numbers as `csv`, those of them that are asked for."""
    for kind, metadata in NO_DATES.items():
        if kind in outputs:
            with atomic_path(outputs[kind]) as temporary:
                write_drawn(figure, temporary, outputs[kind], format=kind, metadata=metadata)
    if "csv" in outputs:
        write_csv(outputs["csv"], numbers)


def write_drawn(figure: Figure, path: Path, name: Path, **how: Any) -> None:
    """Save a figure to `path`; a warning, under the name `name`, says which characters no font here can draw."""
    boxed = undrawable(figure)
    if boxed:
        named = ", ".join(f"{char} (U+{ord(char):04X})" for char in boxed)
        log.warning("%s: no font here draws %s: boxes stand for them; tables and pages have them", name, named)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said above, in one line
        figure.savefig(path, **how)


def undrawable(figure: Figure) -> list[str]:
    """Return the characters of a figure's texts that its fonts do not have, sorted.

    Line and paragraph separators and control characters, which no font has, are replaced by blanks.
    """
    boxed: set[str] = set()
    for text in (each for each in figure.findobj(Text) if isinstance(each, Text)):
        if not (text.get_text().isascii() and text.get_text().isprintable()):
            known = get_font(findfont(text.get_fontproperties())).get_charmap()
            text.set_text("".join(" " if _separates(char) else char for char in text.get_text()))
            boxed |= {char for char in text.get_text() if ord(char) not in known and char != "\n"}
    return sorted(boxed)


def _separates(char: str) -> bool:
    return char != "\n" and unicodedata.category(char) in ("Zl", "Zp", "Cc")
