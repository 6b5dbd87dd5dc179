"""Searches on every device give the ids of a brute-force ranking; FAISS on a GPU is asked as its own interface says."""

import faiss
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from unike_lib.knowledge import flat_index
from unike_lib.knowledge.flat_index import FaissGpuIndex, FaissIndex, TensorIndex
from unike_lib.knowledge.memory import Memory


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(2, 16), st.integers(1, 9), st.integers(0, 1000))
def test_both_searches_give_the_ids_of_a_brute_force_ranking(entries, width, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    unit = normalize(torch.randn(entries, width, generator=generator), dim=-1)
    queries = normalize(torch.randn(rows, width, generator=generator), dim=-1)
    k = min(5, entries)
    exact = queries.double() @ unit.double().T
    for index in (FaissIndex(unit), TensorIndex(unit)):
        found, products = index.search(queries, k)
        assert found.dtype == torch.int64 and torch.equal(index.vectors(), unit)
        for row in range(rows):
            best = sorted(range(entries), key=lambda i: -exact[row, i])[:k]
            assert found[row].tolist() == best
        torch.testing.assert_close(products.double(), exact.gather(1, found), atol=1e-6, rtol=1e-5)


class FakeGpuFaiss:
    """FAISS's GPU index as far as it is used, in main memory."""

    def __init__(self, resources, width, settings):
        self.resources, self.settings, self.index = resources, settings, faiss.IndexFlatIP(width)

    def add(self, vectors):
        assert isinstance(vectors, torch.Tensor) and vectors.is_contiguous()
        self.index.add(vectors.numpy())

    def search(self, queries, k):
        assert isinstance(queries, torch.Tensor) and queries.is_contiguous()
        products, found = self.index.search(queries.numpy(), k)
        return torch.from_numpy(products), torch.from_numpy(found)


class Resources:
    reserved = None

    def setTempMemory(self, size):  # noqa: N802  (FAISS's name)
        self.reserved = size


class Settings:
    device = None


def test_faiss_on_a_gpu_gets_tensors_its_device_and_little_scratch_memory(monkeypatch):
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatConfig", Settings, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", FakeGpuFaiss, raising=False)
    unit = normalize(torch.randn(30, 8), dim=-1)
    index = FaissGpuIndex(unit)
    queries = normalize(torch.randn(8, 4), dim=0).T  # not contiguous
    found, products = index.search(queries, 7)
    expected, same = TensorIndex(unit).search(queries, 7)
    assert torch.equal(found, expected)
    torch.testing.assert_close(products, same)
    assert index._resources.reserved == flat_index.GPU_SCRATCH < 2**27 and index._index.settings.device == 0


def test_a_memory_that_moves_to_another_device_is_searched_there(monkeypatch):
    """The meta device stands for a GPU: where tensors go, the index is made anew over the same unit keys."""
    made = []
    monkeypatch.setattr("unike_lib.knowledge.memory.flat_index", lambda unit: made.append(unit) or TensorIndex(unit))
    keys = torch.randn(6, 4)
    memory = Memory({2: keys, 3: keys}, {2: keys, 3: keys})
    assert memory.to(torch.device("cpu")) is memory and len(made) == 2
    memory.to(torch.device("meta"))
    assert [unit.device.type for unit in made[2:]] == ["meta", "meta"]
    found, cosines = memory.search(2, torch.randn(5, 4, device="meta"), 40)
    assert found.device.type == cosines.device.type == "meta" and found.shape == (5, 6)
    assert len(memory) == 6 and memory.values[2].device.type == "meta"


@pytest.mark.parametrize("kind", ["cpu", "meta"])
def test_the_index_is_chosen_by_the_device_of_the_keys(kind):
    index = flat_index.flat_index(torch.ones(2, 3, device=kind))
    assert isinstance(index, FaissIndex if kind == "cpu" else TensorIndex | FaissGpuIndex)
