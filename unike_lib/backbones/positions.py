"""Positions of a picture: learned ones that fit its size, rotary ones on a grid; a size that misfits is named."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unike_lib.backbones.folder import opening
from unike_lib.types import InputError, Query

# Towers with one learned position per patch; others take pictures of several sizes.
FIXED_SIZE = ("blip-2", "gemma3", "internvl", "llava", "llava_onevision")
# What image processors save, and what can make pictures of another size than `image_size` says.
LIMITS = ("do_resize", "size", "do_center_crop", "crop_size", "min_pixels", "max_pixels", "max_image_size")
NAMED = 60  # letters of a question that a message shows


def resize_positions(positions: Tensor, side: int) -> Tensor:
    """Return learned positions [1, 1 + patch, d] for side x side patches, bicubic as in LAVIS; the first one stays.

    Computed in float32; the same tensor if the grid has that side already.
    """
    first, grid = positions[:, :1], positions[:, 1:]
    old = round(grid.shape[1] ** 0.5)
    if old == side:
        return positions
    picture = grid.float().unflatten(1, (old, old)).permute(0, 3, 1, 2)
    resized = interpolate(picture, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([first, resized.permute(0, 2, 3, 1).flatten(1, 2).to(first.dtype)], 1)


def grid_positions(before: int, tokens: int, length: int) -> Tensor:
    """Return rotary positions (time, row, column) of a row with a square picture, [3, length] (Qwen2-VL, M-RoPE).

    Args:
        before: tokens before the picture.
        tokens: visual tokens; they share one time and count rows and columns from `before` on. 0: no picture.
        length: of the row; what follows the picture counts on from its largest position.
    """
    positions = torch.arange(length).expand(3, -1).clone()
    side = math.isqrt(tokens)
    place = torch.arange(tokens)
    positions[:, before : before + tokens] = before + torch.stack(
        [torch.zeros_like(place), place // max(side, 1), place % max(side, 1)]
    )
    positions[:, before + tokens :] -= tokens - side
    return positions


def check_lengths(limit: int, queries: Sequence[Query], lengths: Sequence[int], visual: Sequence[int] = ()) -> None:
    """Refuse rows with more tokens than a model has positions, before they are run.

    Args:
        limit: positions of the model.
        queries: what the rows ask.
        lengths: tokens of each row.
        visual: visual tokens of each row that lie on a grid, and take as many positions as one of its sides.

    Raises:
        InputError: names the first such question, how many positions it needs, and the limit.
    """
    for row, (query, tokens) in enumerate(zip(queries, lengths, strict=True)):
        needed = tokens - visual[row] + math.isqrt(visual[row]) if visual else tokens
        if needed > limit:
            raise InputError(
                f"{name_query(query)}: a row of {tokens} tokens needs {needed} positions, but the model has {limit}; "
                "expected a shorter question, answer or context"
            )


def name_query(query: Query) -> str:
    """Return what a message calls a question."""
    shown = query.prompt if len(query.prompt) <= NAMED else query.prompt[:NAMED] + "..."
    image = "" if query.image is None else f" about image {query.image!r}"
    return f"question {shown!r}{image}" + (
        f" behind a context of {len(query.context)} letters" if query.context else ""
    )


def check_processor(folder: str | Path, processor: Any, size: int | None) -> None:
    """Try an image processor on a picture: it works, and what it saved does not change `size`, the side in pixels.

    Raises:
        InputError: names the folder, and the saved limits where its pictures have another size.
    """
    side = size or 64
    with opening(folder, "image processor"):
        found = processor(images=[Image.new("RGB", (2 * side, side))], return_tensors="pt")
        inner = getattr(processor, "processor", processor)
        grid = found["image_grid_thw"][0, 1:] * inner.patch_size if "image_grid_thw" in found else None
        sides = tuple(found["pixel_values"].shape[-2:]) if grid is None else tuple(grid.tolist())
    if "image_sizes" in found and not isinstance(processor, WholePictures):
        raise InputError(
            f"{folder}: preprocessor_config.json: pictures keep sizes of their own ({type(processor).__name__}); "
            "expected an image processor that makes all of one size"
        )
    if size is not None and sides != (size, size):
        saved = ", ".join(f"{name} {getattr(inner, name)}" for name in LIMITS if getattr(inner, name, None) is not None)
        raise InputError(
            f"{folder}: preprocessor_config.json: image_size is {size}, but pictures become {sides[0]} x {sides[1]} "
            f"pixels; expected no other limit there, found {saved}"
        )


def fit_image_size(model: Any, size: int) -> None:
    """Make a BLIP-2's ViT take pictures of size x size pixels (MMEdit runs it at 364, trained at 224).

    Raises:
        InputError: the tower has no such positions, or the size is no multiple of its patches.
    """
    vision = model.config.vision_config
    embeddings = getattr(model.vision_model, "embeddings", None)
    if embeddings is None:
        raise InputError("image_size: expected null, because this backbone's tower takes pictures of its own size only")
    if size % vision.patch_size:
        raise InputError(f"image_size: expected a multiple of the tower's patches of {vision.patch_size}, found {size}")
    resized = resize_positions(embeddings.position_embedding.detach(), size // vision.patch_size)
    embeddings.position_embedding = nn.Parameter(resized, requires_grad=False)
    vision.image_size = size


def check_pixels(model: Any, pixels: Tensor) -> None:
    """Compare pictures [..., height, width] with the size that a model's tower takes.

    BLIP-2's ViT itself reads smaller ones with the wrong positions, without a word.

    Raises:
        InputError: they differ; names both sizes and the setting.
    """
    config = model.config
    if config.model_type not in FIXED_SIZE or hasattr(config, "vision_tower"):
        return
    size, found = config.vision_config.image_size, tuple(pixels.shape[-2:])
    wanted = (size, size) if isinstance(size, int) else tuple(size)
    if found != wanted:
        raise InputError(
            f"image processor: pictures of {found[0]} x {found[1]} pixels, but the model takes {wanted[0]} x "
            f"{wanted[1]}; set "
            "the backbone's image_size, or correct size in preprocessor_config.json"
        )


def _saved_count(folder: str | Path, processor: Any, name: str) -> int:
    """Return a field of a folder's image processor that our own code calculates with: a whole number of at least 1.

    Raises:
        InputError: it is anything else.
    """
    found = getattr(processor, name, None)
    if type(found) is not int or found < 1:
        field = f"{folder}: preprocessor_config.json: field '{name}'"
        raise InputError(f"{field}: expected a whole number of at least 1, found {found!r}")
    return found


class SquareProcessor:
    """An image processor for pictures of any shape, given squares.

    Raises:
        InputError: the folder's patches are no whole numbers, or the side is no multiple of what the tower merges into
            one visual token.
    """

    def __init__(self, folder: str | Path, processor: Any, side: int) -> None:
        unit = _saved_count(folder, processor, "patch_size") * _saved_count(folder, processor, "merge_size")
        if side % unit:
            raise InputError(f"image_size: expected a multiple of {unit}, which gives one visual token, found {side}")
        self.processor, self.side = processor, side

    def __call__(self, images: Sequence[Image.Image], **settings: Any) -> Any:
        """Return what the processor makes of the pictures after they are resized to squares."""
        squares = [image.convert("RGB").resize((self.side, self.side), Resampling.BICUBIC) for image in images]
        return self.processor(images=squares, **settings)


class WholePictures:
    """LLaVA-OneVision's image processor, each picture whole, as it makes them where a text has several.

    One alone it would cut into tiles behind the whole picture: up to 10 times as many tokens, of a number that depends
    on the picture's size.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, images: Sequence[Image.Image], **settings: Any) -> Any:
        """Return pixels [image, 1, channel, side, side] of whole pictures, with what makes the tower take them so."""
        # As many pictures of one text; one more, for one is cut. The model counts them again from `batch_num_images`.
        found = self.processor(images=[[*images, images[-1]]], **settings)
        return {name: value[: len(images)] for name, value in found.items() if name != "batch_num_images"} | {
            "batch_num_images": torch.tensor([len(images) + 1])
        }
