"""Shapes of a folder's weights, from the heads of its files, against the sizes in its config.json.

What both sides say in every family is compared here, without torch; the rest by `weights.check_weights`, which builds
the model. A size that config.json leaves to transformers' default is not compared here. A torch file's head needs
torch, but no model.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from unike_lib.backbones.folder import HEAD, NO_TENSORS, check_kind, find_file, opening
from unike_lib.io import first_line, read_json
from unike_lib.types import InputError

Shapes = dict[str, tuple[int, ...]]
MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's number at the head of its files of before 2020
ZIP = b"PK\x03\x04"  # at the head of its files of today
WHOLE = ("model.safetensors", "pytorch_model.bin")
NAMED = 3
EMBEDDINGS = "embed_tokens.weight"  # the decoder's entries lie beside it, under whatever name a release has
TEXT, VISION, QFORMER = "text_config.hidden_size", "vision_config.hidden_size", "qformer_config.hidden_size"
PATCH = "vision_config.patch_size"
# Entries, by their names in Hugging Face's models, with the fields that are their sizes: rows, then columns.
# "*": a multiple of the field; None: no field of its own.
SIZES: dict[str, tuple[str | None, ...]] = {
    r"decoder\.embed_tokens\.weight": ("text_config.vocab_size", None),
    r"decoder\.layers\.\d+\.mlp\.(gate|up)_proj\.weight": ("text_config.intermediate_size", TEXT),
    r"decoder\.layers\.\d+\.mlp\.down_proj\.weight": (TEXT, "text_config.intermediate_size"),
    r"decoder\.layers\.\d+\.fc1\.weight": ("text_config.ffn_dim", TEXT),
    r"decoder\.layers\.\d+\.fc2\.weight": (TEXT, "text_config.ffn_dim"),
    r".*vision_(tower|model)\..*\.mlp\.fc1\.weight": ("vision_config.intermediate_size", VISION),
    r".*vision_(tower|model)\..*\.mlp\.fc2\.weight": (VISION, "vision_config.intermediate_size"),
    r".*vision_(tower|model)\..*\.patch_embedding\.weight": (VISION, None, PATCH, PATCH),
    r".*qformer\..*\.intermediate_query\.dense\.weight": ("qformer_config.intermediate_size", QFORMER),
    r".*qformer\..*\.output_query\.dense\.weight": (QFORMER, "qformer_config.intermediate_size"),
    r".*language_projection\.weight": (TEXT, QFORMER),  # BLIP-2, MiniGPT-4
    r".*multi_modal_projector\.linear_1\.weight": (TEXT, f"{VISION}*"),  # LLaVA, InternVL: of several layers, patches
    r".*multi_modal_projector\.linear_2\.weight": (TEXT, TEXT),
    r".*multi_modal_projector\.mm_input_projection_weight": (VISION, TEXT),  # Gemma 3
    r".*connector\.modality_projection\.proj\.weight": (TEXT, f"{VISION}*"),  # Idefics3, SmolVLM
    r".*visual\.merger\.(mlp\.2|linear_fc2)\.weight": (TEXT, None),  # Qwen2-VL and after
}
# Entries of layers, with the field that counts them.
DEPTHS = {
    r"decoder\.layers\.(\d+)\..*": "text_config.num_hidden_layers",
    r".*vision_(?:tower|model)\.(?:.*\.)?encoder\.layers?\.(\d+)\..*": "vision_config.num_hidden_layers",
    r".*visual\.blocks\.(\d+)\..*": "vision_config.depth",
    r".*qformer\.encoder\.layer\.(\d+)\..*": "qformer_config.num_hidden_layers",
}


def weight_shapes(folder: str | Path) -> Shapes | None:
    """Return the shapes of a folder's weights by name, in its own names; None: its files have no headers.

    Raises:
        InputError: there are no weights, or a file is missing, or damaged.
    """
    shapes: Shapes = {}
    for file in _files(folder):
        check_kind(file)
        if file.suffix == ".safetensors":
            shapes |= _safetensors_shapes(file)
        elif zipfile.is_zipfile(file):
            shapes |= _torch_shapes(file)
        else:
            _check_old_torch_file(file)
            return None
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


def _torch_shapes(file: Path) -> Shapes:
    import torch  # alone, it takes a third of what transformers' models take

    with opening(file, "file of weights"):
        entries = torch.load(file, map_location="meta", weights_only=True)
    if not isinstance(entries, dict):
        raise InputError(f"{file}: not a file of weights (found a {type(entries).__name__})")
    return {str(name): tuple(value.shape) for name, value in entries.items() if isinstance(value, torch.Tensor)}


def _check_old_torch_file(file: Path) -> None:
    """Refuse what is no file of torch's of before 2020, half a file of today's among it."""
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    if head.startswith(ZIP):  # whose list of contents is at its end
        raise InputError(f"{file}: half a file: it starts as one of torch's, and its end is missing; download it again")
    if MAGIC not in head:
        raise InputError(f"{file}: {NO_TENSORS}")


def check_sizes(folder: str | Path, config: Mapping[str, Any], shapes: Shapes | None) -> None:
    """Refuse a config.json whose sizes are not those of the weights, or that has more layers than they have.

    Args:
        folder: for the message.
        config: config.json as it stands.
        shapes: the weights' by name; None: not known.

    Raises:
        InputError: names folder, field and entry.
    """
    _check_depths(folder, config, shapes)
    said = dict(numbers(config))
    if not isinstance(config.get("text_config"), dict):  # Qwen2-VL's first folders
        said |= {f"text_config.{name}": value for name, value in numbers(config)}
    for field, found in _misfits(said, _uniform(shapes or {})):
        raise InputError(
            f"{folder}: config.json: field '{field}': {said[field]}, but the weights have {found}; expected the "
            "config.json of these weights"
        )


def _uniform(shapes: Shapes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return names and shapes by names in which the decoder is called so."""
    decoders = [name.removesuffix(EMBEDDINGS) for name in shapes if name.endswith(f".{EMBEDDINGS}")]
    own = decoders[0] if len(decoders) == 1 else None
    return {
        f"decoder.{name.removeprefix(own)}" if own and name.startswith(own) else name: (name, shape)
        for name, shape in shapes.items()
    }


def _misfits(
    said: Mapping[str, float], entries: Mapping[str, tuple[str, tuple[int, ...]]]
) -> Iterator[tuple[str, str]]:
    """Yield each field that the weights do not have, and what they have in its place."""
    for pattern, fields in SIZES.items():
        for name, shape in (entries[each] for each in entries if re.fullmatch(pattern, each)):
            for size, field in zip(shape, fields, strict=False):
                if field is not None and not _fits(size, field, said):
                    yield field.rstrip("*"), f"'{name}' of {shape}"
    for pattern, field in DEPTHS.items():
        layers = [int(found[1]) for found in (re.fullmatch(pattern, each) for each in entries) if found]
        if layers and said.get(field, 0) > max(layers) + 1:
            yield field, f"{max(layers) + 1} layers there"


def _fits(size: int, field: str, said: Mapping[str, float]) -> bool:
    value = said.get(field.rstrip("*"), size)
    return size % value == 0 if field.endswith("*") else size == value


def _check_depths(folder: str | Path, config: Mapping[str, Any], shapes: Shapes | None) -> None:
    """Refuse a config with more layers than its weights have entries: even without memory such a model takes hours."""
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
