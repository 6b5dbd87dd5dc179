"""The result tables: from record files to CSV and Markdown; and what backbones know before any edit."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from unike_lib.criterion import find_criteria
from unike_lib.io import write_csv, write_text
from unike_lib.reporting.averages import average_page, average_table
from unike_lib.reporting.cells import cell_table
from unike_lib.reporting.control_table import read_verdicts
from unike_lib.reporting.latex import latex_page
from unike_lib.reporting.markdown import markdown_table, rows_of
from unike_lib.reporting.protocol import SENTENCE
from unike_lib.reporting.records import load_records
from unike_lib.reporting.table_text import TASK_TITLES, cell_page
from unike_lib.reporting.whole_edits import whole_section
from unike_lib.reporting.written import written_section
from unike_lib.table_parts import TableParts
from unike_lib.types import InputError

DIAGNOSTIC_COLUMNS = ["backbone", "task", "set", "items", "exact", "token", "consistency"]


def write_result_table(
    records: Mapping[str, Sequence[Path]],
    control: Sequence[Path],
    outputs: Mapping[str, Path],
    run: TableParts,
    notes: Sequence[str] = (),
    edits: Sequence[Path] = (),
) -> None:
    """Write a table: a CSV per criterion with the paper's numbers beside ours, differences, and Markdown.

    Args:
        records: record files that hold every cell of a table, and no others: of the table itself, by its name, or of
            each that it averages.
        control: scores of the positive control, a file per backbone. Where a backbone did not pass, rows of methods
            that read a memory are marked (column `control_passed`), and cells of averages counted
            (`control_not_passed`); where it was not run, these are empty and the page says so.
        outputs: criterion's name -> CSV path; `differences` -> CSV path, UniKE minus each other method on the same
            edits, by the criteria that compare; `markdown` -> Markdown path; `latex` -> LaTeX path.
        run: what the table reads of the configuration.
        notes: sentences about the benchmark, such as what is left out of it.
        edits: of a table of cells, the CSV file of its edits as a whole.

    Raises:
        InputError: a cell of the table without records, or an output that is no criterion; see also `load_records`.
    """
    criteria = find_criteria(run.criteria)
    known = (*(each.name for each in criteria), "differences", "markdown", "latex")
    for name in sorted(set(outputs) - set(known)):
        raise InputError(f"{run.name}: no output {name!r}; known: {', '.join(known)}")
    frames = {name: load_records(paths, ["k"], run.criteria, ["cut"]) for name, paths in records.items()}
    verdicts = read_verdicts(control, run.statistics)
    make, page = (average_table, average_page) if run.entry.averages else (cell_table, cell_page)
    tables, differences = {}, []
    for criterion in [each for each in criteria if each.name in outputs or each.compares]:
        tables[criterion.name], compared = make(frames, criterion, verdicts, run)
        if criterion.name in outputs:
            write_csv(outputs[criterion.name], tables[criterion.name])
        if criterion.compares:
            compared.insert(0, "criterion", criterion.name)
            differences.append(compared)
    compared = pd.concat(differences)
    if "differences" in outputs:
        write_csv(outputs["differences"], compared)
    if "markdown" in outputs:
        sections = [SENTENCE.format(table=run.name)]
        sections += [] if run.entry.averages else written_section(tables, frames[run.name], run)
        sections += [part for path in edits for part in whole_section(pd.read_csv(path), run)]
        write_text(outputs["markdown"], page(tables, compared, verdicts, run, notes, sections))
    if "latex" in outputs:
        write_text(outputs["latex"], latex_page(tables, run))


def write_diagnostics(tables: Sequence[Path], outputs: Mapping[str, Path]) -> None:
    """Join the diagnostics of all backbones: what they know before any edit.

    Args:
        tables: CSV files with the columns backbone, task, set, items, exact, token, consistency (shares in [0, 1]).
        outputs: `csv` -> CSV path; `markdown` -> Markdown path, may be left out.

    Raises:
        InputError: no files, or a file without one of the columns.
    """
    if not tables:
        raise InputError("diagnostics: no files given, expected one CSV a backbone")
    parts = []
    for path in tables:
        part = pd.read_csv(path)
        missing = [column for column in DIAGNOSTIC_COLUMNS if column not in part]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(DIAGNOSTIC_COLUMNS)}")
        parts.append(part)
    joined = pd.concat(parts, ignore_index=True)
    write_csv(outputs["csv"], joined)
    if "markdown" in outputs:
        write_text(outputs["markdown"], _diagnostics_text(joined))


def _diagnostics_text(table: pd.DataFrame) -> str:
    rows = [
        [
            f"{row['backbone']}, {TASK_TITLES.get(row['task'], row['task'])}, {row['set'].replace('_', ' ')}",
            str(row["items"]),
            *("-" if pd.isna(row[name]) else f"{100 * row[name]:.1f}" for name in ("exact", "token", "consistency")),
        ]
        for row in rows_of(table)
    ]
    header = ["Backbone, task, set", "items", "exact %", "token %", "consistency %"]
    return f"# What the backbones know before any edit\n\n{markdown_table(header, rows)}\n"
