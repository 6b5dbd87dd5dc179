"""Open a backbone from a folder or a hub id: the model, its tokenizer, its image processor, its family."""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.chat_template import folder_form
from unike_lib.backbones.checkpoint import load_whole
from unike_lib.backbones.folder import NO_CODE, check_folder, check_processor_files, check_tokenizer_files, opening
from unike_lib.backbones.folder_config import check_config, read_config
from unike_lib.backbones.layout import check_layout
from unike_lib.backbones.own_forward import check_own_forward
from unike_lib.backbones.positions import SquareProcessor, WholePictures, check_processor, fit_image_size
from unike_lib.backbones.shapes import weight_shapes
from unike_lib.backbones.sizes import check_sizes
from unike_lib.backbones.speed.onednn_linear import pack, packing_helps
from unike_lib.backbones.speed.shared_tokens import share_tokens
from unike_lib.backbones.speed.state_cache import StateCache
from unike_lib.backbones.speed.upcast_linear import multiplies_slowly, widen
from unike_lib.backbones.tokenizer import answer_prefix
from unike_lib.backbones.tower import blip2_class, load_blip2
from unike_lib.backbones.visual import VisualStore
from unike_lib.backbones.weights import check_weights
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
    check_folder(folder)
    check_listed(Path(folder))
    check_fit(folder, config.family)
    placing = {"device_map": "auto"} if config.device == "auto" else {}
    if placing and importlib.util.find_spec("accelerate") is None:
        raise InputError("device: auto: expected the package accelerate (the extra 'cards' of pyproject.toml)")
    model = read_model(folder, config, **placing)
    if multiplies_slowly(getattr(torch, config.dtype), config.device):
        widen(model)
    model = model if placing else model.to(device=config.device)
    return model.eval().requires_grad_(False)


def read_model(folder: str | Path, config: BackboneConfig, **placing: Any) -> Any:
    """Return the model as its folder says, in its dtype and with its size of pictures; `placing` is Hugging Face's."""
    blip2 = read_config(folder).get("model_type") == "blip-2"
    load = load_blip2 if blip2 else partial(load_whole, AutoModelForImageTextToText)
    with opening(folder, "model"):
        # Loaded in its dtype rather than cast to it: a cast would also round the rotary frequencies.
        model: Any = load(folder, dtype=getattr(torch, config.dtype), **placing)
    if config.image_size is not None and find_family(config.family).square is None:
        fit_image_size(model, config.image_size)
    return model


def check_fit(folder: str | Path, family: str) -> None:
    """Check that config and weights fit the family and each other.

    Nothing large is allocated: weights are compared by their names and shapes.

    Raises:
        InputError: config.json is missing or broken, names an architecture that is not the family's, or the weights are
            not those of the model that it describes.
    """
    known, written = find_family(family), read_config(folder)
    check_config(folder, written, known)
    shapes = weight_shapes(folder)
    check_sizes(folder, written, shapes)
    with opening(folder, "model"):
        config: Any = AutoConfig.from_pretrained(folder, **NO_CODE)
    found = config.text_config.model_type
    if found not in known.decoders:
        one = " or ".join(map(repr, known.decoders))
        raise InputError(
            f"{folder}: config.json: field 'text_config.model_type': family '{family}' expects {one}, found {found!r}"
        )
    _check_vision_layers(folder, config)
    kind = blip2_class(written) if config.model_type == "blip-2" else AutoModelForImageTextToText
    check_weights(folder, kind, config, shapes)


def _check_vision_layers(folder: str | Path, config: Any) -> None:
    """Raise InputError if LLaVA is to read a layer that its tower has not."""
    vision, chosen = getattr(config, "vision_config", None), getattr(config, "vision_feature_layer", 0)
    depth = getattr(vision, "num_hidden_layers", None)
    for layer in chosen if isinstance(chosen, list) else [chosen]:
        if depth is not None and not (isinstance(layer, int) and -depth - 1 <= layer <= depth):
            raise InputError(
                f"{folder}: config.json: field 'vision_feature_layer': expected a layer of the tower's {depth}, found "
                f"{layer!r}"
            )


def load_processor(folder: str | Path, config: BackboneConfig) -> Any:
    """Return the image processor (resizing and normalising with Pillow; no torchvision).

    Raises:
        InputError: the folder has no usable preprocessor_config.json, or one that changes the size of pictures.
    """
    family = find_family(config.family)
    settings, size = dict(family.image_settings), config.image_size or family.square
    if family.square is not None and size is not None:
        # In pixels: the area. Folders save it under other names, too, which would win.
        settings["size"] = {"shortest_edge": size**2, "longest_edge": size**2}
        settings |= {"min_pixels": size**2, "max_pixels": size**2}
    elif size is not None:
        settings["size"] = {"height": size, "width": size}
    check_processor_files(folder)
    with opening(folder, "image processor"):
        processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", **NO_CODE, **settings)
    if family.square is not None and size is not None:
        processor = SquareProcessor(folder, processor, size)
    if family.whole_pictures:
        processor = WholePictures(processor)
    check_processor(folder, processor, size)
    return processor


def load_tokenizer(folder: str | Path) -> Any:
    """Return the tokenizer; raise InputError if the folder has none that can be read."""
    check_tokenizer_files(folder)
    with opening(folder, "tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **NO_CODE)
        tokenizer("text", add_special_tokens=False)  # some that open fail at the first text
    return tokenizer


def check_tokens(folder: str | Path, tokenizer: Any, rows: int) -> None:
    """Raise InputError if a tokenizer has more tokens than a model has rows of embeddings: it is another model's."""
    if len(tokenizer) > rows:
        raise InputError(
            f"{folder}: tokenizer of {len(tokenizer)} tokens, but the model has embeddings of {rows}; "
            f"expected the model's own"
        )


def load_backbone(
    folder: str | Path, config: BackboneConfig, images: Callable[[Sequence[str]], Tensor], frozen: Sequence[Path] = ()
) -> Backbone:
    """Return a ready backbone; `images` gives the visual tokens of images by name, `frozen` is as in `open_backbone`.

    Raises:
        InputError: as `load_model`, or the folder has no readable tokenizer, or another model's, or its decoder, run
            layer by layer, is not what the model's own forward makes of it.
    """
    model = load_model(folder, config)
    tokenizer = load_tokenizer(folder)
    check_tokens(folder, tokenizer, model.get_input_embeddings().weight.shape[0])
    form = input_form(config.family, tokenizer, folder, model.config)
    family = replace(find_family(config.family), form=form)
    check_layout(folder, family, tokenizer)
    layers = None if config.layers == "last_four" else config.layers
    with opening(folder, "decoder"):
        backbone = Backbone(model, tokenizer, family, images, layers, config.vqa_prompt)
    check_own_forward(folder, backbone)
    if packing_helps(getattr(torch, config.dtype), config.device):
        pack(backbone.decoder)
    share_tokens(backbone.decoder)
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


def input_form(family: str, tokenizer: Any, folder: str | Path | None = None, config: Any = None) -> InputForm:
    """Return a family's input layout for a tokenizer; the two decide what an answer starts with.

    Where the family follows a folder's chat template and `folder` has one, the layout is the template's; `config` is
    the model's.

    Raises:
        InputError: the template's texts have other token ids in one than piece by piece.
    """
    known = find_family(family)
    form = known.form
    if folder is not None and known.follows_template:
        form = folder_form(folder, known, tokenizer, getattr(config, "image_token_id", None)) or form
    after_space = form.with_image[-1].isspace()
    return replace(form, answer_prefix="" if after_space else answer_prefix(tokenizer))
