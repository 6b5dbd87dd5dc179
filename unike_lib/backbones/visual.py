"""Visual tokens of images, computed once per backbone and kept on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.folder import opening
from unike_lib.backbones.positions import check_pixels
from unike_lib.checksum import check_content
from unike_lib.io import first_line, write_tensors
from unike_lib.types import InputError

ROWS = 16
# What image processors give beside pixels, and the towers need: Qwen2-VL's, and LLaVA-OneVision's of whole pictures.
BESIDE = ("image_grid_thw", "image_sizes", "batch_num_images")


class VisualStore:
    """Visual tokens [token, d] by image name, read from safetensors files as they are asked for.

    Raises:
        InputError: a file is missing or broken, or an image is in none of them.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self._files: dict[str, Any] = {}
        for path in paths:
            try:
                check_content(path)
                file: Any = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise InputError(
                    f"{path}: no readable visual features; delete it, so that it is made anew ({first_line(error)})"
                ) from None
            self._files |= dict.fromkeys(file.keys(), file)

    def __call__(self, names: Sequence[str]) -> Tensor:
        """Return the visual tokens [image, token, d]."""
        for name in names:
            if name not in self._files:
                raise InputError(
                    f"{', '.join(map(str, self.paths))}: no visual features of image {name!r}; "
                    f"delete the file, so that it is made anew"
                )
        return torch.stack([self._files[name].get_tensor(name) for name in names])


@torch.inference_mode()
def embed_images(model: Any, processor: Any, images: Sequence[Image]) -> Tensor:
    """Return the projected visual tokens [image, token, d] of pictures; wider where some is added later (`decoder`).

    Raises:
        InputError: the image processor cuts a picture into several tiles, or their size is not the model's, or the
            tower does not work, or gives what is no number.
    """
    folder = getattr(model, "name_or_path", "backbone")
    with opening(folder, "image processor"):
        inputs = processor(images=list(images), return_tensors="pt")
    pixels = inputs["pixel_values"]
    # Qwen2-VL's patches of all pictures follow each other, with the grid of each beside them.
    grids = {name: inputs[name] for name in BESIDE if name in inputs}
    tiles = len(inputs["image_grid_thw"]) if "image_grid_thw" in inputs else pixels.shape[:-3].numel()
    if tiles != len(images):
        raise InputError(
            f"{folder}: image processor: expected one tile per picture, found {tiles} for {len(images)} pictures"
        )
    check_pixels(model, pixels)
    parameter = next(model.parameters())
    grids = {name: grid.to(parameter.device) for name, grid in grids.items()}
    with opening(folder, "vision tower"):
        found = model.get_image_features(pixels.to(parameter.device, parameter.dtype), **grids)
    # What is added behind the first layers stands beside what enters them (Qwen3-VL).
    parts = [found.pooler_output, *(getattr(found, "deepstack_features", None) or ())]
    # Families return one tensor, or a list with an entry a sample, in which pictures follow each other.
    tokens = torch.cat([part if isinstance(part, Tensor) else torch.cat(list(part)) for part in parts], -1)
    if not tokens.isfinite().all():
        dtype = str(tokens.dtype).removeprefix("torch.")
        raise InputError(f"{folder}: visual tokens are not numbers (NaN or infinite) in {dtype}")
    return tokens.reshape(len(images), -1, tokens.shape[-1])


def extract_visual(
    model: Any, processor: Any, names: Sequence[str], load: Callable[[str], Image], out: Path, fingerprint: str
) -> None:
    """Write the visual tokens of images, an entry per image name, each computed once; `load` opens one."""
    unique = sorted(set(names))
    features: dict[str, Tensor] = {}
    for start in tqdm(range(0, len(unique), ROWS), desc="visual tokens", unit="batch"):
        part = unique[start : start + ROWS]
        tokens = embed_images(model, processor, [load(name) for name in part])
        features |= {name: row.clone() for name, row in zip(part, tokens.cpu(), strict=True)}
    write_tensors(out, features, fingerprint)
