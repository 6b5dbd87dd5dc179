"""Exact search by inner product over unit vectors, on the device where they lie: the same ids everywhere.

On a CPU it is FAISS's. On a GPU it is FAISS's too where `faiss-gpu` is installed (the extra `gpu`), else one matrix
product: either way nothing leaves the GPU. `faiss-cpu` and `faiss-gpu` install the same module: have one.
"""

from functools import cache
from typing import Any

import faiss
import torch
from torch import Tensor

GPU_SCRATCH = 64 * 2**20  # bytes that FAISS may reserve on a GPU; its own choice is 1.5 GB


def search(unit: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return ids and inner products [row, k] of the k best of unit vectors [entry, d] for queries [row, d], best first.

    Queries may come from any device if the vectors are in main memory.
    """
    if unit.device.type != "cpu":
        return (by_faiss_gpu if hasattr(faiss, "StandardGpuResources") else by_product)(unit, queries, k)
    products, found = faiss.knn(queries.cpu().numpy(), unit.numpy(), k, metric=faiss.METRIC_INNER_PRODUCT)
    return torch.from_numpy(found).to(queries.device), torch.from_numpy(products).to(queries.device)


def by_faiss_gpu(unit: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Do the same with FAISS on a GPU, which is asked with tensors that lie there."""
    resources, card = _gpu_resources(), unit.device.index or 0
    queries, unit = queries.contiguous(), unit.contiguous()
    products, found = faiss.knn_gpu(resources, queries, unit, k, metric=faiss.METRIC_INNER_PRODUCT, device=card)
    return found, products


@cache
def _gpu_resources() -> Any:
    import faiss.contrib.torch_utils  # from here on, FAISS takes tensors

    resources = faiss.StandardGpuResources()
    resources.setTempMemory(GPU_SCRATCH)
    return resources


def by_product(unit: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Do the same by one matrix product on the device of the vectors."""
    products, found = (queries @ unit.T).topk(k, dim=1)
    return found, products
