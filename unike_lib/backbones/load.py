"""Open a backbone from a folder or a hub id: the model, its tokenizer, its image processor, its input form."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, BlipImageProcessorPil

from unike_lib.backbones.base import Backbone, InputForm
from unike_lib.backbones.blip2 import BLIP2
from unike_lib.backbones.minigpt4 import MINIGPT4
from unike_lib.backbones.tokenizer import answer_prefix
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
    form = replace(FORMS[config.family], answer_prefix=answer_prefix(tokenizer))
    layers = None if config.layers == "last_four" else config.layers
    return Backbone(model, tokenizer, form, images, layers, config.vqa_prompt)
