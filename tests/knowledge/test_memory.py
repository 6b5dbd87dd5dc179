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
    found, similarities = Memory({1: keys}, {1: keys}).search(1, queries, k)
    for query, ids, similarity in zip(queries, found, similarities, strict=True):
        cosines = [float(query @ key / query.norm() / key.norm()) for key in keys]
        best = sorted(range(entries), key=lambda i: -cosines[i])[:k]
        torch.testing.assert_close(torch.tensor([cosines[i] for i in ids]), torch.tensor([cosines[i] for i in best]))
        torch.testing.assert_close(similarity, torch.tensor([cosines[i] for i in ids]))
        assert len(set(ids.tolist())) == min(k, entries)


def test_length_of_query_and_key_does_not_matter():
    keys = torch.randn(20, 4)
    scaled = Memory({0: keys * torch.rand(20, 1) * 9}, {0: keys})
    queries = torch.randn(3, 4)
    assert torch.equal(scaled.search(0, queries * 7, 5)[0], Memory({0: keys}, {0: keys}).search(0, queries, 5)[0])


def test_a_file_without_values_is_named(tmp_path):
    from unike_lib.io import write_tensors
    from unike_lib.types import InputError

    write_tensors(tmp_path / "m.safetensors", {"4.h_sem": torch.ones(2, 3)}, "fingerprint")
    with pytest.raises(InputError, match=r"4\.h_pos"):
        load_memory(tmp_path / "m.safetensors", "last")


def test_encoded_keys_are_encoded_values(tmp_path):
    from unike_lib.io import write_tensors
    from unike_lib.knowledge.encoders import Encoder

    values, encoder = torch.randn(30, 3), Encoder(3, 4, 3, 2)
    names = ("h_sem", "h_pos", "h_pos_mean")
    write_tensors(
        tmp_path / "m.safetensors",
        {f"4.{n}": values * (n != "h_sem") + 1.0 * (n == "h_sem") for n in names},
        "fingerprint",
    )
    memory = load_memory(tmp_path / "m.safetensors", "last", encoders={4: encoder})
    query = torch.randn(1, 3)
    best = torch.nn.functional.cosine_similarity(encoder(values), query, dim=-1).argsort(descending=True)
    assert memory.search(4, query, 5)[0][0].tolist() == best[:5].tolist()


def test_values_for_some_of_the_keys_are_refused(tmp_path):
    from unike_lib.io import write_tensors
    from unike_lib.types import InputError

    tensors = {"4.h_sem": torch.ones(3, 2), "4.h_pos": torch.ones(2, 2), "4.h_pos_mean": torch.ones(2, 2)}
    write_tensors(tmp_path / "m.safetensors", tensors, "fingerprint")
    with pytest.raises(InputError, match=r"layer 4: .*found \[3, 2\] and \[2, 2\]"):
        load_memory(tmp_path / "m.safetensors", "last")
