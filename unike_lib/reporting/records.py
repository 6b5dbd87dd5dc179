"""Reading records: the rows that the edits wrote, checked, as one data frame.

A record is one row a (session, position, case, probe kind) with every criterion side by side; a *cell* is all records
of one backbone, task and method (and of one K, the edits per session, where a table has several).
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from unike_lib.criterion import Criterion, find_criteria
from unike_lib.io import backbone_mark, read_table
from unike_lib.records import CELL, EDIT, right_after, scored_early
from unike_lib.types import PROBE_KINDS, InputError

MAIN = ("token", "mmedit")  # the criteria of figures, claims and the paper's numbers
ROW = ["backbone", "task", "k", "method"]
SETTING = ["backbone", "task", "k"]
REPEATED = ["seed", *EDIT]
COLUMNS = [*CELL, *EDIT, "k", "seed", "facts", "kind", "status"]


def load_records(
    paths: Sequence[Path], extra: Sequence[str] = (), criteria: Sequence[str] = MAIN, beside: Sequence[str] = ()
) -> pd.DataFrame:
    """Read record files into one data frame, with the file of each row in the column `file`.

    Args:
        paths: Parquet files of records, in any order.
        extra: columns that tell apart repetitions of an edit (`value` of a sweep, `k`: one table with several).
        criteria: whose scores are read, as `evaluation.criteria` names them.
        beside: further columns to read, such as texts.

    Raises:
        InputError: no files; files of one backbone with other weights; a column, probe kind or score missing; mixed
            session lengths; an edit scored twice with one seed, or methods of a cell scored on different edits or
            seeds. The message names the file.
    """
    if not paths:
        raise InputError("records: no files given, expected at least one Parquet file of records")
    scored = find_criteria(criteria)
    scores = [*(each.name for each in scored), *map(right_after, scored_early(scored))]
    columns = list(dict.fromkeys([*COLUMNS, *scores, *extra, *beside]))
    marks: dict[str, tuple[str, Path]] = {}
    tables = [_read_one(Path(path), columns, scored, marks) for path in sorted(paths, key=str)]
    records = pd.concat(tables, ignore_index=True)
    if records.empty:
        raise InputError(f"{paths[0]}: no records, expected at least one edit in {len(paths)} files")
    if "k" not in extra:
        _check_one_value(records, "k")
    _check_unique(records, [*CELL, *extra, *REPEATED, "kind"])
    _check_same_edits(records, [*CELL, *extra])
    _check_same_repeats(records, [*CELL, *extra])
    return records


def _read_one(
    path: Path, columns: list[str], criteria: Sequence[Criterion], marks: dict[str, tuple[str, Path]]
) -> pd.DataFrame:
    records = read_table(path)
    missing = [column for column in columns if column not in records]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; expected a file of records")
    _check_backbone(path, records, marks)
    _check_kinds(path, records)
    _check_scores(path, records, criteria)
    return records[columns].assign(file=str(path))


def _check_backbone(path: Path, records: pd.DataFrame, marks: dict[str, tuple[str, Path]]) -> None:
    """Compare the backbone's fingerprint with that of the first file of the same backbone, kept in `marks`."""
    mark = backbone_mark(path)
    for backbone in records["backbone"].unique() if mark else ():
        first, other = marks.setdefault(backbone, (mark, path))
        if mark != first:
            raise InputError(
                f"{path}: {backbone} had other weights or settings than in {other} (its fingerprint is {mark}, not "
                f"{first}); delete the older file, so that it is made anew"
            )


def _check_kinds(path: Path, records: pd.DataFrame) -> None:
    for _, of_task in records.groupby("task"):
        _check_kinds_of(path, of_task)


def _check_kinds_of(path: Path, records: pd.DataFrame) -> None:
    asked = records["kind"].where(records["kind"].isin(PROBE_KINDS))
    kinds = asked.groupby([records[name] for name in ("k", *EDIT)]).nunique()
    every = [kind for kind in PROBE_KINDS if kind == "rel" or (asked == kind).any()]
    short = kinds[kinds < len(every)]
    if len(short):
        case = short.index[0][-1]
        here = set(records.loc[records["case"] == case, "kind"])
        absent = [kind for kind in every if kind not in here]
        raise InputError(f"{path}: case {case}: no record of kind {', '.join(absent) or 'that others have'}")


def _check_scores(path: Path, records: pd.DataFrame, criteria: Sequence[Criterion]) -> None:
    for criterion in criteria:
        scores = records[criterion.name]
        if criterion.reads_text and scores.isna().all():
            continue  # generation was off
        low, high = criterion.recorded
        inside = f"expected {low:g} .. {high:g}"
        bad = records[~scores.between(low, high)]
        if len(bad):
            row = bad.iloc[0]
            found = f"{criterion.name} is {row[criterion.name]}, {inside}"
            raise InputError(f"{path}: case {row['case']}, kind {row['kind']}: {found}")
        if criterion.reads_text:
            continue
        later = right_after(criterion)
        bad = records[records[later].notna() & ~records[later].between(low, high)]
        if len(bad):
            row = bad.iloc[0]
            raise InputError(f"{path}: case {row['case']}: {later} is {row[later]}, {inside}")


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
