"""The front of the report: what the run says of the paper's method, and of its late scope, in three sentences."""

from collections.abc import Sequence

import pandas as pd

from unike_lib.reporting.claims import sign
from unike_lib.reporting.markdown import Row, cell, rows_of
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.table_text import REFERENCE, TASK_TITLES

LATE = "unike-scope"  # UniKE behind its late scope, ours
MEAN = "the mean of the three aims (token, paired edit by edit)"


def front_sentences(differences: Sequence[pd.DataFrame]) -> list[str]:
    """Say how UniKE stands beside others after the shortest and the longest sessions; and what its scope adds.

    Args:
        differences: UniKE (`first`) minus each other method (`second`) by `token`, a table each.

    Returns:
        a sentence for the smallest K, one for the largest, and one of the late scope at the largest K that has it;
        none of what the run has not.
    """
    filled = [each for each in differences if len(each)]
    if not filled:
        return []
    rows = pd.concat(filled)
    rows = rows[rows["first"] == REFERENCE].drop_duplicates(["backbone", "task", "k", "second"])
    paper, late = rows[rows["second"] != LATE], rows[rows["second"] == LATE]
    sentences = [
        _standing(paper[paper["k"] == k]) for k in sorted({*paper["k"]} & {paper["k"].min(), paper["k"].max()})
    ]
    return [*sentences, *([_added(late[late["k"] == late["k"].max()])] if len(late) else [])]


def _standing(rows: pd.DataFrame) -> str:
    """Return how UniKE stands beside the others at one K."""
    signs = [sign(row, "mean") for row in rows_of(rows)]
    others = ", ".join(dict.fromkeys(short_title(str(name)) for name in rows["second"]))
    k = int(rows["k"].iloc[0])
    when = "After one edit" if k == 1 else f"After sessions of {k} edits"
    return (
        f"{when}, UniKE as the paper has it is clearly ahead by {MEAN} in {signs.count(1)} of {len(signs)} "
        f"comparisons (with {others}; backbones and tasks apart), clearly behind in {signs.count(-1)}, and "
        f"{signs.count(0)} are not decided."
    )


def _added(rows: pd.DataFrame) -> str:
    """Return what the late scope adds to UniKE at one K."""
    turned = [_turned(row) for row in rows_of(rows)]
    words = {1: "more", -1: "less", 0: "not decided"}
    listed = "; ".join(
        f"{row['backbone']}, {TASK_TITLES[row['task']]}: {cell(row, 'mean', signed=True)} points, "
        f"{words[sign(row, 'mean')]}"
        for row in turned
    )
    return f"At K = {turned[0]['k']}, the late scope (ours, not the paper's) gives UniKE by {MEAN}: {listed}."


def _turned(row: Row) -> Row:
    """Return the row with the difference in the mean the other way round."""
    return {**row, "mean": -row["mean"], "mean_low": -row["mean_high"], "mean_high": -row["mean_low"]}
