"""What each column of a table means, as ids: two tables compare only where these agree.

An id is a short hash of fields that can be read: by which criterion and how answers are made, where they stop, what is
asked and what it is compared with, how many edits a session has, which version of this package scored.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib import __version__
from unike_lib.criterion import Criterion, find_criteria
from unike_lib.io import fingerprint_of, read_json, write_json
from unike_lib.probe_kinds import AIMS, KINDS
from unike_lib.reporting.markdown import Row, rows_of
from unike_lib.reporting.table_text import confidence_text
from unike_lib.reporting.whole_edits import OUTCOMES
from unike_lib.table_parts import TableParts
from unike_lib.types import PROBE_KINDS, InputError

ROWS = ("criterion", "setting", "k")  # columns whose values change what the others mean
SENTENCE = (
    "`results/{table}_protocol.json` has a protocol id for every column (criterion, where answers stop, what localities"
    " are compared with, K, version): two tables compare only where their ids agree."
)
# Columns of several kinds beside those of aims, which `AIMS` has.
SPREAD: Mapping[str, tuple[str, ...]] = {
    "gap": (*AIMS["generality"], *AIMS["locality"]),
    "mean": PROBE_KINDS,
    "lowest": PROBE_KINDS,
    "right_before": AIMS["reliability"],
    **dict.fromkeys(OUTCOMES, (*AIMS["reliability"], *AIMS["generality"])),
}
MEASURED = ("seconds", "bytes", "peak_mib", "training_seconds")
REFERENCES = {
    "become": "the target or an alias",
    "stay": "what the unedited model says",
    "differ": "not what the unedited model says",
}


def write_protocol(
    tables: Mapping[str, Path], out: Path, run: TableParts, versions: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write the protocol of every column of a table's CSV files.

    Args:
        tables: a criterion, `differences`, `edits` or `cost` -> CSV file.
        out: the JSON file: `protocols`, id -> fields; `files`, for each of `tables` its `file`, and `columns`: column,
            then rows (such as "k = 1", by the columns of `ROWS` that the file has) -> id.
        run: what the table reads of the configuration.
        versions: the benchmark's files -> `sha256` and, where it is known, `name`: stands in `benchmark`, in no id.
    """
    criteria = {each.name: each for each in find_criteria(run.criteria)}
    protocols: dict[str, dict[str, Any]] = {}
    files = {}
    for part, path in tables.items():
        table = pd.read_csv(path)
        columns: dict[str, dict[str, str]] = {}
        groups = list(_groups(table))
        for column in map(str, table):
            columns[column] = {}
            for rows, first in groups:
                fields = _fields(column, first, criteria.get(first.get("criterion", part)), part, run)
                name = fingerprint_of(fields)[:12]
                protocols[name] = fields
                columns[column][rows] = name
        files[part] = {"file": path.name, "columns": columns}
    beside = {"benchmark": {"name": run.benchmark, "files": versions}} if versions else {}
    write_json(out, {"table": run.name, "files": files, "protocols": dict(sorted(protocols.items()))} | beside)


def same_protocol(one: Path, other: Path) -> set[tuple[str, str, str]]:
    """Return what may be compared between two tables: (part, column, rows) whose protocol ids agree.

    Args:
        one: a `*_protocol.json`.
        other: another, of this run or of any other.

    Raises:
        InputError: a file that is no such protocol.
    """
    mine, theirs = _ids(one), _ids(other)
    return {place for place, name in mine.items() if theirs.get(place) == name}


def _ids(path: Path) -> dict[tuple[str, str, str], str]:
    found = read_json(path)
    if not isinstance(found, dict) or not {"files", "protocols"} <= found.keys():
        raise InputError(f"{path}: no files and protocols, expected a table's *_protocol.json")
    return {
        (part, column, rows): name
        for part, of_file in found["files"].items()
        for column, by_rows in of_file["columns"].items()
        for rows, name in by_rows.items()
    }


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a table that mean the same: what they are called, and the first of them."""
    keys = [name for name in ROWS if name in table]
    for row in rows_of(table.drop_duplicates(keys)):
        yield ", ".join(f"k = {row[name]}" if name == "k" else str(row[name]) for name in keys), row


def _fields(column: str, row: Row, criterion: Criterion | None, part: str, run: TableParts) -> dict[str, Any]:
    """Return what a column means in rows like this one; no criterion: of costs."""
    base = column.removeprefix("paper_").removesuffix("_recomputed")
    ks = list(run.tables[run.entry.averages[row["setting"]]].ks) if "setting" in row else [row["k"]]
    fields = {"column": column, "k": ks, "version": __version__}
    if base != column:
        return fields | {"source": f"the paper, {run.entry.paper}"}
    if criterion is None:
        return fields | {"source": "measured" if column in MEASURED else "counted"}
    base = column.removesuffix("_low").removesuffix("_high")
    kinds = _asked(base, row)
    if not kinds:
        return fields | {"source": "counted or named"}
    value = "mean paired difference" if part == "differences" else "mean over edits"
    ends = {"interval": confidence_text(run.statistics)} if base != column else {}
    references = {kind: REFERENCES[KINDS[kind].must] if kind in KINDS else "as its dialect says" for kind in kinds}
    return fields | {"source": value} | ends | _answers(criterion, base, run) | {"compared_with": references}


def _asked(base: str, row: Row) -> tuple[str, ...]:
    """Return the kinds of probe behind a column, without the ending of an interval."""
    kinds = {**AIMS, **SPREAD}.get(base, ())
    if base in OUTCOMES:
        return (*kinds, *str(row["localities"]).split())
    kind = base.removeprefix("rest_")
    return kinds or ((kind,) if kind in KINDS or f"{kind}_low" in row else ())


def _answers(criterion: Criterion, base: str, run: TableParts) -> dict[str, Any]:
    """Return how answers are made and judged."""
    if base == "right_before":
        made = {"criterion": "generated", "rule": "the greedy answer of the unedited model equals the edit's"}
    else:
        made = {"criterion": criterion.name, "rule": criterion.title}
    if base == "right_before" or criterion.reads_text:
        return made | {"answers": "greedy", "stop": f"natural stop, at most {run.cut} tokens"}
    return made | {"answers": "teacher forcing", "stop": "where the wanted answer ends"}
