"""Exact search by inner product over unit vectors, on the device of the queries: the same ids everywhere.

On a CPU it is FAISS's flat index. On a GPU it is FAISS's too where `faiss-gpu` is installed (the extra `gpu`), else one
matrix product: either way nothing leaves the GPU. `faiss-cpu` and `faiss-gpu` install the same module: have one.
"""

from typing import Any, Protocol

import faiss
import numpy as np
import torch
from torch import Tensor

GPU_SCRATCH = 64 * 2**20  # bytes that FAISS may reserve on a GPU; its own choice is 1.5 GB


class FlatIndex(Protocol):
    """Unit vectors that are searched."""

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return ids and inner products [row, k] of the k best vectors for each query [row, d], best first."""

    def vectors(self) -> Tensor:
        """Return the vectors [entry, d], where they lie."""


class FaissIndex:
    """FAISS's flat index in main memory; queries may come from any device."""

    def __init__(self, unit: Tensor) -> None:
        self._index = faiss.IndexFlatIP(unit.shape[1])
        self._index.add(np.ascontiguousarray(unit.cpu().numpy()))

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `FlatIndex`."""
        products, found = self._index.search(np.ascontiguousarray(queries.cpu().numpy()), k)
        return torch.from_numpy(found).to(queries.device), torch.from_numpy(products).to(queries.device)

    def vectors(self) -> Tensor:
        """See `FlatIndex`."""
        return torch.as_tensor(self._index.reconstruct_n(0, self._index.ntotal))


class FaissGpuIndex:
    """FAISS's flat index in a GPU's memory, asked with tensors that lie there."""

    def __init__(self, unit: Tensor) -> None:
        import faiss.contrib.torch_utils

        # FAISS frees what an index works with when the resources go, so they are kept beside it.
        self._resources = faiss.StandardGpuResources()
        self._resources.setTempMemory(GPU_SCRATCH)
        settings = faiss.GpuIndexFlatConfig()
        settings.device = unit.device.index or 0
        self._index: Any = faiss.GpuIndexFlatIP(self._resources, unit.shape[1], settings)
        self._index.add(unit.contiguous())

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `FlatIndex`."""
        products, found = self._index.search(queries.contiguous(), k)
        return found, products

    def vectors(self) -> Tensor:
        """See `FlatIndex`."""
        return self._index.reconstruct_n(0, self._index.ntotal)


class TensorIndex:
    """One matrix product on the device where the vectors lie."""

    def __init__(self, unit: Tensor) -> None:
        self._unit = unit

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `FlatIndex`."""
        products, found = (queries @ self._unit.T).topk(k, dim=1)
        return found, products

    def vectors(self) -> Tensor:
        """See `FlatIndex`."""
        return self._unit


def flat_index(unit: Tensor) -> FlatIndex:
    """Return an index over unit vectors [entry, d] for queries on the device of these."""
    if unit.device.type == "cpu":
        return FaissIndex(unit)
    return FaissGpuIndex(unit) if hasattr(faiss, "StandardGpuResources") else TensorIndex(unit)
