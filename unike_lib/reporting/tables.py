"""The result tables 1 to 4: from record files to CSV and Markdown; and what backbones know before any edit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib.io import DECIMALS, atomic_path, write_csv
from unike_lib.reporting.admission import not_admitted, read_verdicts
from unike_lib.reporting.contrasts import aim_gap, paired_differences
from unike_lib.reporting.markdown import markdown_table, rows_of
from unike_lib.reporting.paper import PAPER_METHODS, PAPER_VARIANTS, PaperCells, paper_backbone, paper_cells
from unike_lib.reporting.records import CELL, CRITERIA, EDIT, FAMILIES, ROW, SETTING, load_records
from unike_lib.reporting.scores import FIVE_METRICS, PAIR, EditScores, score_table, scores_by_cell, summarise_scores
from unike_lib.reporting.table_text import REFERENCE, TASK_TITLES, TableText
from unike_lib.table_parts import TableParts
from unike_lib.types import PORTABILITY, PROBE_KINDS, InputError

DIAGNOSTIC_COLUMNS = ["backbone", "task", "set", "items", "exact", "token", "consistency"]


def write_table(
    name: PaperCells,
    records: Sequence[Path],
    admission: Sequence[Path],
    outputs: Mapping[str, Path],
    run: TableParts,
    notes: Sequence[str] = (),
) -> None:
    """Write one of Tables 1 to 4: a CSV a criterion with the paper's numbers beside ours, differences, and Markdown.

    Args:
        name: `table1` one-step, `table2` sequential, `table3` cross-task editing, `table4` ablation.
        records: record files that hold every cell of the table, and no others.
        admission: scores of the admission tests, a file a backbone; rows of methods that read a memory are marked where
            the backbone did not pass (column `admitted`).
        outputs: criterion (`token`, `mmedit`, `exact`, `generated`) -> CSV path; `differences` -> CSV path, UniKE minus
            each other method on the same edits, by `token` and `mmedit`; `markdown` -> Markdown path.
        run: what the table reads of the configuration.
        notes: sentences about the benchmark, such as what is left out of it.

    Raises:
        InputError: a cell of the table without records, or an output that is no criterion; see also `load_records`.
    """
    check_outputs(name, outputs)
    frame = load_records(records, ["k"])
    verdicts = read_verdicts(admission, run.statistics)
    wanted = {*outputs, *FAMILIES}
    scores = {criterion: scores_by_cell(frame, criterion, keys=ROW) for criterion in CRITERIA if criterion in wanted}
    tables = {criterion: _table(name, frame, (criterion, cells), run) for criterion, cells in scores.items()}
    for criterion, table in tables.items():
        cells = table[CELL].itertuples(index=False, name=None)
        table["admitted"] = [not not_admitted(verdicts, run.readers, cell) for cell in cells]
        if criterion in outputs:
            write_csv(outputs[criterion], table)
    differences = _differences(name, scores, run)
    if "differences" in outputs:
        write_csv(outputs["differences"], differences)
    if "markdown" in outputs:
        text = TableText(name, run, {backbone: verdicts[backbone] for backbone in run.tables[name].backbones}, notes)
        with atomic_path(outputs["markdown"]) as temporary:
            temporary.write_text(text.render(tables, differences), encoding="utf-8")


def check_outputs(name: str, outputs: Mapping[str, Path]) -> None:
    """Check that a table can write what it is asked for.

    Raises:
        InputError: an output that is none.
    """
    known = (*CRITERIA, "differences", "markdown")
    unknown = sorted(set(outputs) - set(known))
    if unknown:
        raise InputError(f"{name}: no output {unknown[0]!r}; known: {', '.join(known)}")


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
        with atomic_path(outputs["markdown"]) as temporary:
            temporary.write_text(_diagnostics_text(joined), encoding="utf-8")


def cells_of(name: str, records: pd.DataFrame, run: TableParts) -> pd.DataFrame:
    """Return the cells of a table in its order, with the columns of `ROW`.

    Raises:
        InputError: a cell without records.
    """
    rows = run.tables[name]
    cells = [
        (backbone, task, k, method)
        for backbone in rows.backbones
        for task, k in rows.settings
        for method in rows.methods
    ]
    found = set(records[ROW].drop_duplicates().itertuples(index=False, name=None))
    for backbone, task, k, method in cells:
        if (backbone, task, k, method) not in found:
            raise InputError(f"{name}: no records of backbone {backbone}, task {task}, k {k}, method {method}")
    return pd.DataFrame(cells, columns=ROW)


def _table(
    name: PaperCells, records: pd.DataFrame, scored: tuple[str, Mapping[Any, EditScores]], run: TableParts
) -> pd.DataFrame:
    """Return the table's numbers, rounded as its CSV has them, so that all that is made of them rounds alike.

    Args:
        name: of the table.
        records: all of its records.
        scored: a criterion, and the scores of each cell by it.
        run: what the table reads of the configuration.
    """
    criterion, cells = scored
    rows = [
        dict(zip(ROW, key, strict=True))
        | summarise_scores(scores, FIVE_METRICS, run.statistics)
        | aim_gap(scores, run.statistics.confidence)
        for key, scores in cells.items()
    ]
    table = cells_of(name, records, run).merge(pd.DataFrame(rows), on=ROW)
    # Clusters of one-step editing are facts; otherwise they are sessions, of which the last may be shorter.
    table["last_session"] = (table["edits"] - (table["clusters"] - 1) * table["k"]).where(table["k"] > 1, 1)
    table = table.merge(_paper_rows(name, table, run), on=ROW, how="left")
    asked = records[records.groupby(["file", *EDIT])["kind"].transform(lambda kinds: (kinds == PORTABILITY).any())]
    if asked.empty:
        return table.round(DECIMALS)
    ported = score_table(asked, criterion, run.statistics, {"portability": (PORTABILITY,)}, ROW)
    ported = ported.drop(columns=["failed", "clusters", "independent"]).rename(columns={"edits": "portability_edits"})
    return table.merge(ported, on=ROW, how="left").round(DECIMALS)


def _differences(name: PaperCells, scores: Mapping[str, Mapping[Any, EditScores]], run: TableParts) -> pd.DataFrame:
    """Return UniKE minus each other editing method of the table: one row a criterion, method, backbone, task and K."""
    rows = run.tables[name]
    others = [method for method in rows.methods if method not in run.unedited]
    others = [method for method in others if method != REFERENCE]
    if REFERENCE not in rows.methods or not others:
        return pd.DataFrame(columns=["criterion", *SETTING, *PAIR])
    order = [(backbone, task, k) for backbone in rows.backbones for task, k in rows.settings]
    parts = []
    for criterion in FAMILIES:
        for other in others:
            pair = REFERENCE, other
            part = paired_differences(scores[criterion], pair, run.statistics)
            parts.append(part.set_index(SETTING).loc[order].reset_index().assign(criterion=criterion))
    table = pd.concat(parts, ignore_index=True)
    return table[["criterion", *table.columns.drop("criterion")]].round(DECIMALS)


def _paper_rows(name: PaperCells, table: pd.DataFrame, run: TableParts) -> pd.DataFrame:
    """Return the paper's row for each of our cells that has one, in columns paper_rel .. paper_m_loc."""
    titles = PAPER_METHODS | PAPER_VARIANTS
    keys = table[ROW].assign(
        paper_backbone=[paper_backbone(run.families[backbone]) for backbone in table["backbone"]],
        paper_method=[titles.get(method, "") for method in table["method"]],
    )
    paper = paper_cells(name).rename(columns={kind: f"paper_{kind}" for kind in PROBE_KINDS})
    paper = paper.rename(columns={"backbone": "paper_backbone", "method": "paper_method"})
    return keys.merge(paper, on=["paper_backbone", "task", "k", "paper_method"]).drop(
        columns=["paper_backbone", "paper_method"]
    )


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
