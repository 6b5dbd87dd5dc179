"""Tables as LaTeX, to be taken into a paper as they are: booktabs, siunitx, the best of each block in bold."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from unike_lib.criterion import Criterion, find_criteria
from unike_lib.reporting.markdown import Row, rows_of
from unike_lib.reporting.scores import THREE_AIMS
from unike_lib.reporting.table_text import METRIC_TITLES, TASK_TITLES, confidence_text
from unike_lib.table_parts import TableParts
from unike_lib.types import PROBE_KINDS

SHOWN = ("token", "generated")  # criteria that a paper shows, a table each
UNEDITED = "base"  # its rows are never the best: it changes nothing
HEAD = r"""% {file}: made by the workflow. It needs \usepackage{{booktabs}} and \usepackage{{siunitx}} (version 3).
% Smaller intervals below the numbers: their rows may be deleted."""
OPEN = r"""\begin{{table*}}
\centering\footnotesize\setlength{{\tabcolsep}}{{3pt}}
\sisetup{{table-format=3.1, table-number-alignment=center, text-series-to-math=true, reset-text-series=false}}
\caption{{{caption}}}
\label{{tab:{label}}}
\begin{{tabular}}{{l*{{{columns}}}{{S}}}}
\toprule"""
CLOSE = r"""\bottomrule
\end{tabular}
\end{table*}"""
NOT_MEASURED, DAGGER = "--", r"\textsuperscript{$\dagger$}"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def latex_text(text: str) -> str:
    """Return plain text as LaTeX shows it."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def latex_page(tables: Mapping[str, pd.DataFrame], run: TableParts) -> str:
    """Return a table's LaTeX: a `table*` per criterion that a paper shows, where it was measured.

    Args:
        tables: criterion -> what its CSV file has.
        run: what the table reads of the configuration.
    """
    parts = [HEAD.format(file=f"results/{run.name}.tex")]
    for criterion in find_criteria(run.criteria):
        if criterion.name in SHOWN and criterion.name in tables:
            columns = list(THREE_AIMS if run.entry.averages else PROBE_KINDS)
            if not tables[criterion.name][columns].isna().all(axis=None):
                parts.append(_table(tables[criterion.name], criterion, run))
    return "\n\n".join(parts) + "\n"


def _table(table: pd.DataFrame, criterion: Criterion, run: TableParts) -> str:
    blocks = list(_average_blocks(table) if run.entry.averages else _cell_blocks(table))
    header = _average_header() if run.entry.averages else _cell_header(table)
    wide = len(blocks[0][1][0][1])
    known = any(_doubted(row) for row in rows_of(table))
    opened = OPEN.format(caption=_caption(criterion, run, known), label=f"{run.name}-{criterion.name}", columns=wide)
    lines = [opened, *header]
    for title, rows in blocks:
        lines += [r"\midrule", rf"\multicolumn{{{wide + 1}}}{{l}}{{\emph{{{latex_text(title)}}}}} \\"]
        best = _best(rows, criterion)
        for method, cells in rows:
            numbers = [_number(row, name, best[place]) for place, (row, name) in enumerate(cells)]
            mark = DAGGER if any(map(_doubted, (row for row, _ in cells))) else ""
            lines.append(" & ".join([latex_text(run.titles[method]) + mark, *numbers]) + r" \\")
            ends = [_ends(row, name) for row, name in cells]
            if any(ends):
                lines.append(" & ".join(["", *ends]) + r" \\[2pt]")
    return "\n".join([*lines, CLOSE])


Cell = tuple[Row, str]
Block = tuple[str, list[tuple[str, list[Cell]]]]


def _cell_blocks(table: pd.DataFrame) -> Iterator[Block]:
    """Yield backbone and K with a row per method: tasks side by side."""
    for (backbone, k), block in table.groupby(["backbone", "k"], sort=False):
        rows: dict[str, list[Cell]] = {}
        for row in rows_of(block):
            rows.setdefault(row["method"], []).extend((row, kind) for kind in PROBE_KINDS)
        yield f"{backbone}, K = {k}", list(rows.items())


def _cell_header(table: pd.DataFrame) -> list[str]:
    tasks, wide = list(dict.fromkeys(table["task"])), len(PROBE_KINDS)
    above = [rf"\multicolumn{{{wide}}}{{c}}{{{latex_text(TASK_TITLES[task])}}}" for task in tasks]
    rules = [rf"\cmidrule(lr){{{2 + wide * place}-{1 + wide * (place + 1)}}}" for place in range(len(tasks))]
    names = [f"{{{latex_text(METRIC_TITLES[kind])}}}" for _ in tasks for kind in PROBE_KINDS]
    return [" & ".join(["", *above]) + r" \\", " ".join(rules), " & ".join(["Method", *names]) + r" \\"]


def _average_blocks(table: pd.DataFrame) -> Iterator[Block]:
    """Yield a setting with a row per method."""
    for setting, block in table.groupby("setting", sort=False):
        yield str(setting), [(row["method"], [(row, aim) for aim in THREE_AIMS]) for row in rows_of(block)]


def _average_header() -> list[str]:
    return [" & ".join(["Method", *(f"{{{aim.capitalize()}}}" for aim in THREE_AIMS)]) + r" \\"]


def _best(rows: Sequence[tuple[str, list[Cell]]], criterion: Criterion) -> list[str]:
    """Return the best printed number of each column among methods that edit; empty where none was measured."""
    found = []
    for place in range(len(rows[0][1])):
        printed = [_printed(*cells[place]) for method, cells in rows if method != UNEDITED]
        measured = [number for number in printed if number != NOT_MEASURED]
        choose = max if criterion.higher_is_better else min
        found.append(choose(measured, key=float) if measured else "")
    return found


def _printed(row: Row, name: str) -> str:
    return NOT_MEASURED if math.isnan(float(row[name])) else f"{float(row[name]):.1f}"


def _number(row: Row, name: str, best: str) -> str:
    printed = _printed(row, name)
    if printed == NOT_MEASURED:
        return f"{{{NOT_MEASURED}}}"
    return rf"\bfseries {printed}" if row["method"] != UNEDITED and printed == best else printed


def _doubted(row: Row) -> bool:
    """Say whether the backbone did not pass the positive control for this row; not where nobody knows."""
    passed, failed = row.get("control_passed", True), row.get("control_not_passed", 0)
    return bool((pd.notna(passed) and not passed) or (pd.notna(failed) and failed))


def _ends(row: Row, name: str) -> str:
    """Return the ends of an interval, small; nothing where there is none."""
    low, high = (float(row.get(f"{name}_{end}", math.nan)) for end in ("low", "high"))
    return "" if math.isnan(low) else rf"{{\tiny {low:.1f}--{high:.1f}}}"


def _caption(criterion: Criterion, run: TableParts, doubted: bool) -> str:
    """Return what the numbers are: title, criterion, intervals, what K means, where the protocol stands."""
    title = re.sub(r"^Table \d+: ", "", run.entry.title)
    sentences = [
        title[:1].upper() + title[1:] + ".",
        f"Criterion {criterion.name}: {criterion.title.rstrip('.')}.",
        f"In percent; below each number its {confidence_text(run.statistics)} interval, where enough edits are "
        "independent.",
        "K edits are made one after another in a session, and scored after the last." if run.entry.several else "",
        f"Bold: the best of a block among methods that edit. Protocol: results/{run.name}_protocol.json.",
    ]
    said = latex_text(" ".join(filter(None, sentences)))
    return said + rf" {DAGGER}: the backbone did not pass the positive control." if doubted else said
