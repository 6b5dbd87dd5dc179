"""Frozen layers of backbones whose pictures have places on a grid (Qwen2-VL) or are seen both ways (Gemma 3), kept."""

from dataclasses import replace

import pytest
import torch
from test_families import QUERIES, their_inputs
from tiny_families import LAYERS, QWEN, tiny_family

from unike_lib.backbones.no_cache import NoCache
from unike_lib.backbones.speed.state_cache import StateCache, cache_states

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


@pytest.fixture(scope="module", params=[*QWEN, "gemma3"])
def kept(request, tmp_path_factory):
    tiny, path = tiny_family(request.param), tmp_path_factory.mktemp("frozen") / "kept"
    lowest = max(1, tiny.backbone.layers[0])  # Qwen3-VL adds pictures behind the first two
    tiny.backbone.layers = tuple(range(lowest, LAYERS))
    cache_states(tiny.backbone, QUERIES, sorted({lowest, 3, 4}), path, "fingerprint")
    return tiny, StateCache(tiny.backbone, [path])


@torch.no_grad()
@pytest.mark.parametrize("first", [1, 3])
def test_layers_below_the_edited_ones_are_hugging_faces(kept, first):
    """The layers are run in two goes, frozen ones first, as they are not where all layers are edited."""
    tiny, _ = kept
    batch, first = tiny.backbone.encode(QUERIES), max(first, tiny.backbone.layers[0])
    ours = tiny.backbone.forward(tiny.backbone.run_below(batch, first))
    for row, query in enumerate(QUERIES):
        theirs = tiny.model(**their_inputs(tiny, query)).logits[0]
        torch.testing.assert_close(ours[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("first", [1, 2, 3])
def test_states_that_enter_a_layer_are_those_of_a_whole_pass(kept, first):
    backbone, frozen = kept[0].backbone, kept[1]
    batch, first = backbone.encode(QUERIES), max(first, backbone.layers[0])
    found, wanted = frozen.entering(QUERIES, batch, first), backbone.run_below(batch, first).hidden
    torch.testing.assert_close(found[batch.mask], wanted[batch.mask], **CLOSE)


@torch.no_grad()
def test_another_answer_is_run_at_its_own_positions(kept):
    backbone, frozen = kept[0].backbone, kept[1]
    rows = [replace(QUERIES[0], answer="owl on the left"), QUERIES[1]]
    batch = backbone.encode(rows)
    backbone.cache = frozen
    found, wanted = backbone.prepare(rows, 2).hidden, backbone.run_below(batch, 2).hidden
    backbone.cache = NoCache()
    torch.testing.assert_close(found[batch.mask], wanted[batch.mask], **CLOSE)
