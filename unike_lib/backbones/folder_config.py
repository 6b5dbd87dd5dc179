"""The config.json of a folder, field by field: what a model cannot be opened with is said by the field's name."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from unike_lib.backbones.folder import (
    check_folder,
    check_processor_files,
    check_tokenizer_files,
    find_file,
    opening,
)
from unike_lib.backbones.library_names import ACTIVATIONS, DTYPES, MODEL_TYPES, ROTARY_KINDS
from unike_lib.backbones.shapes import weight_shapes
from unike_lib.backbones.sizes import check_sizes
from unike_lib.family import Family, find_family
from unike_lib.io import read_json
from unike_lib.types import InputError

OBJECTS = ("text_config", "vision_config", "qformer_config", "vision_tower")
IMAGES = "image processor"  # the part of a first look that texts alone do not need
ROTARY = ("rope_scaling", "rope_parameters")


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_side(value: Any) -> bool:
    return _is_count(value) or (isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)))


COUNT = (_is_count, "a positive integer")
ACTIVATION = (ACTIVATIONS.know, "an activation that transformers knows (gelu, gelu_new, quick_gelu, relu, silu ...)")
KERNEL = (lambda value: value in ("sdpa", "eager"), "sdpa or eager")
DTYPE = (lambda value: value == "auto" or DTYPES.know(value), "a dtype of PyTorch's, such as float32")
Wanted = dict[str, tuple[Callable[[Any], bool], str]]
# Fields wherever they stand, with what may stand there.
EXPECTED: Wanted = {
    **dict.fromkeys(("hidden_size", "num_attention_heads", "vocab_size", "intermediate_size"), COUNT),
    **dict.fromkeys(("num_key_value_heads", "head_dim", "spatial_merge_size", "num_heads", "embed_dim"), COUNT),
    "patch_size": (_is_side, "a positive integer, or two"),
    "num_hidden_layers": (partial(_is_count, least=0), "an integer from 0 on"),
    "codebook": (partial(_is_count, least=0), "an integer from 0 on"),
    **dict.fromkeys(("attn_implementation", "_attn_implementation"), KERNEL),
    "post_layernorm_eps": (lambda value: isinstance(value, float | int), "a number"),
    **dict.fromkeys(("dtype", "torch_dtype"), DTYPE),
    **dict.fromkeys(("hidden_act", "activation_function", "projector_hidden_act", "hidden_activation"), ACTIVATION),
}


def first_look(folder: str | Path, family: str, pictures: bool = True) -> None:
    """Refuse a folder for what its files and its config.json show, before what opens it is imported.

    Args:
        folder: of a model, or its hub id.
        family: by name or address.
        pictures: whether an image processor must be there; without one, texts can be asked.

    Raises:
        InputError: as `check_folder`, `read_config`, `check_config`, `weight_shapes` and `check_sizes`, or the files of
            tokenizer or image processor are not there.
    """
    check_folder(folder)
    for part, look in looks(folder, family).items():
        if pictures or part != IMAGES:
            look()


def looks(folder: str | Path, family: str) -> dict[str, Callable[[], None]]:
    """Return the parts of a first look by name, each of which raises InputError for what it finds wrong."""
    parts: dict[str, Callable[[], None]] = {
        "config.json": lambda: check_config(folder, read_config(folder), find_family(family))
    }
    if Path(folder).is_dir():  # what a hub id names is not here yet
        parts[IMAGES] = lambda: check_processor_files(folder)
        parts["tokenizer"] = lambda: check_tokenizer_files(folder)
        parts["weights"] = lambda: check_sizes(folder, read_config(folder), weight_shapes(folder))
    return parts


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return config.json as it stands.

    Raises:
        InputError: it is missing, or no JSON object.
    """
    with opening(folder, "model"):
        file = find_file(folder, "config.json")
    if file is None:
        raise InputError(f"{folder}: no config.json; expected a model that save_pretrained wrote")
    config = read_json(file)
    if not isinstance(config, dict):
        raise InputError(f"{file}: expected a JSON object, found {type(config).__name__}")
    return config


def check_config(folder: str | Path, config: Mapping[str, Any], family: Family) -> None:
    """Refuse what the family, transformers or this library has no meaning for.

    Raises:
        InputError: names the folder, the field, and what was expected.
    """
    for name, value, wanted in _problems(config, family):
        raise InputError(f"{folder}: config.json: field '{name}': {wanted}, found {value!r}")
    if (quantised := config.get("quantization_config")) is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise InputError(
            f"{folder}: config.json: field 'quantization_config': quantised weights ({method}) cannot be edited; "
            "expected the unquantised model (float32, bfloat16, float16)"
        )
    # Qwen2-VL's first folders keep the decoder's fields beside the others.
    if not isinstance(config.get("text_config"), dict) and "hidden_size" not in config:
        raise InputError(f"{folder}: config.json: field 'text_config': missing, so the decoder's sizes are not known")


def _problems(config: Mapping[str, Any], family: Family) -> Iterator[tuple[str, Any, str]]:
    """Yield name, value and what was expected of every field that does not fit."""
    if config.get("model_type") not in family.model_types:
        one = " or ".join(map(repr, family.model_types))
        yield "model_type", config.get("model_type"), f"family '{family.name}' expects {one}"
    for name in OBJECTS:
        if config.get(name) is not None and not isinstance(config[name], dict):
            yield name, config[name], "expected an object with fields"
    for name, value in fields(config):
        if name == "text_config.model_type" and value not in tuple(family.decoders):
            yield name, value, f"family '{family.name}' expects {' or '.join(map(repr, family.decoders))}"
        last = name.rpartition(".")[2]
        if value is None:
            continue
        if last in EXPECTED and not EXPECTED[last][0](value):
            yield name, value, f"expected {EXPECTED[last][1]}"
        if last == "model_type" and not MODEL_TYPES.know(value):
            yield name, value, "expected a type that transformers knows"
        if last in ROTARY and not name.startswith("vision_config"):  # towers have kinds of their own
            yield from _rotary_problems(name, value)


def _rotary_problems(name: str, value: Any) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(value, dict):
        yield name, value, "expected an object with fields"
        return
    for kind, part in value.items():  # of each kind of layer
        if isinstance(part, dict):
            yield from _rotary_problems(f"{name}.{kind}", part)
    found = value.get("rope_type", value.get("type", "default"))
    if found not in ("default", "mrope") and not ROTARY_KINDS.know(found):
        yield f"{name}.rope_type", found, "expected a kind that transformers knows (default, linear, yarn, llama3 ...)"


def fields(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of a config with its dotted name, those that hold others included."""
    for name, value in config.items():
        yield f"{before}{name}", value
        if isinstance(value, dict):
            yield from fields(value, f"{before}{name}.")
