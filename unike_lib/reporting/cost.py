"""What edits cost: seconds and bytes of an edit, most memory, and the training that a method needs before any edit.

These are measured, so that no two runs have the same: they stand in files of their own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from unike_lib.io import DECIMALS
from unike_lib.records import MEASURED
from unike_lib.reporting.cells import cells_of
from unike_lib.reporting.markdown import markdown_table, rows_of
from unike_lib.reporting.records import REPEATED, ROW
from unike_lib.reporting.table_text import setting_text
from unike_lib.table_parts import TableParts
from unike_lib.types import InputError

EXPLANATION = (
    "Measured: another run has other numbers. Seconds and bytes are means over edits: the time to make one, and what "
    "is kept of it. Peak memory is the most that a process held until then, the backbone included (on a GPU: of its "
    "memory). Training is what a method takes before any edit, once for all cells of a backbone (mean over seeds)."
)


def training_seconds(trained: Mapping[tuple[str, str], Sequence[Path]]) -> dict[tuple[str, str], float]:
    """Return how long training took, the mean over seeds.

    Args:
        trained: backbone and method -> a CSV per seed with the column `seconds`, of the whole training, in each row.

    Raises:
        InputError: a file without it.
    """
    found = {}
    for cell, paths in trained.items():
        tables = [pd.read_csv(path) for path in paths]
        for path, table in zip(paths, tables, strict=True):
            if "seconds" not in table or table.empty:
                raise InputError(f"{path}: no seconds, expected the losses of a training with the column `seconds`")
        found[cell] = sum(float(table["seconds"].iloc[0]) for table in tables) / len(tables)
    return found


def cost_table(records: pd.DataFrame, trained: Mapping[tuple[str, str], float], run: TableParts) -> pd.DataFrame:
    """Return what edits cost in each cell, in the order of the table.

    Args:
        records: of its cells, with `MEASURED`.
        trained: backbone and method -> seconds of training.
        run: what the table reads of the configuration.

    Returns:
        One row per cell: `ROW`, `edits` (with every seed), `seconds` and `bytes` (means over edits), `peak_mib` (most
        of all edits), `training_seconds` (0: the method is not trained before edits).
    """
    edits = records.drop_duplicates([*ROW, *REPEATED])
    seconds, size, peak = MEASURED
    found = edits.groupby(ROW).agg(
        edits=("case", "size"), seconds=(seconds, "mean"), bytes=(size, "mean"), peak_mib=(peak, "max")
    )
    table = cells_of(run.name, records, run).merge(found.reset_index(), on=ROW)
    cells = table[["backbone", "method"]].itertuples(index=False, name=None)
    return table.assign(training_seconds=[trained.get(cell, 0.0) for cell in cells]).round(DECIMALS)


def cost_page(table: pd.DataFrame, run: TableParts) -> str:
    """Return the Markdown of a table of costs."""
    lines = [
        [
            f"{row['backbone']}, {setting_text(row)}, {run.titles[row['method']]}",
            str(row["edits"]),
            f"{row['seconds']:.3f}",
            f"{row['bytes']:,.0f}",
            f"{row['peak_mib']:,.0f}",
            f"{row['training_seconds']:.1f}" if row["training_seconds"] else "-",
        ]
        for row in rows_of(table)
    ]
    header = [
        "Backbone, task, method",
        "edits",
        "seconds per edit",
        "bytes per edit",
        "peak memory, MiB",
        "training, s",
    ]
    return f"# {run.entry.title}: what edits cost\n\n{EXPLANATION}\n\n{markdown_table(header, lines)}\n"
