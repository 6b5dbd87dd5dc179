"""Table 5: reliability, generality and locality, averaged over the cells of Table 1 and of Table 2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from unike_lib.io import DECIMALS, atomic_path, write_csv
from unike_lib.reporting.admission import Verdict, not_admitted, read_verdicts
from unike_lib.reporting.departures import POINTER, departure_note
from unike_lib.reporting.intervals import independent_clusters, mean_interval
from unike_lib.reporting.markdown import Row, cell, markdown_table, rows_of
from unike_lib.reporting.paper import PAPER_METHODS, paper_cells, paper_table
from unike_lib.reporting.records import CELL, CRITERIA, FAMILIES, ROW, load_records
from unike_lib.reporting.scores import PAIR, THREE_AIMS, EditScores, aims_of, edit_scores
from unike_lib.reporting.table_text import (
    CRITERION_TITLES,
    REFERENCE,
    TASK_TITLES,
    confidence_text,
    method_title,
    missing_intervals,
)
from unike_lib.reporting.tables import cells_of, check_outputs
from unike_lib.table_parts import TableParts

SOURCES = {"one-step": "table1", "sequential": "table2"}
ROUNDING = 0.1  # points: how far averages of printed numbers may be from a printed average
INTRODUCTION = """\
The mean over the cells of a setting, each with the same weight, in percent, with {confidence} intervals (of one-step \
editing over edits, those that share a fact together; of sequential editing over sessions). Generality is the \
mean of T-Gen. and M-Gen., locality that of T-Loc. and M-Loc. Rows in italics are what the paper prints. Cells that \
are not admitted say nothing about their method: it reads a memory, and the backbone did not pass the admission tests \
there (`results/admission.md`)."""


@dataclass(frozen=True)
class _Cells:
    """A method's cells of one setting: scores in [0, 1], and which facts or sessions each edit of all of them is in."""

    scores: Sequence[EditScores]
    clusters: Sequence[tuple[str, ...]]

    def minus(self, other: "_Cells") -> "_Cells":
        return _Cells(
            [mine.minus(theirs) for mine, theirs in zip(self.scores, other.scores, strict=True)], self.clusters
        )


def average_of_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Return each method's three aims, averaged over its cells with equal weight.

    Args:
        cells: one row a cell, with the columns `method` and rel, t_gen, m_gen, t_loc, m_loc.
    """
    aims = {aim: cells[list(kinds)].mean(axis=1) for aim, kinds in THREE_AIMS.items()}
    return cells[["method"]].assign(**aims).groupby("method", sort=False).mean().reset_index()


def paper_averages() -> pd.DataFrame:
    """Return the paper's Table 5 and, in columns X_recomputed, what its Tables 1 and 2 give."""
    parts = [
        average_of_cells(paper_cells("table1")).assign(setting="one-step"),
        average_of_cells(paper_cells("table2")).assign(setting="sequential"),
    ]
    return paper_table("table5").merge(pd.concat(parts), on=["setting", "method"], suffixes=("", "_recomputed"))


def write_table5(
    one_step: Sequence[Path],
    sequential: Sequence[Path],
    admission: Sequence[Path],
    outputs: Mapping[str, Path],
    run: TableParts,
    notes: Sequence[str] = (),
) -> None:
    """Write Table 5: a CSV a criterion with the paper's numbers beside ours, differences, and Markdown.

    Args:
        one_step: the records of Table 1.
        sequential: the records of Table 2.
        admission: scores of the admission tests, a file a backbone; `not_admitted` counts a row's cells that say
            nothing about its method.
        outputs: criterion (`token`, `mmedit`, `exact`, `generated`) -> CSV path; `differences` -> CSV path, UniKE minus
            each other method, by `token` and `mmedit`; `markdown` -> Markdown path.
        run: what the table reads of the configuration.
        notes: sentences about the benchmark, such as what is left out of it.

    Raises:
        InputError: a cell without records, or an output that is no criterion; see also `load_records`.
    """
    check_outputs("table5", outputs)
    frames = {"one-step": load_records(one_step, ["k"]), "sequential": load_records(sequential, ["k"])}
    doubts = _doubts(frames, read_verdicts(admission, run.statistics), run)
    tables, differences = {}, []
    for criterion in [name for name in CRITERIA if name in {*outputs, *FAMILIES}]:
        averages = pd.concat([_averages(name, frame, criterion, run) for name, frame in frames.items()])
        averages = averages.round(DECIMALS)
        of_unike = averages[PAIR[0]] == REFERENCE
        table = _with_paper(averages[~of_unike].drop(columns=PAIR[0]).rename(columns={PAIR[1]: "method"}))
        counts = [doubts.get(key, 0) for key in table[["setting", "method"]].itertuples(index=False, name=None)]
        tables[criterion] = table.assign(not_admitted=counts)
        if criterion in FAMILIES:
            differences.append(averages[of_unike].assign(criterion=criterion))
        if criterion in outputs:
            write_csv(outputs[criterion], tables[criterion])
    compared = pd.concat(differences)
    compared = compared[["criterion", *compared.columns.drop("criterion")]]
    if "differences" in outputs:
        write_csv(outputs["differences"], compared)
    if "markdown" in outputs:
        with atomic_path(outputs["markdown"]) as temporary:
            temporary.write_text(_text(tables, compared, run, notes), encoding="utf-8")


def _doubts(
    records: Mapping[str, pd.DataFrame], found: Mapping[str, Verdict], run: TableParts
) -> dict[tuple[str, str], int]:
    """Return, by setting and method, how many cells say nothing about the method."""
    counts: dict[tuple[str, str], int] = {}
    for setting, frame in records.items():
        cells = cells_of(SOURCES[setting], frame, run)
        for names in cells[CELL].itertuples(index=False, name=None):
            doubted = bool(not_admitted(found, run.readers, names))
            counts[setting, names[2]] = counts.get((setting, names[2]), 0) + doubted
    return counts


def _averages(setting: str, records: pd.DataFrame, criterion: str, run: TableParts) -> pd.DataFrame:
    """Return a row a method, in the column `second`; with UniKE's name in `first`, a row for UniKE minus the method."""
    wanted = cells_of(SOURCES[setting], records, run)
    clusters = _clusters(records)
    cells = {}
    for method, keys in wanted.groupby("method", sort=False):
        of_method = records[records["method"] == method].groupby(ROW)
        scores = [edit_scores(of_method.get_group(key), criterion) for key in keys.itertuples(index=False, name=None)]
        tasks = list(keys["task"])
        names = [clusters[task, case] for task, cell in zip(tasks, scores, strict=True) for case in cell.cases]
        cells[str(method)] = _Cells(scores, names)
    rows = [{"setting": setting, "first": "", "second": name, **_row(group, run)} for name, group in cells.items()]
    if REFERENCE in cells:
        others = [name for name in cells if name not in {REFERENCE, "base"}]
        labels = {"setting": setting, "first": REFERENCE}
        rows += [labels | {"second": name} | _row(cells[REFERENCE].minus(cells[name]), run) for name in others]
    return pd.DataFrame(rows)


def _clusters(records: pd.DataFrame) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what makes an edit depend on others, by task and case: its facts, or its session.

    With several K, its session of the longest: sessions of 20 hold whole sessions of 10.
    """
    longest = records[(records["k"] == records["k"].max()) & (records["kind"] == "rel")]
    several = longest["k"].iloc[0] > 1
    names = zip(longest["task"], longest["case"], longest["facts"], longest["session"], strict=True)
    return {
        (str(task), str(case)): (f"{task} session {session}",) if several else tuple(facts)
        for task, case, facts, session in names
    }


def _row(cells: _Cells, run: TableParts) -> dict[str, float | int]:
    """Return the average over cells of each aim, with its interval; number of cells and of edits in them."""
    aims = [aims_of(group.values) for group in cells.scores]
    low, high = mean_interval(aims, cells.clusters, run.statistics.confidence, cells.scores[0].bounds)
    row: dict[str, float | int] = {
        "cells": len(aims),
        "edits": sum(map(len, aims)),
        "independent": independent_clusters(cells.clusters),
    }
    average = np.mean([group.mean(axis=0) for group in aims], axis=0)
    for aim, mean, bottom, top in zip(THREE_AIMS, average, low, high, strict=True):
        row |= {aim: 100 * mean, f"{aim}_low": 100 * bottom, f"{aim}_high": 100 * top}
    return row


def _with_paper(averages: pd.DataFrame) -> pd.DataFrame:
    names = {aim: f"paper_{aim}" for aim in THREE_AIMS} | {
        f"{aim}_recomputed": f"paper_{aim}_recomputed" for aim in THREE_AIMS
    }
    paper = paper_averages().rename(columns={**names, "method": "paper_method"})
    keys = averages.assign(paper_method=averages["method"].map(PAPER_METHODS))
    return keys.merge(paper, on=["setting", "paper_method"], how="left").drop(columns="paper_method")


def _text(
    tables: Mapping[str, pd.DataFrame],
    differences: pd.DataFrame,
    run: TableParts,
    notes: Sequence[str],
) -> str:
    parts = [
        "# Table 5: averages of one-step and sequential editing",
        INTRODUCTION.format(confidence=confidence_text(run.statistics)),
        *notes,
        POINTER,
        "\n".join(_cells_text(setting, run) for setting in SOURCES),
        *missing_intervals(tables["token"]),
    ]
    if len({frozenset(cells.backbones) for cells in run.tables.values()}) > 1:
        parts.append(
            "The two settings rest on different backbones: compare methods within a setting, not the settings."
        )
    header = ["Setting, method", "cells", "edits", *(aim.capitalize() for aim in THREE_AIMS)]
    for criterion, table in tables.items():
        parts.append(f"## Criterion `{criterion}`: {CRITERION_TITLES[criterion]}")
        if table[list(THREE_AIMS)].isna().all(axis=None):
            parts.append("Not measured in this run.")
            continue
        lines = [line for row in rows_of(table) for line in _lines(row, criterion in FAMILIES)]
        parts.append(markdown_table(header, lines))
        compared = differences[differences["criterion"] == criterion]
        if len(compared):
            lines = [_difference_line(row) for row in rows_of(compared)]
            title = method_title(REFERENCE)
            parts += [f"{title} minus each other method on the same edits, in points:"]
            parts += [markdown_table([f"{title} minus", *header[1:]], lines)]
    parts += departure_note(run)
    return "\n\n".join(parts) + "\n"


def _cells_text(setting: str, run: TableParts) -> str:
    rows = run.tables[SOURCES[setting]]
    tasks = ", ".join(TASK_TITLES[task] for task in dict.fromkeys(task for task, _ in rows.settings))
    ks = ", ".join(str(k) for k in dict.fromkeys(k for _, k in rows.settings))
    number = SOURCES[setting].removeprefix("table")
    return f"- {setting} (Table {number}): {', '.join(rows.backbones)}; {tasks}; K = {ks}"


def _lines(row: Row, paper: bool) -> list[list[str]]:
    counts = [str(row["cells"]), str(row["edits"])]
    title = f"{row['setting']}, {method_title(row['method'])}"
    if row["not_admitted"]:
        title += f" *(not admitted in {row['not_admitted']} of {row['cells']} cells)*"
    lines = [[title, *counts, *(cell(row, aim) for aim in THREE_AIMS)]]
    if paper and pd.notna(row["paper_reliability"]):
        title = f"*paper: {row['setting']}, {PAPER_METHODS[row['method']]}*"
        lines.append([title, "", "", *(f"*{printed_average(row, aim)}*" for aim in THREE_AIMS)])
    return lines


def printed_average(row: Row, aim: str) -> str:
    """Return the paper's number; where its own tables give another, that too."""
    printed, recomputed = row[f"paper_{aim}"], row[f"paper_{aim}_recomputed"]
    other = f" (its cells give {recomputed:.1f})" if abs(printed - recomputed) > ROUNDING else ""
    return f"{printed:.1f}{other}"


def _difference_line(row: Row) -> list[str]:
    name = f"{row['setting']}, {method_title(row['second'])}"
    return [name, str(row["cells"]), str(row["edits"]), *(cell(row, aim, signed=True) for aim in THREE_AIMS)]
