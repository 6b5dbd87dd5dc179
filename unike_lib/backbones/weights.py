"""Names and shapes of a folder's weights, from their headers, against what its config.json builds.

The model is built on torch's meta device, where nothing is allocated, so a folder that does not fit is refused before
its 7B model takes 27 GB.
"""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.initialization import no_init_weights

from unike_lib.backbones.checkpoint import refuse_entries
from unike_lib.backbones.folder import HEAD, NO_TENSORS, check_kind, find_file, opening
from unike_lib.io import first_line, read_json
from unike_lib.types import InputError

Shapes = dict[str, tuple[int, ...]]
MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's number at the head of its files of before 2020
WHOLE = ("model.safetensors", "pytorch_model.bin")
NAMED = 3


def weight_shapes(folder: str | Path) -> Shapes | None:
    """Return the shapes of a folder's weights by name, in its own names; None: its files have no headers.

    Raises:
        InputError: there are no weights, or a file is missing, or damaged.
    """
    shapes: Shapes = {}
    for file in _files(folder):
        check_kind(file)
        if file.suffix != ".safetensors" and not zipfile.is_zipfile(file):
            with file.open("rb") as stream:
                if MAGIC not in stream.read(HEAD):
                    raise InputError(f"{file}: {NO_TENSORS}")
            return None  # torch files of before 2020
        shapes |= _header(file)
    return shapes


def _files(folder: str | Path) -> Iterator[Path]:
    """Yield the files with weights, those that transformers reads."""
    for name in WHOLE:
        if (file := find_file(folder, name)) is not None:
            yield file
            return
        if (index := find_file(folder, f"{name}.index.json")) is not None:
            named = read_json(index)
            parts = named.get("weight_map") if isinstance(named, dict) else None
            if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
                raise InputError(f"{index}: field 'weight_map': expected the file of each entry")
            files = {part: find_file(folder, part) for part in sorted(set(parts.values()))}
            if missing := [part for part, found in files.items() if found is None]:
                more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
                raise InputError(
                    f"{index}: names files that are not there; download them: {', '.join(missing[:NAMED])}{more}"
                )
            yield from filter(None, files.values())
            return
    raise InputError(f"{folder}: no weights: expected {' or '.join(WHOLE)}, or parts with an index")


def _header(file: Path) -> Shapes:
    """Return the shapes of one file by name."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{file}: half a file, or no safetensors file; download it again ({first_line(error)})"
        ) from None
    with opening(file, "file of weights"):
        entries = torch.load(file, map_location="meta", weights_only=True)
    if not isinstance(entries, dict):
        raise InputError(f"{file}: not a file of weights (found a {type(entries).__name__})")
    return {str(name): tuple(value.shape) for name, value in entries.items() if isinstance(value, torch.Tensor)}


def check_depths(folder: str | Path, config: Mapping[str, Any], shapes: Shapes | None) -> None:
    """Refuse a config with more layers than its weights have entries: even without memory such a model takes hours.

    Raises:
        InputError: names folder and field.
    """
    for path, value in numbers(config):
        most = 10_000 if shapes is None else len(shapes)
        if path.rpartition(".")[2] in ("num_hidden_layers", "depth") and value > most:
            raise InputError(
                f"{folder}: config.json: field '{path}': {value} layers, but the weights have {most} entries; "
                f"expected the config.json of these weights"
            )


def numbers(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a config, each with its dotted name."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}{name}", value


def check_weights(folder: str | Path, kind: Any, config: Any, shapes: Shapes) -> None:
    """Compare names and shapes with the model that a config builds; what transformers renames or ties is right.

    Args:
        folder: for the message.
        kind: a model class of Hugging Face's, or one of its automatic ones.
        config: the model's.
        shapes: the weights' by name.

    Raises:
        InputError: names missing, unexpected and mis-shaped entries, all in one message.
    """
    with opening(folder, "model"), torch.random.fork_rng(devices=[]):
        with torch.device("meta"), no_init_weights():
            model: Any = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
        _compare(folder, model, shapes)


def _compare(folder: str | Path, model: Any, shapes: Shapes) -> None:
    """Go through transformers' own steps, with shapes in the place of weights."""
    wanted = model.state_dict()
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    prefix, found, unexpected = model.base_model_prefix, {}, set()
    for name, shape in shapes.items():
        renamed, converted = rename_source_key(name, renamings, converters, prefix, wanted)
        if renamed not in wanted and name in wanted:
            renamed, converted = rename_source_key(name, [], [], prefix, wanted)
        if renamed not in wanted:
            unexpected.add(renamed)
        else:  # what is put together from several entries has no shape yet
            found[renamed] = tuple(wanted[renamed].shape) if converted is not None else shape
    left = SimpleNamespace(missing_keys=wanted.keys() - found.keys(), unexpected_keys=unexpected)
    model.tie_weights(missing_keys=left.missing_keys, recompute_mapping=False)
    model._adjust_missing_and_unexpected_keys(left)
    differing = [(name, shape, tuple(wanted[name].shape)) for name, shape in found.items()]
    refuse_entries(str(folder), left.missing_keys, left.unexpected_keys, differing)
