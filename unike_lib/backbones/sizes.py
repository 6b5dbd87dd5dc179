"""Shapes of a folder's weights against the sizes that its config.json says, or leaves to transformers' defaults.

What the names of entries and a few fields settle is compared here, without torch, for decoders and towers whose entries
are known; the rest by `weights.check_weights`, which builds the model.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from unike_lib.backbones.entries import check_entries, kind_of, spelled
from unike_lib.backbones.entry_rules import DECODER_ENTRIES, TOWER_ENTRIES
from unike_lib.backbones.library_sizes import with_defaults
from unike_lib.backbones.shapes import Shapes
from unike_lib.backbones.size_rules import COUNTS, SHAPES, SHARED, Said, Size
from unike_lib.types import InputError

EMBEDDINGS = "embed_tokens.weight"  # the decoder's entries lie beside it, under whatever name a release has
TOWER = re.compile(r"(?:.*\.)?(?:vision_tower|vision_model|visual)\.(?:vision_model\.)?")
CLASS_TOKENS = ("class_embedding", "cls_token")  # a position more than there are patches
Entries = dict[str, tuple[str, tuple[int, ...]]]


def check_sizes(folder: str | Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    """Refuse a config.json whose sizes, numbers of layers or names of entries are not those of the weights.

    Args:
        folder: for the message.
        config: config.json as it stands.
        shapes: the weights' by name.

    Raises:
        InputError: names folder, and field or entries.
    """
    written, whole = dict(_values(config)), with_defaults(config)
    if not isinstance(config.get("text_config"), dict):  # Qwen2-VL's first folders
        written |= {f"text_config.{name}": value for name, value in _values(config)}
    said = _completed(dict(_values(whole)))
    _check_depths(folder, said, len(shapes))
    _check_heads(folder, said)
    entries = _uniform(shapes, whole)
    tower = TOWER_ENTRIES.get(kind_of(whole, "vision_config"), ())
    said["class tokens"] = sum(name.rpartition(".")[2] in CLASS_TOKENS for line in tower for name in spelled(line))
    for size, found in _misfits(said, entries):
        raise InputError(
            f"{folder}: config.json: field {_shown(size, said, written)}, but the weights have {found}; expected the "
            "config.json of these weights"
        )
    check_entries(folder, config, whole, said, shapes)


def _values(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the numbers and lists of a config, and its parts' types, each with its dotted name."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _values(value, f"{before}{name}.")
        elif isinstance(value, int | float | list | tuple) and not isinstance(value, bool):
            yield f"{before}{name}", value


def _completed(said: Said) -> Said:
    """Return sizes with those that follow from others where they are left out, in every decoder that has them."""
    width, heads = said.get("text_config.hidden_size", 0), said.get("text_config.num_attention_heads", 1)
    follows = {"head_dim": width // heads, "num_key_value_heads": heads}
    return {f"text_config.{name}": value for name, value in follows.items()} | said


def _uniform(shapes: Shapes, config: Mapping[str, Any]) -> Entries:
    """Return names and shapes by names in which decoder and tower are called so, if their kinds are known."""
    decoders = [name.removesuffix(EMBEDDINGS) for name in shapes if name.endswith(f".{EMBEDDINGS}")]
    own = decoders[0] if len(decoders) == 1 and kind_of(config, "text_config") in DECODER_ENTRIES else None
    tower = kind_of(config, "vision_config") in TOWER_ENTRIES
    entries: Entries = {}
    for name, shape in shapes.items():
        if own and name.startswith(own):
            entries[f"decoder.{name.removeprefix(own)}"] = name, shape
        elif tower and (found := TOWER.match(name)):
            entries[f"tower.{name[found.end() :]}"] = name, shape
        else:
            entries[name] = name, shape
    return entries


def _misfits(said: Said, entries: Entries) -> Iterator[tuple[Size, str]]:
    """Yield each size that the weights do not have, and what they have in its place."""
    for pattern, sizes in SHAPES.items():
        for name, shape in (entries[each] for each in entries if _compiled(pattern).fullmatch(each)):
            for number, size in zip(shape, sizes, strict=False):
                if size is not None and size.value(said) not in (None, number):
                    yield size, f"'{name}' of {shape}"
    for pattern, size in COUNTS.items():
        found = [int(match[1]) for match in map(_compiled(pattern).fullmatch, entries) if match]
        if found and size.value(said) not in (None, max(found) + 1):
            yield size, f"{max(found) + 1} layers there"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _shown(size: Size, said: Said, written: Mapping[str, Any]) -> str:
    """Return the field that is blamed, what it says, and what it gives together with the others."""
    first, *others = [name for name in size.fields if name in said] or [str(size.instead)]
    text = f"'{first}': {said[first]}" if first in written else f"'{first}': missing, which means {said[first]}"
    beside = " and ".join(f"'{name}' {said[name]}" for name in others)
    if size.value(said) in (said[first], None) and not others:
        return text
    return f"{text} ({f'with {beside}, ' if beside else ''}which makes {size.value(said)})"


def _check_depths(folder: str | Path, said: Said, entries: int) -> None:
    """Refuse a config with more layers than its weights have entries: even without memory such a model takes hours."""
    for path, value in said.items():
        if path.rpartition(".")[2] in ("num_hidden_layers", "depth") and isinstance(value, int) and value > entries:
            raise InputError(
                f"{folder}: config.json: field '{path}': {value} layers, but the weights have {entries} entries; "
                f"expected the config.json of these weights"
            )


def _check_heads(folder: str | Path, said: Said) -> None:
    """Refuse numbers of heads that do not divide what they share out, whatever the weights are."""
    for field, width in SHARED.items():
        count, shared = said.get(field), width.value(said)
        if isinstance(count, int) and isinstance(shared, int) and shared % count:
            name = next(name for name in (*width.fields, width.instead) if name in said)
            raise InputError(
                f"{folder}: config.json: field '{field}': {count}, but '{name}' is {shared}; expected a number that "
                "divides it"
            )
