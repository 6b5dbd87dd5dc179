"""The paper's printed numbers, as data (`paper/*.csv`): the tables 1-5 and figure 4c."""

from functools import cache
from pathlib import Path

import pandas as pd

from unike_lib.family import find_family
from unike_lib.method import default_methods, method_of, paper_row


def paper_backbone(family: str) -> str:
    """Return which backbone of the paper a family stands beside; "none": its tables have no rows of the paper."""
    return find_family(family).paper or "none"


def short_title(method: str) -> str:
    """Return how figures and sentences name a method variant: as the paper does, or by its own name."""
    return _short_titles().get(method, method)


@cache
def _short_titles() -> dict[str, str]:
    """Return the paper's names of the default run's variants; a second one of a method keeps its own."""
    entries = default_methods()
    rows = {name: paper_row(entries, name) for name in entries}
    own = [name for name, row in rows.items() if row == method_of(entries, name).title and "like" in entries[name]]
    return {name: row for name, row in rows.items() if row and name not in own}


def paper_table(name: str) -> pd.DataFrame:
    """Return a table of the paper, in percent, in long form: one row per backbone, task and method."""
    return pd.read_csv(Path(__file__).with_name("paper") / f"{name}.csv")


def paper_cells(name: str) -> pd.DataFrame:
    """Return a table of cells with the same keys for all of them: backbone, task, k (edits per session), method."""
    table = paper_table(name).rename(columns={"edits": "k", "variant": "method"})
    return table if "k" in table else table.assign(k=1)
