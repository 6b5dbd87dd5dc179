"""What a backbone's states carry, as a part of the page of the positive control."""

import pandas as pd

from unike_lib.reporting.markdown import markdown_table, rows_of

READOUT_TEXT = (
    "Shares of variance, 1 - |mean|^2 / mean |x|^2, of h_pos, of ordinary attention outputs and of h_know over the "
    "items, and of h_pos over the memory; and how often a linear probe reads an answer's first token from h_pos in the "
    "memory (answers of at least two tokens whose first occurs five times or more; five parts, by case)."
)


def readout_table(readout: pd.DataFrame, backbone: str) -> str:
    """Return one backbone's rows of `evaluation.readout.readout_table` as Markdown."""
    names = {
        "h_pos": "h_pos",
        "attention": "attention",
        "h_know": "h_know",
        "memory": "memory",
        "decoded": "read right %",
        "chance": "most frequent %",
    }
    lines = []
    for row in rows_of(readout[readout["backbone"] == backbone]):
        shares = ["-" if pd.isna(row[name]) else f"{row[name]:.2f}" for name in list(names)[:4]]
        percents = ["-" if pd.isna(row[name]) else f"{100 * row[name]:.1f}" for name in list(names)[4:]]
        lines.append([f"{row['layer']}{' (edited)' if row['edited'] else ''}", *shares, *percents])
    return markdown_table(["Layer", *names.values()], lines)
