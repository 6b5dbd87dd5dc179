"""A spreadsheet as CSV, JSONL or JSON: a row per correction, with columns by their names (`benchmark/rows.py`)."""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from unike_lib.benchmark.dialect import Dialect, Source, read_lines, require_none
from unike_lib.benchmark.rows import MAY_LACK, NEEDED, PICTURES, Row, cases_of
from unike_lib.io import read_json
from unike_lib.json_text import floats_as_text
from unike_lib.types import EditCase, InputError

DELIMITERS = ",;\t"  # Excel writes semicolons where the comma is the decimal point, and tabs in "Unicode text"
UTF_16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


def read(source: Source) -> Iterator[EditCase]:
    """Yield the rows of the part that is asked for; without a column `part`, all of them.

    A number is its text as it is written, in JSON as in CSV.
    """
    rows: list[Row]
    if source.path.suffix == ".jsonl":
        lines = read_lines(source.path, floats_as_text)
        rows = [(f"record {i} (line {line})", value) for i, (line, value) in enumerate(lines)]
    elif source.path.suffix == ".json":
        found = read_json(source.path, floats_as_text)
        if not isinstance(found, list):
            raise InputError(f"{source.path}: expected a list of records, found {type(found).__name__}")
        rows = [(f"record {i}", value) for i, value in enumerate(found)]
    else:
        rows = csv_rows(source.path)
    yield from cases_of(source, rows)


def csv_rows(path: Path) -> list[Row]:
    """Read a CSV file as Excel and others write it: blank rows are left out, names of columns are in any case.

    Raises:
        InputError: a missing file, other text than UTF-8 or UTF-16, or not a table with the needed columns.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in UTF_16 else "utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text, save it as 'CSV UTF-8' ({error})") from None
    if text.startswith("sep="):  # A line by which Excel is told the delimiter; rows are counted with it.
        text = text.partition("\n")[2]
        skipped = 1
    else:
        skipped = 0
    try:
        delimiter = next((each for each in DELIMITERS if {*NEEDED} <= {*_names(text, each)}), ",")
        names = _names(text, delimiter)
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))[1:]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV table; expected cells parted by commas ({error})") from None
    if not {*NEEDED} <= {*names}:
        raise InputError(f"{path}: row 1: expected columns {', '.join(NEEDED)}, found {names!r:.200}")
    named = [name for name in names if name]
    twice = {name for name in named if named.count(name) > 1}
    if twice:
        raise InputError(f"{path}: row 1: column {', '.join(sorted(twice))} is there twice")
    rows: list[Row] = []
    problems = []
    for number, cells in enumerate(table, 2 + skipped):
        if any(map(str.strip, cells)):
            name = f"record {len(rows)} (row {number})"
            if any(map(str.strip, cells[len(names) :])):
                problems.append(f"{name}: expected {len(names)} cells, found {len(cells)}")
            rows.append((name, {key: cell for key, cell in zip(names, cells, strict=False) if key}))
    require_none(path, problems)
    return rows


def _names(text: str, delimiter: str) -> list[str]:
    """Return the names in the first row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [name.strip().lower() for name in next(reader, [])]


DIALECT = Dialect("plain", read, PICTURES, MAY_LACK)
