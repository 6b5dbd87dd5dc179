"""Where a run comes from: the source of every setting, and versions."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from unike_lib.config import Config
from unike_lib.method import resolve_method
from unike_lib.section import setting_text
from unike_lib.setting_list import settings_of

PACKAGES = (
    *("snakemake", "torch", "transformers", "safetensors", "faiss-cpu", "numpy", "pandas", "pyarrow"),
    *("scikit-learn", "matplotlib", "pillow"),
)


def setting_sources(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return every setting of a run with the source of its value.

    Args:
        values: the validated configuration of the run, overlays included.

    Returns:
        One row per setting: `section` (first key, "general" of single settings), `setting` (path), `value`, `source`
        (where the value comes from, and the original's where that is another), `note` (what the setting does),
        `changed`: the default run has another value or none.
    """
    rows = [
        {
            "section": setting.path[0] if len(setting.path) > 1 else "general",
            "setting": ".".join(setting.path),
            "value": setting_text(setting.value),
            "source": setting.said,
            "note": setting.sentence,
            "changed": setting.changed,
        }
        for setting in settings_of(values)
        if setting.is_leaf
    ]
    return pd.DataFrame(rows)


def searched(config: Config, backbones: Sequence[str]) -> pd.DataFrame:
    """Return what the search on development edits tries (`tuning.grids`), and what each backbone's edits are made with.

    Returns:
        One row per method and field: `method`, `field`, `tried`, and a column per backbone.
    """
    rows = []
    for method, grid in config.tuning.grids.items():
        used = {name: resolve_method(config.methods, method, name) for name in backbones}
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
