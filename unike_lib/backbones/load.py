"""Open a backbone from a folder or a hub id: the model, its tokenizer, its image processor, its family."""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.checkpoint import load_whole
from unike_lib.backbones.positions import SquareProcessor, fit_image_size
from unike_lib.backbones.speed.onednn_linear import pack, packing_helps
from unike_lib.backbones.speed.state_cache import StateCache
from unike_lib.backbones.speed.upcast_linear import multiplies_slowly, widen
from unike_lib.backbones.tokenizer import answer_prefix
from unike_lib.backbones.tower import load_blip2
from unike_lib.backbones.visual import VisualStore
from unike_lib.checksum import check_listed
from unike_lib.config.backbones import BackboneConfig
from unike_lib.family import InputForm, find_family
from unike_lib.types import InputError


def load_model(folder: str | Path, config: BackboneConfig) -> Any:
    """Return the multimodal model, frozen, on its device and in its dtype.

    Raises:
        InputError: the folder is missing, incomplete or damaged, or its architecture does not fit the family; names
            the file or the field.
    """
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"device: {config.device}: PyTorch {torch.__version__} sees no GPU here; set the backbone's device to cpu, "
            f"or install a build of PyTorch for this machine's CUDA"
        )
    check_listed(Path(folder))
    model_type = check_architecture(folder, config.family)
    load = load_blip2 if model_type == "blip-2" else partial(load_whole, AutoModelForImageTextToText)
    placing = {"device_map": "auto"} if config.device == "auto" else {}
    if placing and importlib.util.find_spec("accelerate") is None:
        raise InputError("device: auto: expected the package accelerate (the extra 'cards' of pyproject.toml)")
    try:
        # Loaded in its dtype rather than cast to it: a cast would also round the rotary frequencies.
        model: Any = load(folder, dtype=getattr(torch, config.dtype), **placing)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise _unreadable(folder, "model", error) from None
    if config.image_size is not None and find_family(config.family).square is None:
        fit_image_size(model, config.image_size)
    if multiplies_slowly(getattr(torch, config.dtype), config.device):
        widen(model)
    model = model if placing else model.to(device=config.device)
    return model.eval().requires_grad_(False)


def check_architecture(folder: str | Path, family: str) -> str:
    """Return `model_type` of config.json.

    Raises:
        InputError: config.json is missing or broken, or names an architecture that is not the family's.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "model", error) from None
    known = find_family(family)
    expected = {"model_type": known.model_types, "text_config.model_type": tuple(known.decoders)}
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
    family = find_family(config.family)
    settings, size = dict(family.image_settings), config.image_size or family.square
    if family.square is not None and size is not None:
        settings["size"] = {"shortest_edge": size**2, "longest_edge": size**2}  # in pixels: the area
    elif size is not None:
        settings["size"] = {"height": size, "width": size}
    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", **settings)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "image processor", error) from None
    return processor if family.square is None or size is None else SquareProcessor(processor, size)


def load_tokenizer(folder: str | Path) -> Any:
    """Return the tokenizer; raise InputError if the folder has none that can be read."""
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "tokenizer", error) from None


def load_backbone(
    folder: str | Path, config: BackboneConfig, images: Callable[[Sequence[str]], Tensor], frozen: Sequence[Path] = ()
) -> Backbone:
    """Return a ready backbone; `images` gives the visual tokens of images by name, `frozen` is as in `open_backbone`.

    Raises:
        InputError: as `load_model`, or the folder has no readable tokenizer, or another model's.
    """
    model = load_model(folder, config)
    tokenizer = load_tokenizer(folder)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(f"{folder}: tokenizer of {len(tokenizer)} tokens, but the model has embeddings of {rows}")
    family = replace(find_family(config.family), form=input_form(config.family, tokenizer))
    layers = None if config.layers == "last_four" else config.layers
    backbone = Backbone(model, tokenizer, family, images, layers, config.vqa_prompt)
    if packing_helps(getattr(torch, config.dtype), config.device):
        pack(backbone.decoder)
    backbone.cache = StateCache(backbone, frozen)
    return backbone


def open_backbone(
    folder: str | Path, config: BackboneConfig, visual: Path | Iterable[Path], frozen: Sequence[Path] = ()
) -> Backbone:
    """Return a ready backbone with what is kept of its pictures and questions.

    Args:
        folder: of the model, or its hub id.
        config: as in `load_backbone`.
        visual: files of visual tokens.
        frozen: files of what its layers make of questions; none: they are run, and remembered where one asks for it.

    Raises:
        InputError: as `load_backbone`, or a file is missing, damaged, or another backbone's.
    """
    images = VisualStore(*([visual] if isinstance(visual, Path) else visual))
    return load_backbone(folder, config, images, frozen)


def input_form(family: str, tokenizer: Any) -> InputForm:
    """Return a family's input layout for a tokenizer; the two decide what an answer starts with."""
    form = find_family(family).form
    after_space = form.with_image[-1].isspace()
    return replace(form, answer_prefix="" if after_space else answer_prefix(tokenizer))


def _unreadable(folder: str | Path, what: str, error: Exception) -> InputError:
    return InputError(f"{folder}: no readable {what} ({str(error).strip().splitlines()[0]})")
