"""What of padded rows is real, answered, or behind some token: two rows by hand; and states kept for the same rows."""

import torch
from tiny_models import QUERIES

from unike_lib.backbones.batch import Batch
from unike_lib.backbones.speed.state_cache import StateCache

ROWS = torch.arange(10.0).view(2, 5, 1)
BATCH = Batch(ROWS, torch.full((2, 5), -100), torch.tensor([1, 3]), torch.tensor([3, 5]))


def test_real_tokens_and_those_where_an_answer_is_predicted():
    assert BATCH.mask.int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert BATCH.answered.int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


def test_what_is_behind_some_tokens_begins_each_row():
    padded, real = BATCH.suffix(torch.tensor([2, 2]))
    assert padded[..., 0].tolist() == [[2, 0, 0], [7, 8, 9]] and real.int().tolist() == [[1, 0, 0], [1, 1, 1]]
    padded, real = BATCH.suffix(torch.tensor([3, 4]))
    assert padded[..., 0].tolist() == [[0], [9]] and real.tolist() == [[False], [True]]


def test_states_are_remembered_by_the_layer_that_they_enter(backbone):
    batch = backbone.encode(QUERIES)
    backbone.cache = StateCache(backbone)
    with backbone.cache.remembering():
        for first in (2, 4, 2):
            kept = backbone.prepare(QUERIES, first)
            torch.testing.assert_close(kept.hidden, backbone.run_below(batch, first).hidden, atol=0, rtol=0)
            assert kept.first == first
