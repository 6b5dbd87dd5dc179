"""Tables as a page shows them: rows of texts, from any table of a run."""

from dataclasses import dataclass, replace

import pandas as pd

from unike_lib.reporting.averages import printed_average
from unike_lib.reporting.markdown import Row, rows_of
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.table_text import METRIC_TITLES

TITLES = METRIC_TITLES | {"mean": "mean aim", "lowest": "lowest aim"}
HIDDEN = ["independent", "gap", "gap_low", "gap_high"]  # what sentences of the report say


@dataclass(frozen=True)
class ShownTable:
    """A table as the page shows it: headers, and rows of cells; a cell is a text, or a number with its interval."""

    labels: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple["ShownRow", ...]


@dataclass(frozen=True)
class ShownRow:
    """A row: its labels, its (number, interval) cells, and whether the numbers are the paper's."""

    labels: tuple[str, ...]
    cells: tuple[tuple[str, str], ...]
    paper: bool = False


def shown_table(table: pd.DataFrame, paper: bool = True) -> ShownTable:
    """Lay out a results table: every column X with ends X_low and X_high is a number.

    Columns before the first number are labels. A method that a row says nothing about is marked.

    Args:
        table: as `write_result_table` writes it, or its differences.
        paper: put the paper's numbers, paper_X, into a row below.
    """
    table = _with_sessions(table).drop(columns=HIDDEN, errors="ignore")
    columns = [str(name) for name in table]
    numbers = [name for name in columns if f"{name}_low" in columns]
    labels = columns[: columns.index(numbers[0])] if numbers else columns
    rows = []
    for row in rows_of(table):
        texts = tuple(_label(name, row) for name in labels)
        rows.append(ShownRow(texts, tuple(_with_ends(row, name) for name in numbers)))
        printed = tuple(_printed(row, name) for name in numbers)
        if paper and any(printed):
            blank = ("the paper", *[""] * (len(labels) - 1))
            rows.append(ShownRow(blank, tuple((text, "") for text in printed), paper=True))
    titles = tuple(TITLES.get(name, _words(name)) for name in numbers)
    return ShownTable(tuple(map(_words, labels)), titles, tuple(rows))


def shown_differences(table: pd.DataFrame) -> ShownTable:
    """Lay out differences between one method and others, on the same edits, in points."""
    title = f"{short_title(str(table['first'].iloc[0]))} minus"
    shown = shown_table(table.drop(columns=["criterion", "first"]).rename(columns={"second": "method"}))
    return replace(shown, labels=tuple(title if label == "method" else label for label in shown.labels))


def plain_table(table: pd.DataFrame) -> ShownTable:
    """Lay out any table: columns of text are labels, the others numbers with at most three decimals."""
    columns = [str(name) for name in table]
    labels = [name for name in columns if not pd.api.types.is_numeric_dtype(table[name])]
    numbers = [name for name in columns if name not in labels]
    rows = tuple(
        ShownRow(tuple(str(row[name]) for name in labels), tuple((_number(row[name]), "") for name in numbers))
        for row in rows_of(table)
    )
    return ShownTable(tuple(map(_words, labels)), tuple(map(_words, numbers)), rows)


def _with_sessions(table: pd.DataFrame) -> pd.DataFrame:
    """Call clusters what they are: sessions, where those hold several edits; those of single edits are left out."""
    if "clusters" not in table:
        return table
    if (table["k"] > 1).any():
        return table.rename(columns={"clusters": "sessions"})
    return table.drop(columns="clusters")


def _label(name: str, row: Row) -> str:
    if name != "method":
        return str(row[name])
    passed = row.get("control_passed", True)
    doubted = row.get("control_not_passed", pd.notna(passed) and not passed)
    cells = f" in {doubted} of {row['cells']} cells" if "control_not_passed" in row else ""
    return short_title(row[name]) + (f" (control not passed{cells})" if pd.notna(doubted) and doubted else "")


def _printed(row: Row, name: str) -> str:
    """Return the paper's number, and what its own cells give where that differs; nothing where it has none."""
    if pd.isna(row.get(f"paper_{name}", float("nan"))):
        return ""
    return printed_average(row, name) if f"paper_{name}_recomputed" in row else f"{row[f'paper_{name}']:.1f}"


def _with_ends(row: Row, name: str) -> tuple[str, str]:
    value, low, high = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    if pd.isna(value):
        return "-", ""
    return f"{value:.1f}", "" if pd.isna(low) else f"{low:.1f} to {high:.1f}"


def _number(value: float) -> str:
    """Return a number with at most three decimals; a dash for what was not measured."""
    return "-" if pd.isna(value) else f"{value:.3f}".rstrip("0").rstrip(".")


def _words(name: str) -> str:
    return name.replace("_", " ")
