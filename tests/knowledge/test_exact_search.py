"""Searches on every device give the ids of a brute-force ranking; FAISS on a GPU is asked as its own interface says."""

import faiss
import faiss.contrib.torch_utils  # replaces knn_gpu, so before the test does
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from unike_lib.knowledge import exact_search
from unike_lib.knowledge.exact_search import by_faiss_gpu, by_product, search
from unike_lib.knowledge.memory import Memory


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(2, 16), st.integers(1, 9), st.integers(0, 1000))
def test_both_searches_give_the_ids_of_a_brute_force_ranking(entries, width, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    unit = normalize(torch.randn(entries, width, generator=generator), dim=-1)
    queries = normalize(torch.randn(rows, width, generator=generator), dim=-1)
    k = min(5, entries)
    exact = queries.double() @ unit.double().T
    for way in (search, by_product):
        found, products = way(unit, queries, k)
        assert found.dtype == torch.int64
        for row in range(rows):
            best = sorted(range(entries), key=lambda i: -exact[row, i])[:k]
            assert found[row].tolist() == best
        torch.testing.assert_close(products.double(), exact.gather(1, found), atol=1e-6, rtol=1e-5)


class Resources:
    reserved = None

    def setTempMemory(self, size):  # noqa: N802  (FAISS's name)
        self.reserved = size


def test_faiss_on_a_gpu_gets_tensors_its_device_and_little_scratch_memory(monkeypatch):
    asked = []

    def knn_gpu(resources, queries, vectors, k, *, metric, device):
        asked.append((resources.reserved, device))
        assert all(isinstance(part, torch.Tensor) and part.is_contiguous() for part in (queries, vectors))
        return tuple(map(torch.from_numpy, faiss.knn(queries.numpy(), vectors.numpy(), k, metric=metric)))

    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    exact_search._gpu_resources.cache_clear()
    unit = normalize(torch.randn(30, 8), dim=-1)
    queries = normalize(torch.randn(8, 4), dim=0).T  # not contiguous
    found, products = by_faiss_gpu(unit, queries, 7)
    expected, same = by_product(unit, queries, 7)
    assert torch.equal(found, expected)
    torch.testing.assert_close(products, same)
    assert asked == [(exact_search.GPU_SCRATCH, 0)] and exact_search.GPU_SCRATCH < 2**27
    exact_search._gpu_resources.cache_clear()


@pytest.mark.parametrize("faiss_gpu", [True, False])
def test_a_memory_that_moves_to_another_device_is_searched_there(monkeypatch, faiss_gpu):
    """The meta device stands for a GPU: FAISS searches where it can, else one matrix product."""
    ways = []
    for name in ("by_faiss_gpu", "by_product"):
        monkeypatch.setattr(exact_search, name, lambda *asked, name=name: ways.append(name) or by_product(*asked))
    if faiss_gpu:
        monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    else:
        monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
    keys = torch.randn(6, 4)
    memory = Memory({2: keys, 3: keys}, {2: keys, 3: keys})
    assert memory.to(torch.device("cpu")) is memory
    memory.search(2, torch.randn(5, 4), 40)
    assert not ways
    memory.to(torch.device("meta"))
    found, cosines = memory.search(2, torch.randn(5, 4, device="meta"), 40)
    assert ways == ["by_faiss_gpu" if faiss_gpu else "by_product"]
    assert found.device.type == cosines.device.type == "meta" and found.shape == (5, 6)
    assert len(memory) == 6 and memory.values[2].device.type == "meta"
