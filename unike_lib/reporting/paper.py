"""The paper's printed numbers, as data (`paper/*.csv`): the tables 1-5 and figure 4c."""

from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from unike_lib.family import find_family

PaperTable = Literal["table1", "table2", "table3", "table4", "table5", "figure4c"]
PaperCells = Literal["table1", "table2", "table3", "table4"]

# Method variants that stand for a row of the paper; other variants have no row of their own there.
PAPER_METHODS = {
    "base": "Base",
    "fine-tune": "FT",
    "ke": "KE",
    "t-patcher": "T-Patcher",
    "mend": "MEND",
    "ike": "IKE",
    "serac": "SERAC",
    "unike": "UniKE",
    "unike-paper": "UniKE",
}

# Ablations of UniKE that stand for a row of the paper's Table 4.
PAPER_VARIANTS = {
    "only-intrin": "only Intrin",
    "only-latent-ike": "only Latent-IKE",
    "intrin-ike": "Intrin+IKE",
    "intrin-latent-ike": "Intrin+Latent-IKE",
}


def paper_backbone(family: str) -> str:
    """Return which backbone of the paper a family stands beside; "none": its tables have no rows of the paper."""
    return find_family(family).paper or "none"


def short_title(method: str) -> str:
    """Return how figures and sentences name a method variant: as the paper does, or by its own name."""
    return method if method == "unike-paper" else (PAPER_METHODS | PAPER_VARIANTS).get(method, method)


def paper_table(name: PaperTable) -> pd.DataFrame:
    """Return a table of the paper, in percent, in long form: one row a backbone, task and method.

    Raises:
        ValueError: the paper's data has no such table.
    """
    if name not in get_args(PaperTable):
        raise ValueError(f"paper data: no table {name!r}; known: {get_args(PaperTable)}")
    return pd.read_csv(Path(__file__).with_name("paper") / f"{name}.csv")


def paper_cells(name: PaperCells) -> pd.DataFrame:
    """Return a table of cells with the same keys for all of them: backbone, task, k (edits a session), method."""
    table = paper_table(name).rename(columns={"edits": "k", "variant": "method"})
    return table if "k" in table else table.assign(k=1)
