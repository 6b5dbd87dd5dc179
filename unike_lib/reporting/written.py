"""What edits teach beside what the edited model writes: scores by `token` and by `generated`, and what is lost between.

`token` is measured under teacher forcing: each answer token is judged as if those before it were right. `generated` is
what the model writes by itself and where it ends. What `token` counts and `generated` does not has leaked.
"""

import math
from collections.abc import Mapping

import pandas as pd

from unike_lib.probe_kinds import kind_title
from unike_lib.reporting.markdown import markdown_table, rows_of
from unike_lib.reporting.records import ROW
from unike_lib.reporting.table_text import setting_text
from unike_lib.table_parts import TableParts
from unike_lib.types import PROBE_KINDS

TAUGHT, WRITTEN = "token", "generated"
EXPLANATION = (
    "By `token` the answer is given and each of its tokens is judged; by `generated` the model writes the answer and "
    "ends it. Leak: `token` minus `generated`, in points: what looks taught and is not written. Cut: "
    "answers as long as they may be ({cut} tokens), of all that the model wrote after the edits."
)


def written_section(tables: Mapping[str, pd.DataFrame], records: pd.DataFrame, run: TableParts) -> list[str]:
    """Return the section of a page that sets `token` beside `generated`; nothing where generation was off.

    Args:
        tables: criterion -> cells, as their CSV files have them.
        records: of these cells, with `cut`.
        run: what the table reads of the configuration.
    """
    if not {TAUGHT, WRITTEN} <= tables.keys() or tables[WRITTEN]["rel"].isna().all():
        return []
    header = ["Backbone, task, method"]
    for kind in PROBE_KINDS:
        header += [f"{kind_title(kind)} token", "generated", "leak"]
    lines = []
    for row in rows_of(leaks(tables[TAUGHT], tables[WRITTEN], records)):
        numbers = []
        for kind in PROBE_KINDS:
            found = f"{row[kind]:.1f}", f"{row[f'{kind}_generated']:.1f}", f"{row[f'{kind}_leak']:+.1f}"
            numbers += ["-"] * 3 if math.isnan(row[kind]) else found
        name = f"{row['backbone']}, {setting_text(row)}, {run.titles[row['method']]}"
        lines.append([name, *numbers, f"{row['cut']} ({row['cut_share']:.1f}%)"])
    table = markdown_table([*header, "cut answers"], lines)
    return ["## Taught and written", EXPLANATION.format(cut=run.cut), table]


def leaks(taught: pd.DataFrame, written: pd.DataFrame, records: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return both scores of each cell, and what is between them, in percent and points.

    Returns:
        One row per cell: `ROW`; for each aim X: X (`token`), X_generated, X_leak; with records: `cut`, number of those
        whose answer was cut after the edit; `cut_share`, in percent of all.
    """
    columns = [*ROW, *PROBE_KINDS]
    both = taught[columns].merge(written[columns], on=ROW, suffixes=("", f"_{WRITTEN}"))
    for kind in PROBE_KINDS:
        both[f"{kind}_leak"] = both[kind] - both[f"{kind}_{WRITTEN}"]
    if records is None:
        return both[[*ROW, *(f"{kind}{part}" for kind in PROBE_KINDS for part in ("", f"_{WRITTEN}", "_leak"))]]
    cut = records.groupby(ROW)["cut"].agg(["sum", "mean"]).reset_index()
    cut = cut.assign(cut_share=100 * cut.pop("mean")).rename(columns={"sum": "cut"})
    return both.merge(cut, on=ROW, how="left")
