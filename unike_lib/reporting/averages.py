"""Tables of averages: reliability, generality and locality over the cells of other tables, as the paper's Table 5."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from unike_lib.criterion import Criterion
from unike_lib.io import DECIMALS
from unike_lib.records import CELL
from unike_lib.reporting.cells import cells_of
from unike_lib.reporting.control_table import Verdict, is_known, tasks_not_passed
from unike_lib.reporting.departures import POINTER, departure_note
from unike_lib.reporting.intervals import independent_clusters, mean_interval
from unike_lib.reporting.markdown import Row, cell, markdown_table, rows_of
from unike_lib.reporting.paper_numbers import paper_cells, paper_table
from unike_lib.reporting.records import MAIN, ROW
from unike_lib.reporting.scores import THREE_AIMS, EditScores, aims_of, scores_by_cell
from unike_lib.reporting.table_text import REFERENCE, TASK_TITLES, confidence_text, missing_intervals, page_text
from unike_lib.table_parts import TableParts
from unike_lib.types import InputError

ROUNDING = 0.1  # points: how far averages of printed numbers may be from a printed average
INTRODUCTION = """\
The mean over the cells of a setting, each with the same weight, in percent, with {confidence} intervals (of one-step \
editing over edits, those that share a fact together; of sequential editing over sessions). Generality is the \
mean of T-Gen. and M-Gen., locality that of T-Loc. and M-Loc. {paper}Cells \
whose control is not passed say nothing about their method: it reads a memory, and the backbone did not pass the \
positive control there (`results/positive_control.md`)."""
PAPER_ROWS = "Rows in italics are what the paper prints. "
HEADER = ["cells", "edits", *(aim.capitalize() for aim in THREE_AIMS)]


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
        cells: one row per cell, with the columns `method` and rel, t_gen, m_gen, t_loc, m_loc.
    """
    aims = {aim: cells[list(kinds)].mean(axis=1) for aim, kinds in THREE_AIMS.items()}
    return cells[["method"]].assign(**aims).groupby("method", sort=False).mean().reset_index()


def paper_averages(name: str, sources: Mapping[str, str]) -> pd.DataFrame:
    """Return the paper's table of averages and, as X_recomputed, what its tables of cells give, by setting."""
    parts = [average_of_cells(paper_cells(source)).assign(setting=setting) for setting, source in sources.items()]
    return paper_table(name).merge(pd.concat(parts), how="left", on=["setting", "method"], suffixes=("", "_recomputed"))


def average_table(
    frames: Mapping[str, pd.DataFrame], criterion: Criterion, verdicts: Mapping[str, Verdict], run: TableParts
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a table of averages and its differences, as `cell_table` does; `frames`: records by averaged table.

    Raises:
        InputError: a cell without records, or edits that are in short sessions and not in the longest.
    """
    settings, parts, doubted, unknown = run.entry.averages, [], [], set()
    for setting, source in settings.items():
        wanted = cells_of(source, frames[source], run)
        parts.append(_averages(setting, frames[source], wanted, criterion, run))
        cells = list(wanted[CELL].itertuples(index=False, name=None))
        unknown |= {(setting, cell[2]) for cell in cells if not is_known(verdicts, run.readers, cell)}
        doubted += [(setting, cell[2]) for cell in cells if tasks_not_passed(verdicts, run.readers, cell)]
    averages = pd.concat(parts).round(DECIMALS)
    compared = averages["first"] == REFERENCE
    table = _with_paper(averages[~compared].drop(columns="first").rename(columns={"second": "method"}), run)
    rows = table[["setting", "method"]].itertuples(index=False, name=None)
    counts = [None if row in unknown else doubted.count(row) for row in rows]
    return table.assign(control_not_passed=pd.array(counts, "Int64")), averages[compared].copy()


def _averages(
    setting: str, records: pd.DataFrame, wanted: pd.DataFrame, criterion: Criterion, run: TableParts
) -> pd.DataFrame:
    """Return a row per method, in the column `second`; with UniKE's name in `first`, one for UniKE minus the method."""
    scores, clusters = scores_by_cell(records, criterion, keys=ROW), _clusters(records)
    cells = {}
    for method, keys in wanted.groupby("method", sort=False):
        of_method = [scores[key] for key in keys.itertuples(index=False, name=None)]
        cases = [(task, case) for task, cell in zip(keys["task"], of_method, strict=True) for case in cell.cases]
        cells[str(method)] = _Cells(of_method, [clusters[case] for case in cases])
    rows = [{"setting": setting, "first": "", "second": name, **_row(group, run)} for name, group in cells.items()]
    if REFERENCE in cells:
        others = [name for name in cells if name not in {REFERENCE, *run.unedited}]
        labels = {"setting": setting, "first": REFERENCE}
        rows += [labels | {"second": name} | _row(cells[REFERENCE].minus(cells[name]), run) for name in others]
    return pd.DataFrame(rows)


def _clusters(records: pd.DataFrame) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what makes an edit depend on others, by task and case: its facts, or its session.

    With several K, its session of the longest: sessions of 20 hold whole sessions of 10.

    Raises:
        InputError: an edit of shorter sessions that the longest have not.
    """
    edits = records[records["kind"] == "rel"]
    longest = edits[edits["k"] == edits["k"].max()]
    several = longest["k"].iloc[0] > 1
    names = zip(longest["task"], longest["case"], longest["facts"], longest["session"], strict=True)
    clusters = {
        (str(task), str(case)): (f"{task} session {session}",) if several else tuple(facts)
        for task, case, facts, session in names
    }
    for file, task, case, k in edits[["file", "task", "case", "k"]].itertuples(index=False, name=None):
        if (task, case) not in clusters:
            missing = f"edited with K = {k} and not with K = {longest['k'].iloc[0]}, the longest, as averages need"
            raise InputError(f"{file}: case {case}, task {task}: {missing}")
    return clusters


def _row(cells: _Cells, run: TableParts) -> dict[str, float | int]:
    """Return the average over cells of each aim, with its interval; number of cells and of edits in them."""
    aims = [aims_of(group.values) for group in cells.scores]
    low, high = mean_interval(aims, cells.clusters, run.statistics.confidence, cells.scores[0].bounds)
    row: dict[str, float | int] = {
        "cells": len(aims),
        "edits": sum(map(len, aims)),
        "independent": independent_clusters(cells.clusters),
    }
    printed = cells.scores[0].printed
    average = np.mean([group.mean(axis=0) for group in aims], axis=0)
    for aim, mean, bottom, top in zip(THREE_AIMS, average, low, high, strict=True):
        row |= {aim: printed(mean), f"{aim}_low": printed(bottom), f"{aim}_high": printed(top)}
    return row


def _with_paper(averages: pd.DataFrame, run: TableParts) -> pd.DataFrame:
    sources = {setting: run.tables[name].paper for setting, name in run.entry.averages.items()}
    known = {setting: name for setting, name in sources.items() if name is not None}
    if run.entry.paper is None or not known:
        return averages
    paper = paper_averages(run.entry.paper, known).set_index(["setting", "method"]).add_prefix("paper_").reset_index()
    keys = averages.assign(paper_method=averages["method"].map(run.paper_rows))
    keys = keys.merge(paper.rename(columns={"method": "paper_method"}), on=["setting", "paper_method"], how="left")
    return keys.drop(columns="paper_method")


def average_page(
    tables: Mapping[str, pd.DataFrame],
    differences: pd.DataFrame,
    verdicts: Mapping[str, Verdict],
    run: TableParts,
    notes: Sequence[str],
    sections: Sequence[str],
) -> str:
    """Return the Markdown of a table of averages; see `cell_page`."""

    def blocks(criterion: str, table: pd.DataFrame) -> Iterator[str]:
        lines = [line for row in rows_of(table) for line in _lines(row, criterion in MAIN, run)]
        yield markdown_table(["Setting, method", *HEADER], lines)
        compared = differences[differences["criterion"] == criterion]
        if len(compared):
            title = run.titles[REFERENCE]
            yield f"{title} minus each other method on the same edits, in points:"
            yield markdown_table([f"{title} minus", *HEADER], [_difference_line(row, run) for row in rows_of(compared)])

    paper = PAPER_ROWS if run.entry.paper else ""
    introduction = INTRODUCTION.format(confidence=confidence_text(run.statistics), paper=paper)
    settings = "\n".join(_cells_text(setting, run) for setting in run.entry.averages)
    head = [introduction, *notes, POINTER, settings, *missing_intervals(tables["token"]), *sections]
    if len({frozenset(cells.backbones) for cells in run.tables.values()}) > 1:
        head.append("The two settings rest on different backbones: compare methods within a setting, not the settings.")
    return page_text(run, head, tables, blocks, departure_note(run))


def _cells_text(setting: str, run: TableParts) -> str:
    rows = run.tables[run.entry.averages[setting]]
    tasks = ", ".join(TASK_TITLES[task] for task in rows.tasks)
    title = rows.title.partition(":")[0]
    return f"- {setting} ({title}): {', '.join(rows.backbones)}; {tasks}; K = {', '.join(map(str, rows.ks))}"


def _lines(row: Row, paper: bool, run: TableParts) -> list[list[str]]:
    title = f"{row['setting']}, {run.titles[row['method']]}"
    if pd.notna(row["control_not_passed"]) and row["control_not_passed"]:
        title += f" *(control not passed in {row['control_not_passed']} of {row['cells']} cells)*"
    lines = [[title, str(row["cells"]), str(row["edits"]), *(cell(row, aim) for aim in THREE_AIMS)]]
    if paper and pd.notna(row.get("paper_reliability")):
        title = f"*paper: {row['setting']}, {run.paper_rows[row['method']]}*"
        lines.append([title, "", "", *(f"*{printed_average(row, aim)}*" for aim in THREE_AIMS)])
    return lines


def printed_average(row: Row, aim: str) -> str:
    """Return the paper's number; where its own tables give another, that too."""
    printed, recomputed = row[f"paper_{aim}"], row[f"paper_{aim}_recomputed"]
    other = f" (its cells give {recomputed:.1f})" if abs(printed - recomputed) > ROUNDING else ""
    return f"{printed:.1f}{other}"


def _difference_line(row: Row, run: TableParts) -> list[str]:
    name = f"{row['setting']}, {run.titles[row['second']]}"
    return [name, str(row["cells"]), str(row["edits"]), *(cell(row, aim, signed=True) for aim in THREE_AIMS)]
