"""Where a run comes from: what was searched, and versions."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from unike_lib.config.base import setting_text
from unike_lib.method import resolve_method

PACKAGES = (
    *("snakemake", "torch", "transformers", "safetensors", "faiss-cpu", "numpy", "pandas", "pyarrow"),
    *("scikit-learn", "matplotlib", "pillow"),
)


def searched(
    grids: Mapping[str, Mapping[str, Sequence[Any]]], methods: dict[str, dict[str, Any]], backbones: Sequence[str]
) -> pd.DataFrame:
    """Return what the search on development edits tries (`tuning.grids`), and what each backbone's edits are made with.

    Returns:
        One row per method and field: `method`, `field`, `tried`, and a column per backbone.
    """
    rows = []
    for method, grid in grids.items():
        used = {name: resolve_method(methods, method, name) for name in backbones}
        for field, values in grid.items():
            labels = {"method": method, "field": field, "tried": ", ".join(map(setting_text, values))}
            rows.append(labels | {name: setting_text(getattr(used[name], field)) for name in backbones})
    return pd.DataFrame(rows, columns=["method", "field", "tried", *backbones])


def versions() -> dict[str, str]:
    """Return versions of Python, the machine and the packages that shape results, without importing them."""
    found = {"Python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
