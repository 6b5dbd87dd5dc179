"""Open a backbone from a folder or a hub id: the model, its tokenizer, its image processor, its family.

To add a family of Hugging Face models with a Llama-like decoder, describe it as a `Family` (`llava.py` is an example),
name it in `FAMILIES`, and add that name to `BackboneConfig.family` and to `reporting.paper.PAPER_BACKBONES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from unike_lib.backbones.base import Backbone, Family, InputForm
from unike_lib.backbones.blip2 import BLIP2
from unike_lib.backbones.idefics3 import IDEFICS3, SMOLVLM
from unike_lib.backbones.llava import LLAVA
from unike_lib.backbones.minigpt4 import MINIGPT4
from unike_lib.backbones.tokenizer import answer_prefix
from unike_lib.backbones.tower import load_blip2
from unike_lib.backbones.widen import multiplies_slowly, widen
from unike_lib.checksum import check_folder
from unike_lib.config import BackboneConfig
from unike_lib.types import InputError

FAMILIES: dict[str, Family] = {
    "blip2": BLIP2,
    "minigpt4": MINIGPT4,
    "smolvlm": SMOLVLM,
    "idefics3": IDEFICS3,
    "llava": LLAVA,
}
# Decoders whose layers `Decoder` runs: those of OPT, and Llama's plain shape (no query norms, no fused projections).
TEXT_TYPES = ("opt", "llama", "mistral", "qwen2")


def load_model(folder: str | Path, config: BackboneConfig) -> Any:
    """Return the multimodal model, frozen, on its device and in its dtype.

    Raises:
        InputError: the folder is missing, incomplete or damaged, or its architecture does not fit the family; names
            the file or the field.
    """
    check_folder(Path(folder))
    model_type = check_architecture(folder, config.family)
    load = load_blip2 if model_type == "blip-2" else AutoModelForImageTextToText.from_pretrained
    try:
        # Loaded in its dtype rather than cast to it: a cast would also round the rotary frequencies.
        model: Any = load(folder, dtype=getattr(torch, config.dtype))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise _unreadable(folder, "model", error) from None
    if multiplies_slowly(getattr(torch, config.dtype), config.device):
        widen(model)
    return model.to(device=config.device).eval().requires_grad_(False)


def check_architecture(folder: str | Path, family: str) -> str:
    """Return `model_type` of config.json.

    Raises:
        InputError: config.json is missing or broken, or names an architecture that is not the family's.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "model", error) from None
    expected = {"model_type": FAMILIES[family].model_types, "text_config.model_type": TEXT_TYPES}
    found = {"model_type": config.model_type}
    if config.model_type in expected["model_type"]:
        found["text_config.model_type"] = config.text_config.model_type
    for name, value in found.items():
        if value not in expected[name]:
            one = " or ".join(map(repr, expected[name]))
            raise InputError(f"{folder}: config.json: field '{name}': family '{family}' expects {one}, found {value!r}")
    return str(config.model_type)


def load_processor(folder: str | Path, config: BackboneConfig) -> Any:
    """Return the image processor (resizing and normalising with Pillow; no torchvision).

    Raises:
        InputError: the folder has no readable preprocessor_config.json.
    """
    settings = FAMILIES[config.family].image_settings
    try:
        return AutoImageProcessor.from_pretrained(folder, backend="pil", **settings)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "image processor", error) from None


def load_backbone(folder: str | Path, config: BackboneConfig, images: Callable[[Sequence[str]], Tensor]) -> Backbone:
    """Return a ready backbone; `images` gives the visual tokens of images by name.

    Raises:
        InputError: as `load_model`, or the folder has no readable tokenizer.
    """
    model = load_model(folder, config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "tokenizer", error) from None
    family = replace(FAMILIES[config.family], form=input_form(config.family, tokenizer))
    layers = None if config.layers == "last_four" else config.layers
    return Backbone(model, tokenizer, family, images, layers, config.vqa_prompt)


def input_form(family: str, tokenizer: Any) -> InputForm:
    """Return a family's input layout for a tokenizer, which decides what an answer starts with."""
    return replace(FAMILIES[family].form, answer_prefix=answer_prefix(tokenizer))


def _unreadable(folder: str | Path, what: str, error: Exception) -> InputError:
    return InputError(f"{folder}: no readable {what} ({str(error).strip().splitlines()[0]})")
