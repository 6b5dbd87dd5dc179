"""Open a backbone from a folder or a hub id: the model, its tokenizer, its image processor, its input form."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, BlipImageProcessorPil

from unike_lib.backbones.base import Backbone, InputForm
from unike_lib.backbones.blip2 import BLIP2
from unike_lib.backbones.minigpt4 import MINIGPT4
from unike_lib.backbones.tower import load_blip2
from unike_lib.config import BackboneConfig
from unike_lib.types import InputError

FORMS: dict[str, InputForm] = {"blip2": BLIP2, "minigpt4": MINIGPT4}


def load_model(folder: str | Path, config: BackboneConfig) -> Any:
    """Return the multimodal model, frozen, on its device and in its dtype.

    Raises:
        InputError: the folder is missing, or its decoder does not fit the family.
    """
    try:
        model = load_blip2(folder)
    except OSError as error:
        raise InputError(f"{folder}: not a model folder ({str(error).splitlines()[0]})") from None
    placed: Any = model
    return placed.to(device=config.device, dtype=getattr(torch, config.dtype)).eval().requires_grad_(False)


def load_processor(folder: str | Path) -> Any:
    """Return the image processor (resizing and normalising with Pillow; no torchvision)."""
    return BlipImageProcessorPil.from_pretrained(folder)


def load_backbone(folder: str | Path, config: BackboneConfig, images: Callable[[Sequence[str]], Tensor]) -> Backbone:
    """Return a ready backbone; `images` gives the visual tokens of images by name."""
    model = load_model(folder, config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    layers = None if config.layers == "last_four" else config.layers
    return Backbone(model, tokenizer, input_form(config.family, tokenizer), images, layers, config.vqa_prompt)


def input_form(family: str, tokenizer: Any) -> InputForm:
    """Return a family's layout; with a byte-level tokenizer, an answer starts with the space that parts it from ":"."""
    form = FORMS[family]
    return dataclasses.replace(form, answer_prefix=" ") if carries_space(tokenizer) else form


def carries_space(tokenizer: Any) -> bool:
    """Tell whether the space before a word is part of its first token (byte-level BPE: GPT-2, OPT, SmolLM2)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return "ByteLevel" in repr(getattr(backend, "decoder", None))
