"""Reading records: the rows that the edits wrote, checked, as one data frame.

A record is one row a (session, position, case, probe kind) with every criterion side by side; a *cell* is all records
of one backbone, task and method (and of one K, the edits a session, where a table has several).
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from unike_lib.io import read_table
from unike_lib.types import PORTABILITY, PROBE_KINDS, InputError

CRITERIA = ("token", "mmedit", "exact", "generated")
FAMILIES = ("token", "mmedit")  # the two families of metrics by which methods are compared
CELL = ["backbone", "task", "method"]
ROW = ["backbone", "task", "k", "method"]
SETTING = ["backbone", "task", "k"]
EDIT = ["session", "position", "case"]
REPEATED = ["seed", *EDIT]
# Scores right after an item's own edit, of kind rel in sessions of several edits.
RIGHT_AFTER = {criterion: f"{criterion}_right_after" for criterion in ("token", "mmedit", "exact")}
COLUMNS = [*CELL, *EDIT, "k", "seed", "facts", "kind", "status", *CRITERIA, *RIGHT_AFTER.values()]


def load_records(paths: Sequence[Path], extra: Sequence[str] = ()) -> pd.DataFrame:
    """Read record files into one data frame, with the file of each row in the column `file`.

    Args:
        paths: Parquet files of records, in any order.
        extra: columns that tell apart repetitions of an edit (`value` of a sweep, `k`: one table with several).

    Raises:
        InputError: no files; a column, probe kind or score missing; mixed session lengths; an edit scored twice with
            one seed, or methods of a cell scored on different edits or seeds. The message names the file.
    """
    if not paths:
        raise InputError("records: no files given, expected at least one Parquet file of records")
    columns = list(dict.fromkeys([*COLUMNS, *extra]))
    tables = [_read_one(Path(path), columns) for path in sorted(paths, key=str)]
    records = pd.concat(tables, ignore_index=True)
    if records.empty:
        raise InputError(f"{paths[0]}: no records, expected at least one edit in {len(paths)} files")
    if "k" not in extra:
        _check_one_value(records, "k")
    _check_unique(records, [*CELL, *extra, *REPEATED, "kind"])
    _check_same_edits(records, [*CELL, *extra])
    _check_same_repeats(records, [*CELL, *extra])
    return records


def _read_one(path: Path, columns: list[str]) -> pd.DataFrame:
    records = read_table(path)
    missing = [column for column in columns if column not in records]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; expected a file of records")
    _check_kinds(path, records)
    _check_scores(path, records)
    return records[columns].assign(file=str(path))


def _check_kinds(path: Path, records: pd.DataFrame) -> None:
    found = set(records["kind"])
    known = (*PROBE_KINDS, PORTABILITY)
    unknown = sorted(found - set(known))
    if unknown:
        raise InputError(f"{path}: unknown probe kind {unknown[0]!r}; expected one of {', '.join(known)}")
    kinds = (
        records["kind"]
        .where(records["kind"] != PORTABILITY)
        .groupby([records[name] for name in ("k", *EDIT)])
        .nunique()
    )
    short = kinds[kinds < len(PROBE_KINDS)]
    if len(short):
        case = short.index[0][-1]
        here = set(records.loc[records["case"] == case, "kind"])
        absent = [kind for kind in PROBE_KINDS if kind not in here]
        raise InputError(f"{path}: case {case}: no record of kind {', '.join(absent) or 'one of the five'}")


def _check_scores(path: Path, records: pd.DataFrame) -> None:
    for criterion in CRITERIA:
        scores = records[criterion]
        if criterion == "generated" and scores.isna().all():
            continue  # generation was off
        bad = records[~scores.between(0, 1)]
        if len(bad):
            row = bad.iloc[0]
            raise InputError(
                f"{path}: case {row['case']}, kind {row['kind']}: {criterion} is {row[criterion]}, expected 0 .. 1"
            )
    for criterion in RIGHT_AFTER.values():
        bad = records[records[criterion].notna() & ~records[criterion].between(0, 1)]
        if len(bad):
            row = bad.iloc[0]
            raise InputError(f"{path}: case {row['case']}: {criterion} is {row[criterion]}, expected 0 .. 1")


def _check_one_value(records: pd.DataFrame, field: str) -> None:
    first = records.iloc[0]
    other = records[records[field] != first[field]]
    if len(other):
        row = other.iloc[0]
        raise InputError(f"{row['file']}: {field} is {row[field]}, expected {first[field]} as in {first['file']}")


def _check_unique(records: pd.DataFrame, keys: list[str]) -> None:
    again = records[records.duplicated(keys)]
    if len(again):
        row = again.iloc[0]
        raise InputError(f"{row['file']}: case {row['case']}, kind {row['kind']}: a second record of the same edit")


def _check_same_edits(records: pd.DataFrame, cell: list[str]) -> None:
    """Methods are compared within a backbone, task and K, so they must have been given the same edits."""
    for _, group in records.groupby(SETTING):
        expected: set[tuple[object, ...]] | None = None
        for _, rows in group.groupby(cell):
            edits = set(rows[REPEATED].itertuples(index=False, name=None))
            expected = edits if expected is None else expected
            if edits != expected:
                odd = sorted(map(str, edits ^ expected))[0]
                raise InputError(
                    f"{rows['file'].iloc[0]}: other edits than in {group['file'].iloc[0]} (first difference: {odd})"
                )


def _check_same_repeats(records: pd.DataFrame, cell: list[str]) -> None:
    """An edit's scores are averaged over seeds, so every seed must have the same edits, in the same sessions."""
    if records["seed"].nunique() == 1:
        return
    counts = records[["seed", "session", "case", *cell]].drop_duplicates().groupby([*cell, "session", "case"])["seed"]
    short = counts.transform("size") < records["seed"].nunique()
    if short.any():
        row = records.loc[short[short].index[0]]
        raise InputError(f"{row['file']}: case {row['case']}: scored with seed {row['seed']}, but not with every seed")
