"""A beginning that rows have in common is run once: the same states, logits, keys and values as without."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny_models import QUERIES

from unike_lib.backbones.edit import Trace
from unike_lib.backbones.generate import generate
from unike_lib.backbones.kv_cache import KVCache, forward_with_cache
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.backbones.speed import shared_start
from unike_lib.backbones.speed.shared_start import common_start, share_starts
from unike_lib.types import Query

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
# They agree in the picture, where a layout has nothing in front of it, and in all that stands before the prompt.
ALIKE = [Query("a", prompt, answer) for prompt, answer in (("what is this ?", "cat"), ("where ?", "red owl left"))]


@pytest.fixture
def twins(backbone, monkeypatch):
    """A backbone, and a copy whose rows share their beginning."""
    monkeypatch.setattr(shared_start, "FEWEST", 1)
    other = copy.deepcopy(backbone)
    share_starts(other.decoder)
    return backbone, other


@pytest.fixture
def run_tokens(twins):
    """How many tokens the sharing decoder's first layer is given, call by call."""
    counts = []
    layer = twins[1].decoder.layers[0]
    forward = layer.forward
    layer.forward = lambda hidden, *more: (counts.append(hidden.shape[:2].numel()), forward(hidden, *more))[1]
    return counts


def test_states_and_traces_are_the_same_and_fewer_tokens_are_run(twins, run_tokens):
    batch = twins[0].encode(ALIKE)
    count = common_start(batch.embeddings)
    assert 1 < count < int(batch.last_prompt.min())
    found = []
    for each in twins:
        trace = Trace()
        with torch.no_grad():
            hidden = each.decoder.start(batch.embeddings)
            hidden = each.decoder.run(hidden, range(len(each.decoder.layers)), context=batch.context(trace))
        found.append((hidden[batch.mask], trace.attention_inputs, trace.ffn_inputs))
    torch.testing.assert_close(*found, **CLOSE)
    rows, tokens = batch.mask.shape
    assert run_tokens == [count, rows * (tokens - count)]


def test_kept_keys_and_values_are_the_same(twins):
    batch = twins[0].encode(ALIKE)
    found = []
    for each in twins:
        past = KVCache(batch.context())
        with torch.no_grad():
            hidden = forward_with_cache(each.decoder, batch.embeddings, past, batch.mask)
        where = batch.mask[:, None, :, None]
        kept = [(layer.keys * where, layer.values * where) for layer in past.cache.layers]
        found.append((hidden[batch.mask], kept, past.mask))
    torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.parametrize("queries", [ALIKE, QUERIES, [ALIKE[0]] * 3], ids=["alike", "mixed", "equal"])
def test_answers_and_states_of_prompts_are_the_same(twins, queries):
    questions = [replace(query, answer=None) for query in queries]
    answers = [generate(each, questions, [[] for _ in questions], None, 6) for each in twins]
    assert answers[0] == answers[1]
    layers = range(len(twins[0].decoder.layers))
    torch.testing.assert_close(*(prompt_states(each, questions, layers) for each in twins), **CLOSE)


def test_what_rows_agree_in_is_counted_from_the_front_and_never_all():
    hidden = torch.arange(12.0).view(1, 6, 2).repeat(3, 1, 1)
    assert common_start(hidden) == 5
    hidden[1, 4] = 0.0
    assert common_start(hidden) == 4
    hidden[2, 0, 1] = 9.0
    assert common_start(hidden) == 0


def test_gradients_and_other_masks_are_left_as_they_are(twins, run_tokens):
    batch = twins[1].encode(ALIKE)
    whole = batch.mask.numel()
    hidden = twins[1].decoder.start(batch.embeddings)
    twins[1].decoder.run(hidden, [0])
    with torch.no_grad():
        every = torch.ones(len(ALIKE), batch.mask.shape[1], batch.mask.shape[1], dtype=torch.bool)
        twins[1].decoder.run(hidden, [0], sees=every)
    assert run_tokens == [whole, whole]
