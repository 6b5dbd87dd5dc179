"""The config.json of a folder, field by field: what a model cannot be opened with is said by the field's name."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from unike_lib.backbones.folder import find_file, opening
from unike_lib.family import Family
from unike_lib.io import read_json
from unike_lib.types import InputError

OBJECTS = ("text_config", "vision_config", "qformer_config", "vision_tower")
ROTARY = ("rope_scaling", "rope_parameters")
ROTARY_KINDS = {"default", "mrope", *ROPE_INIT_FUNCTIONS}


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_side(value: Any) -> bool:
    return _is_count(value) or (isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)))


def _is_activation(value: Any) -> bool:
    return isinstance(value, str) and value in ACT2FN


def _is_dtype(value: Any) -> bool:
    return isinstance(value, str) and (value == "auto" or isinstance(getattr(torch, value, None), torch.dtype))


COUNT = (_is_count, "a positive integer")
ACTIVATION = (_is_activation, f"an activation that transformers knows ({', '.join(sorted(ACT2FN)[:8])} ...)")
KERNEL = (lambda value: value in ("sdpa", "eager"), "sdpa or eager")
# Fields wherever they stand, with what may stand there.
EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("hidden_size", "num_attention_heads", "vocab_size", "intermediate_size"), COUNT),
    **dict.fromkeys(("num_key_value_heads", "head_dim", "spatial_merge_size"), COUNT),
    "patch_size": (_is_side, "a positive integer, or two"),
    **dict.fromkeys(("dtype", "torch_dtype"), (_is_dtype, "a dtype of PyTorch's, such as float32")),
    "num_hidden_layers": (partial(_is_count, least=0), "an integer from 0 on"),
    "codebook": (partial(_is_count, least=0), "an integer from 0 on"),
    **dict.fromkeys(("hidden_act", "activation_function", "projector_hidden_act", "hidden_activation"), ACTIVATION),
    **dict.fromkeys(("attn_implementation", "_attn_implementation"), KERNEL),
    "post_layernorm_eps": (lambda value: isinstance(value, float | int), "a number"),
}


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return config.json as it stands.

    Raises:
        InputError: it is missing, or no JSON object.
    """
    with opening(folder, "model"):
        file = find_file(folder, "config.json")
    if file is None:
        raise InputError(f"{folder}: no readable model (no config.json)")
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
        last = name.rpartition(".")[2]
        if name == "text_config.model_type" and value not in tuple(family.decoders):
            yield name, value, f"family '{family.name}' expects {' or '.join(map(repr, family.decoders))}"
        if last == "model_type" and value is not None and not (isinstance(value, str) and value in CONFIG_MAPPING):
            yield name, value, "expected a type that transformers knows"
        if value is not None and last in EXPECTED and not EXPECTED[last][0](value):
            yield name, value, f"expected {EXPECTED[last][1]}"
        if (
            value is not None and last in ROTARY and not name.startswith("vision_config")
        ):  # towers have kinds of their own
            yield from _rotary_problems(name, value)


def _rotary_problems(name: str, value: Any) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(value, dict):
        yield name, value, "expected an object with fields"
        return
    for kind, part in value.items():  # of each kind of layer
        if isinstance(part, dict):
            yield from _rotary_problems(f"{name}.{kind}", part)
    found = value.get("rope_type", value.get("type", "default"))
    if not isinstance(found, str) or found not in ROTARY_KINDS:
        yield f"{name}.rope_type", found, f"expected a kind of rotary positions ({', '.join(sorted(ROTARY_KINDS))})"


def fields(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of a config with its dotted name, those that hold others included."""
    for name, value in config.items():
        yield f"{before}{name}", value
        if isinstance(value, dict):
            yield from fields(value, f"{before}{name}.")
