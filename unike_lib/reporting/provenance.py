"""Where a run comes from: the source of every setting, and versions."""

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd
import yaml

from unike_lib.methods import resolve_method, setting_text

SOURCES = ("paper", "released", "MMEdit", "VLKEB", "T-Patcher", "MEND", "De Cao et al.", "SERAC", "tuned", "ours")
PACKAGES = (
    *("snakemake", "torch", "transformers", "safetensors", "faiss-cpu", "numpy", "pandas", "pyarrow"),
    *("scikit-learn", "matplotlib", "pillow"),
)


def setting_sources(text: str, effective: Mapping[str, Any]) -> pd.DataFrame:
    """Return every setting of a run with the source that the default configuration's comments name.

    Args:
        text: config.yaml. A comment belongs to the setting or the section that ends or begins in its line.
        effective: the validated configuration of the run, overlays included.

    Returns:
        One row a setting: `section` (first key, "general" of single settings), `setting` (path), `value`, `source` (one
        of `SOURCES` that the comment begins with; its section's where it has none; empty if nobody says), `note` (its
        own comment), `changed`: config.yaml has another value or none.
    """
    lines = text.splitlines()
    stated: dict[tuple[str, ...], str | None] = {}
    notes: dict[tuple[str, ...], str] = {}
    for path, value, mark in _walk(yaml.compose(text), ()):
        stated[path] = value
        notes[path] = lines[mark.line][mark.column :].partition("#")[2].strip()
    rows = []
    for path, value in _leaves(effective, ()):
        inherited = (notes.get(path[:length], "") for length in range(len(path), 0, -1))
        source = next((found for found in map(source_of, inherited) if found), "")
        labels = {
            "section": path[0] if len(path) > 1 else "general",
            "setting": ".".join(path),
            "value": _shown(value),
            "source": source,
        }
        rows.append({**labels, "note": notes.get(path, ""), "changed": stated.get(path) != _shown(value)})
    return pd.DataFrame(rows)


def searched(
    grids: Mapping[str, Mapping[str, Sequence[Any]]], methods: dict[str, dict[str, Any]], backbones: Sequence[str]
) -> pd.DataFrame:
    """Return what the search on development edits tries (`tuning.grids`), and what each backbone's edits are made with.

    Returns:
        One row a method and field: `method`, `field`, `tried`, and a column a backbone.
    """
    rows = []
    for method, grid in grids.items():
        used = {name: resolve_method(methods, method, name) for name in backbones}
        for field, values in grid.items():
            labels = {"method": method, "field": field, "tried": ", ".join(map(setting_text, values))}
            rows.append(labels | {name: setting_text(getattr(used[name], field)) for name in backbones})
    return pd.DataFrame(rows, columns=["method", "field", "tried", *backbones])


def source_of(note: str) -> str:
    """Return the source that a comment begins with, for example "tuned" of "tuned: development edits (VLKEB: 15)"."""
    return next((source for source in SOURCES if re.match(rf"{re.escape(source)}(?!\w)", note)), "")


def _walk(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str | None, yaml.Mark]]:
    """Yield, of every key below a node, its path, its value as text (None of a section), and where that ends."""
    for key, value in node.value:
        inner = (*path, str(key.value))
        if isinstance(value, yaml.MappingNode):
            yield inner, None, key.end_mark
            yield from _walk(value, inner)
        else:
            yield inner, _shown(yaml.safe_load(yaml.serialize(value))), value.end_mark


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        yield path, value


def _shown(value: Any) -> str:
    return setting_text(list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value)


def versions() -> dict[str, str]:
    """Return versions of Python, the machine and the packages that shape results, without importing them."""
    found = {"Python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
