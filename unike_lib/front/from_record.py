"""The edit behind a record, made again: records keep scores and answers, not patches.

It is made from what the record and the configuration say: backbone, method, seed, the session's requests in order.
Then all its questions are asked, and an edit that answers otherwise than the record says is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.benchmark.cases import read_cases
from unike_lib.front.edit import Edit
from unike_lib.front.finding import evaluation_files
from unike_lib.front.load import load
from unike_lib.front.model import Model
from unike_lib.front.settings import Overlay
from unike_lib.io import check_fields, read_table
from unike_lib.records import CELL, EDIT
from unike_lib.types import EditCase, InputError, Query

READ = [*CELL, *EDIT, "seed", "k", "kind", "text_after"]
SHOWN = ("case", "kind", "target", "text_before", "text_after")  # of a row, beside its criteria, on a card


def edit_of_record(
    path: Path, case: str | None, results: Path, config: Sequence[Overlay] = (), family: str | None = None
) -> tuple[Edit, list[dict[str, Any]]]:
    """Return the edit of one session of a table of records, and the session's rows for a card.

    Args:
        path: a Parquet file of records.
        case: one of the session's; None: the table has one session alone.
        results: what the workflow built: the backbone, the benchmark, what methods read.
        config: over config.yaml, as the run had them.
        family: of a backbone that is a folder.

    Raises:
        InputError: no such case, several sessions, a file is missing, or the edit made again answers otherwise.
    """
    table = read_table(path)
    check_fields(path, table.columns, READ)
    rows = _session(path, table, case)
    first = rows.iloc[0]
    model = load(str(first.backbone), family=family, results=results, config=config)
    cases = _cases(model, results, rows)
    requests = [request for each in cases for request in each.requests]
    edit = Edit(model, requests, str(first.method), {}, int(first.seed))
    _check(path, edit, cases, rows)
    return edit, _shown(model, rows)


def _session(path: Path, table: pd.DataFrame, case: str | None) -> pd.DataFrame:
    """Return the rows of the one session that is meant."""
    names = ["backbone", "task", "method", "k", "seed", "session"]
    some = table if case is None else table[table.case == case]
    if not len(some):
        raise InputError(f"{path}: no case {case!r}; its cases begin with {', '.join(table.case.unique()[:3])}")
    sessions = some[names].drop_duplicates()
    if len(sessions) > 1:
        how = "name one by its case (--case)" if case is None else "expected a table with one session of this case"
        raise InputError(f"{path}: {len(sessions)} sessions; {how}")
    rows: pd.DataFrame = table.merge(sessions, on=names)
    return rows.sort_values("position", kind="stable")


def _cases(model: Model, results: Path, rows: pd.DataFrame) -> list[EditCase]:
    """Return the cases of a session in the order of editing."""
    files, questions = evaluation_files(model.config, model.name, results), model.section.text_locality
    known = {case.request.id: case for file in files for case in read_cases(file, None, questions)}
    names = list(rows.case.unique())
    if missing := [name for name in names if name not in known]:
        raise InputError(f"{', '.join(map(str, files)) or results}: no case {missing[0]!r}, which the record has")
    return [known[name] for name in names]


def _check(path: Path, edit: Edit, cases: Sequence[EditCase], rows: pd.DataFrame) -> None:
    """Raise InputError unless the edit answers as the record says, wherever both were asked."""
    asked: list[tuple[str, Query, str]] = []
    for case in cases:
        for row in rows[rows.case == case.request.id].itertuples():
            if case.asks(str(row.kind)) and row.text_after:
                asked.append((f"{row.case}, {row.kind}", case.query(str(row.kind)), str(row.text_after)))
    if not asked:
        raise InputError(f"{path}: no greedy answers (evaluation.generate) that an edit made again could be checked by")
    answers = edit.model.ask([query for _, query, _ in asked], edit.patch)
    for (place, _, wanted), found in zip(asked, answers, strict=True):
        if normalise_answer(found) != normalise_answer(wanted):
            raise InputError(
                f"{path}: {place}: the edit made again answers {found!r}, the record says {wanted!r}; expected the "
                "configuration, the code and the files of the run that wrote it"
            )


def _shown(model: Model, rows: pd.DataFrame) -> list[dict[str, Any]]:
    names = [*SHOWN, *(name for name in model.config.evaluation.criteria if name in rows)]
    return [{str(name): value for name, value in row.items()} for row in rows[names].to_dict("records")]
