"""Tables as Markdown text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

Row = Mapping[str, Any]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers.

    Raises:
        ValueError: a row with another number of cells than the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"row {list(row)}: {len(row)} cells, expected {len(header)}")
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def cell(row: Row, name: str, signed: bool = False, digits: int = 1) -> str:
    """Return a number of a row with its interval, "63.1 (58.0 to 68.2)"; a dash for what was not measured."""
    ends = [float(row[key]) for key in (name, f"{name}_low", f"{name}_high")]
    if math.isnan(ends[0]):
        return "-"
    texts = [f"{end:{'+' if signed else ''}.{digits}f}" for end in ends]
    return texts[0] if math.isnan(ends[1]) else f"{texts[0]} ({texts[1]} to {texts[2]})"


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table, by column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
