"""Tokens run behind kept keys and values, against whole rows, each by itself, in Hugging Face's own forward."""

import pytest
import torch
from patches import latent_shift, patch_of
from test_families import QUERIES as CHATS
from tiny_families import QWEN, tiny_family
from tiny_models import QUERIES, WIDTH

from unike_lib.backbones.kv_cache import KVCache, forward_with_cache
from unike_lib.editing.patch import Part, Patch
from unike_lib.knowledge.memory import Memory

CLOSE = {"atol": 3e-5, "rtol": 1e-4}


def written_behind(backbone, batch, parts, chosen, edit=None):
    """Run prompts, then parts of answers for the rows left: logits of the last part, [row, token, vocabulary]."""
    decoder, past = backbone.decoder, KVCache(batch.context(), batch.positions, batch.sees)
    hidden = forward_with_cache(decoder, batch.embeddings, past, batch.mask, edit)
    for part in parts:
        past.select(torch.tensor(chosen.pop(0)))
        sizes = torch.tensor([len(ids) for ids in part])
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in part], batch_first=True, padding_value=9)
        real = torch.arange(ids.shape[1]) < sizes[:, None]
        hidden = forward_with_cache(decoder, backbone.embed(ids), past, real, edit)
    return decoder.logits(decoder.finish(hidden))


@torch.no_grad()
def test_answers_in_parts_say_what_the_whole_row_says(backbone):
    """Rows of other lengths, of which some end between the parts; parts of other lengths, too."""
    batch = backbone.encode(QUERIES, [[]] * 4)
    first, second = [[4, 5], [6], [7, 8, 9]], [[10, 11], [12]]
    logits = written_behind(backbone, batch, [first, second], [[1, 2, 3], [0, 2]])
    for place, (row, answer) in enumerate({1: [4, 5, 10, 11], 3: [7, 8, 9, 12]}.items()):
        prompt = batch.embeddings[row, : int(batch.lengths[row])]
        whole = torch.cat([prompt, backbone.embed(torch.tensor(answer))])
        theirs = backbone.model.language_model(inputs_embeds=whole[None]).logits[0]
        size = len(second[place])
        torch.testing.assert_close(logits[place, :size], theirs[-size:], **CLOSE)


@torch.no_grad()
def test_rows_that_go_on_keep_the_edit_that_they_began_with(backbone):
    """A shift of the attention outputs goes by what each row has read at its last prompt token."""
    draw = torch.Generator().manual_seed(0)
    entries = {layer: torch.randn(7, WIDTH, generator=draw) for layer in backbone.layers}
    patch = patch_of(1, shift=latent_shift(Memory(entries, entries), {}, top_k=2, alpha=0.4))
    batch, answers = backbone.encode(QUERIES, [[]] * 4), [[4, 5], [7, 8]]
    logits = written_behind(backbone, batch, [answers], [[1, 3]], patch)
    for place, row in enumerate([1, 3]):
        alone = backbone.encode(QUERIES[row : row + 1], [[]])
        theirs = written_behind(backbone, alone, [answers[place : place + 1]], [[0]], patch)
        torch.testing.assert_close(logits[place], theirs[0], **CLOSE)
        plain = written_behind(backbone, alone, [answers[place : place + 1]], [[0]])
        assert (plain[0] - theirs[0]).abs().max() > 1e-3


class Places(Part):
    """Remembers where the tokens under way stand."""

    def __init__(self):
        self.seen = []

    def block(self, layer, hidden, context):
        if layer.index == 0:
            places = None if context.positions is None else context.positions.tolist()
            self.seen.append((places, [row.tolist() for row in context.within("prompt", hidden.shape[1])]))
        return hidden


@torch.no_grad()
def test_an_edit_is_told_where_tokens_stand_in_their_rows(backbone):
    """Prompts from 0 on, padding included; what is written behind each as far as that row has come."""
    part = Places()
    batch = backbone.encode(QUERIES, [[]] * 4)
    written_behind(backbone, batch, [[[4, 5], [6]], [[7], [8]]], [[1, 3], [0, 1]], Patch(4, (part,)))
    (first, prompts), (second, answered), (third, _) = part.seen
    lengths, width = batch.lengths.tolist(), batch.embeddings.shape[1]
    assert first is None and prompts == [[place < length for place in range(width)] for length in lengths]
    one, other = lengths[1], lengths[3]
    assert second == [[one, one + 1], [other, other + 1]] and third == [[one + 2], [other + 1]]
    assert not any(map(any, answered))


@pytest.mark.parametrize("name", [*QWEN, "gemma3"])
@torch.no_grad()
def test_after_a_picture_on_a_grid_rows_go_on_at_their_own_positions(name):
    """Qwen2-VL: a picture takes fewer positions than tokens; rows with and without one, some of which end.

    Gemma 3: the tokens of a picture have seen each other both ways, and layers with a window go on with it.
    """
    backbone = tiny_family(name).backbone
    answers, chosen = [[5, 6], [7, 8]], [1, 2]
    logits = written_behind(backbone, backbone.encode(CHATS, [[]] * 4), [answers], [list(chosen)])
    whole = backbone.encode([CHATS[row] for row in chosen], answers)
    theirs = backbone.forward(backbone.run_below(whole))
    for place, length in enumerate(whole.lengths.tolist()):
        torch.testing.assert_close(logits[place], theirs[place, length - 2 : length], **CLOSE)


@pytest.mark.parametrize("split", [1, 4])
@torch.no_grad()
def test_layers_run_in_two_goes_are_all_layers(backbone, split):
    batch, depth = backbone.encode(QUERIES), len(backbone.decoder.layers)
    past, hidden = KVCache(batch.context()), batch.embeddings
    whole = forward_with_cache(backbone.decoder, hidden, KVCache(batch.context()), batch.mask)
    below = forward_with_cache(backbone.decoder, hidden, past, batch.mask, layers=range(split))
    above = forward_with_cache(
        backbone.decoder, below, KVCache(batch.context()), batch.mask, layers=range(split, depth)
    )
    torch.testing.assert_close(above, whole, **CLOSE)
