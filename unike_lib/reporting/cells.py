"""Tables of cells: the scores of every backbone, task, K and method, and UniKE minus the other methods."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from unike_lib.criterion import Criterion
from unike_lib.io import DECIMALS
from unike_lib.probe_kinds import further_kinds
from unike_lib.records import CELL, EDIT
from unike_lib.reporting.contrasts import aim_gap, paired_differences
from unike_lib.reporting.control_table import Verdict, is_known, tasks_not_passed
from unike_lib.reporting.paper_numbers import paper_backbone, paper_cells
from unike_lib.reporting.records import ROW, SETTING
from unike_lib.reporting.scores import FIVE_METRICS, PAIR, EditScores, score_table, scores_by_cell, summarise_scores
from unike_lib.reporting.table_text import REFERENCE
from unike_lib.table_parts import TableParts
from unike_lib.types import PROBE_KINDS, InputError


def cell_table(
    frames: Mapping[str, pd.DataFrame], criterion: Criterion, verdicts: Mapping[str, Verdict], run: TableParts
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a table's numbers by a criterion, and UniKE minus each other method by it, as their CSV files have them.

    Args:
        frames: the records of its cells, by its name.
        criterion: by which edits are scored; methods are compared if it says so.
        verdicts: of the positive control, by backbone; `control_passed` is empty where it was not run.
        run: what the table reads of the configuration.

    Raises:
        InputError: a cell without records.
    """
    records = frames[run.name]
    scores = scores_by_cell(records, criterion, keys=ROW)
    table = _table(records, criterion, scores, run)
    cells = list(table[CELL].itertuples(index=False, name=None))
    passed = [not tasks_not_passed(verdicts, run.readers, cell) for cell in cells]
    known = [is_known(verdicts, run.readers, cell) for cell in cells]
    table["control_passed"] = [value if sure else None for value, sure in zip(passed, known, strict=True)]
    return table, _differences(scores, run) if criterion.compares else pd.DataFrame()


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
    records: pd.DataFrame, criterion: Criterion, cells: Mapping[Any, EditScores], run: TableParts
) -> pd.DataFrame:
    """Return the table's numbers, rounded as its CSV has them, so that all that is made of them rounds alike."""
    rows = [
        dict(zip(ROW, key, strict=True))
        | summarise_scores(scores, FIVE_METRICS, run.statistics)
        | aim_gap(scores, run.statistics.confidence)
        for key, scores in cells.items()
    ]
    table = cells_of(run.name, records, run).merge(pd.DataFrame(rows), on=ROW)
    # Clusters of one-step editing are facts; otherwise they are sessions, of which the last may be shorter.
    table["last_session"] = (table["edits"] - (table["clusters"] - 1) * table["k"]).where(table["k"] > 1, 1)
    if run.entry.paper is not None:
        table = table.merge(_paper_rows(run.entry.paper, table, run), on=ROW, how="left")
    for kind in further_kinds(set(records["kind"]), PROBE_KINDS):
        # With K: of a session, other edits may take a question away that is asked of an edit alone.
        cases = records.loc[records["kind"] == kind, ["file", "k", *EDIT]].drop_duplicates()
        own = records[records["kind"].isin(("rel", kind))].merge(cases)  # an edit's facts stand beside its own question
        asked = score_table(own, criterion, run.statistics, {kind: (kind,)}, ROW)
        asked = asked.drop(columns=["failed", "clusters", "independent"]).rename(columns={"edits": f"{kind}_edits"})
        table = table.merge(asked, on=ROW, how="left")
    return table.round(DECIMALS)


def _differences(scores: Mapping[Any, EditScores], run: TableParts) -> pd.DataFrame:
    """Return UniKE minus each other editing method of the table: one row per method, backbone, task and K."""
    rows = run.entry
    others = [method for method in rows.methods if method not in run.unedited]
    others = [method for method in others if method != REFERENCE]
    if REFERENCE not in rows.methods or not others:
        return pd.DataFrame(columns=[*SETTING, *PAIR])
    order = [(backbone, task, k) for backbone in rows.backbones for task, k in rows.settings]
    parts = []
    for other in others:
        pair = REFERENCE, other
        part = paired_differences(scores, pair, run.statistics)
        parts.append(part.set_index(SETTING).loc[order].reset_index())
    return pd.concat(parts, ignore_index=True).round(DECIMALS)


def _paper_rows(name: str, table: pd.DataFrame, run: TableParts) -> pd.DataFrame:
    """Return the paper's row for each of our cells that has one, in columns paper_rel .. paper_m_loc."""
    keys = table[ROW].assign(
        paper_backbone=[paper_backbone(run.families[backbone]) for backbone in table["backbone"]],
        paper_method=[run.paper_rows.get(method, "") for method in table["method"]],
    )
    paper = paper_cells(name).set_index(["task", "k"]).add_prefix("paper_").reset_index()
    found = keys.merge(paper, on=["paper_backbone", "task", "k", "paper_method"])
    return found.drop(columns=["paper_backbone", "paper_method"])
