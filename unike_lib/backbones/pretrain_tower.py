"""Fit the tiled tower on the training artists' pictures, and keep what it sees of every training image.

One pass of EfficientNet serves all embedded backbones: the reduced features (a few kilobytes an image) are enough to
train Q-Former and language model.
"""

import logging

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0  # EfficientNet-Lite's own scaling of 0..255
BASIS = ("patch_mean", "patch_basis", "identity_mean", "identity_basis")
BATCH = 4  # tiles; larger batches only cost memory traffic on a CPU
PATCH_SAMPLE = 600  # tiles whose patches the principal components are computed from


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
