"""The memory's search against a brute-force ranking."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unike_lib.knowledge.memory import Memory, load_memory


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 12), st.integers(1, 70), st.integers(0, 1000))
def test_ids_equal_brute_force(entries, width, k, seed):
    generator = torch.Generator().manual_seed(seed)
    keys, queries = torch.randn(entries, width, generator=generator), torch.randn(5, width, generator=generator)
    found = Memory({1: keys}, {1: keys}).search(1, queries, k)
    for query, ids in zip(queries, found, strict=True):
        cosines = [float(query @ key / query.norm() / key.norm()) for key in keys]
        best = sorted(range(entries), key=lambda i: -cosines[i])[:k]
        torch.testing.assert_close(torch.tensor([cosines[i] for i in ids]), torch.tensor([cosines[i] for i in best]))
        assert len(set(ids.tolist())) == min(k, entries)


def test_length_of_query_and_key_does_not_matter():
    keys = torch.randn(20, 4)
    scaled = Memory({0: keys * torch.rand(20, 1) * 9}, {0: keys})
    queries = torch.randn(3, 4)
    assert torch.equal(scaled.search(0, queries * 7, 5), Memory({0: keys}, {0: keys}).search(0, queries, 5))


def test_a_file_without_values_is_named(tmp_path):
    from unike_lib.io import write_tensors
    from unike_lib.types import InputError

    write_tensors(tmp_path / "m.safetensors", {"4.h_sem": torch.ones(2, 3)}, "mark")
    with pytest.raises(InputError, match=r"4\.h_pos"):
        load_memory(tmp_path / "m.safetensors")
