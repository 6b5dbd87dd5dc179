"""Shapes of a folder's weights, from the heads of its files, without torch."""

from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from unike_lib.backbones.folder import check_kind, find_file
from unike_lib.backbones.torch_heads import torch_shapes
from unike_lib.io import first_line, read_json
from unike_lib.types import InputError

Shapes = dict[str, tuple[int, ...]]
WHOLE = ("model.safetensors", "pytorch_model.bin")
NAMED = 3


def weight_shapes(folder: str | Path) -> Shapes:
    """Return the shapes of a folder's weights by name, in its own names.

    Raises:
        InputError: there are no weights, or a file is missing, or damaged.
    """
    shapes: Shapes = {}
    for file in _files(folder):
        check_kind(file)
        if file.suffix == ".safetensors":
            shapes |= _safetensors_shapes(file)
        else:
            shapes |= torch_shapes(file)
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


def _safetensors_shapes(file: Path) -> Shapes:
    try:
        with safe_open(file, framework="np") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{file}: half a file, or no safetensors file; download it again ({first_line(error)})"
        ) from None
