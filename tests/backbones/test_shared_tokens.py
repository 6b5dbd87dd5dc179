"""Tokens that rows have in common are run once: the same states, answers, keys and values as without."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny_models import QUERIES

from unike_lib.backbones.edit import Trace
from unike_lib.backbones.generate import generate
from unike_lib.backbones.kv_cache import KVCache, forward_with_cache
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.backbones.speed import shared_tokens
from unike_lib.backbones.speed.shared_tokens import Alike, share_tokens
from unike_lib.types import Query

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
# They agree in what stands before the prompt, and two of them in more; the last is about no picture.
ALIKE = [
    Query("a", "what is this ?", "cat"),
    Query("a", "where ?", "red owl left"),
    Query("a", "what is that ?", "blue cat"),
    Query(None, "where ?", "owl"),
]


def beginnings(batch):
    """All beginnings of rows of embeddings, as bytes: what a loop over them finds."""
    rows = zip(batch.embeddings, batch.lengths.tolist(), strict=True)
    return [row[: token + 1].numpy().tobytes() for row, length in rows for token in range(length)]


@pytest.fixture
def twins(backbone, monkeypatch):
    """A backbone, and a copy whose rows share tokens."""
    monkeypatch.setattr(shared_tokens, "FEWEST", 1)
    other = copy.deepcopy(backbone)
    share_tokens(other.decoder)
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
    found = []
    for each in twins:
        trace = Trace()
        with torch.no_grad():
            hidden = each.decoder.start(batch.embeddings)
            masks = each.decoder.masks(hidden, None, None, batch.mask)
            hidden = each.decoder.through(hidden, range(len(each.decoder.layers)), masks, None, batch.context(trace))
        inner = [
            {index: states[batch.mask] for index, states in of_layers.items()}
            for of_layers in (trace.attention_inputs, trace.ffn_inputs)
        ]
        found.append((hidden[batch.mask], *inner))
    torch.testing.assert_close(*found, **CLOSE)
    assert run_tokens == [len(set(beginnings(batch)))] != [batch.mask.sum()]


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


def test_tokens_have_one_number_where_their_beginnings_are_equal(backbone):
    batch = backbone.encode(ALIKE)
    alike, known = Alike(batch.embeddings, batch.mask), beginnings(batch)
    numbers = alike.place[batch.mask].tolist()
    pairs = set(zip(numbers, known, strict=True))
    assert len(pairs) == len(set(numbers)) == len(set(known)) == len(alike.first)
    torch.testing.assert_close(alike.whole(alike.once(batch.embeddings))[batch.mask], batch.embeddings[batch.mask])


def test_equal_tokens_behind_different_ones_are_not_alike():
    hidden = torch.tensor([[1.0, 2, 3], [1, 2, 3], [1, 5, 3], [2, 2, 3]])[..., None]
    place = Alike(hidden, None).place.tolist()
    assert place[0] == place[1]
    assert place[0][0] == place[2][0] != place[3][0]
    assert len({place[0][1], place[2][1], place[3][1]}) == len({place[0][2], place[2][2], place[3][2]}) == 3


def test_equal_tokens_at_other_positions_are_not_alike():
    """As a layout with positions on a grid has them: the second rows' pictures are as long and of another shape."""
    hidden = torch.ones(3, 4, 2)
    grid = torch.tensor([[[0, 1, 1, 2]] * 3, [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 1, 3]]])
    first, second, third = Alike(hidden, None, grid).place.tolist()
    assert first == second and first[:2] == third[:2] and not {*first[2:]} & {*third[2:]}
    assert len({*first}) == 4 and len(Alike(hidden, None, torch.arange(4)[None]).first) == 4


def test_gradients_and_other_masks_are_left_as_they_are(twins, run_tokens):
    batch = twins[1].encode(ALIKE)
    whole = batch.mask.numel()
    hidden = twins[1].decoder.start(batch.embeddings)
    twins[1].decoder.run(hidden, [0])
    with torch.no_grad():
        every = torch.ones(len(ALIKE), batch.mask.shape[1], batch.mask.shape[1], dtype=torch.bool)
        twins[1].decoder.run(hidden, [0], sees=every)
    assert run_tokens == [whole, whole]
