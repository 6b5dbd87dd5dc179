"""Which files a method variant's edits read besides the backbone: the workflow makes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unike_lib.method import method_of, resolve_method

# What a method may need of a backbone's knowledge, by the name of the need.
KNOWLEDGE_FILES = {
    "ffn_inputs": "ffn_inputs.parquet",
    "encoders": "encoders.safetensors",
    "memory": "memory.safetensors",
    "scope": "scope.safetensors",
}
Entries = Mapping[str, Mapping[str, Any]]


def trained_variants(entries: Entries) -> list[str]:
    """Return the method variants whose editor is trained before any edit, those first that others may be like."""
    names = [name for name in entries if method_of(entries, name).train]
    return sorted(names, key=lambda name: ("like" in entries[name], name))


def training_settings(entries: Entries, variant: str, backbone: str) -> dict[str, Any]:
    """Return the settings of a method variant on a backbone that the training of its editor reads."""
    settings = resolve_method(_plain(entries), variant, backbone).model_dump(mode="json")
    alone = method_of(entries, variant).editing_alone
    return {name: value for name, value in settings.items() if name not in alone}


def trained_for(entries: Entries, variant: str, backbone: str) -> str:
    """Return the first method variant whose training is that of this one: one serves all that differ in editing."""
    own = training_settings(entries, variant, backbone)
    return next(name for name in trained_variants(entries) if training_settings(entries, name, backbone) == own)


def files_of_method(
    entries: Entries,
    variant: str,
    backbone: str,
    stages: Path,
    method_split: Sequence[Path],
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, list[Path]]:
    """Return what a method variant needs besides the backbone, by need, as its room says.

    Needs are files of the backbone's knowledge, "method_split" (edits of the method-training split, a file a task), and
    "trained" (the editor, of the first seed).

    Args:
        entries: the variants by name.
        variant: one of them.
        backbone: its name in the configuration.
        stages: the folder with what the workflow's stages made.
        method_split: the files of the edits of that split, of all tasks.
        overrides: settings of the edit alone that come last.
    """
    method, found = method_of(entries, variant), dict[str, list[Path]]()
    for need in method.needs_of(resolve_method(_plain(entries), variant, backbone, dict(overrides or {}))):
        if need == "method_split":
            found[need] = list(method_split)
        else:
            found[need] = [stages / "knowledge" / backbone / KNOWLEDGE_FILES[need]]
    if method.train:
        name = trained_for(entries, variant, backbone)
        found["trained"] = [stages / "editors" / backbone / f"{name}.safetensors"]
    return found


def _plain(entries: Entries) -> dict[str, dict[str, Any]]:
    return {name: dict(entry) for name, entry in entries.items()}
