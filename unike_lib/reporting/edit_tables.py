"""The tables of edits beside a table of scores: each edit as a whole, and what edits cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unike_lib.io import write_csv, write_text
from unike_lib.records import MEASURED
from unike_lib.reporting.cost import cost_page, cost_table, training_seconds
from unike_lib.reporting.records import load_records
from unike_lib.reporting.whole_edits import TEXTS, whole_edits
from unike_lib.table_parts import TableParts


def write_edit_tables(
    records: Sequence[Path],
    trained: Mapping[tuple[str, str], Sequence[Path]],
    outputs: Mapping[str, Path],
    run: TableParts,
) -> None:
    """Write the tables of edits of a table with cells.

    Args:
        records: record files that hold every cell of the table, and no others.
        trained: backbone and method -> losses of its training, a CSV per seed.
        outputs: `edits` -> CSV path (`whole_edits`); `cost` -> CSV path and `cost_page` -> Markdown path (`cost_table`,
            which is measured and differs between runs).
        run: what the table reads of the configuration.

    Raises:
        InputError: see `load_records` and `training_seconds`.
    """
    criteria = [name for name in ("token", "generated") if name in run.criteria]
    found = load_records(records, ["k"], criteria, [*TEXTS, *MEASURED])
    write_csv(outputs["edits"], whole_edits(found, run))
    cost = cost_table(found, training_seconds(trained), run)
    write_csv(outputs["cost"], cost)
    write_text(outputs["cost_page"], cost_page(cost, run))
