"""What is read of rows of queries, what is best there, and what a second model is given."""

from dataclasses import dataclass, field

import pytest
import torch
from patches import latent_shift, patch_of
from tiny_models import QUERIES, VOCABULARY, WIDTH

from unike_lib.backbones.batch import Batch
from unike_lib.backbones.edit import Trace
from unike_lib.backbones.forward import AnswerLogits, answer_logits
from unike_lib.knowledge.encoders import Encoder
from unike_lib.knowledge.memory import Memory
from unike_lib.methods.serac.counterfactual import CounterfactualMix
from unike_lib.methods.shared.neurons import Neurons


@pytest.mark.parametrize("everywhere", [False, True, [True, False, False, True]])
def test_all_of_a_row_is_read_or_from_the_last_prompt_token_on(backbone, everywhere):
    replies = answer_logits(backbone, QUERIES, everywhere=everywhere)
    for row, read in enumerate(replies.where.tolist()):
        whole = everywhere if isinstance(everywhere, bool) else everywhere[row]
        answer = (QUERIES[row].answer or "").split()
        length = int(replies.batch.lengths[row])
        first = 0 if whole else length - len(answer) - 1
        assert [place for place, there in enumerate(read) if there] == list(range(first, length))
    assert len(replies.logits) == int(replies.where.sum())


@pytest.mark.parametrize("keep", [True, False])
def test_answers_that_are_given_take_the_place_of_the_own_ones(backbone, keep):
    answers = [[4, 5], [6], [], [7, 8, 9]]
    replies = answer_logits(backbone, QUERIES, None, answers, keep=keep)
    assert replies.answer_ids == answers and replies.where.sum(1).tolist() == [3, 2, 1, 4]
    for row, found in enumerate(replies.logits.split([3, 2, 1, 4])):
        prompt = backbone.encode(QUERIES[row : row + 1], [[]]).embeddings
        whole = torch.cat([prompt, backbone.embed(torch.tensor([answers[row]], dtype=torch.long))], 1)
        theirs = backbone.model.language_model(inputs_embeds=whole).logits[0]
        torch.testing.assert_close(found, theirs[-len(found) :], atol=5e-5, rtol=1e-4)


def hand_made(logits):
    """Two rows of three tokens, of which the second has padding; everything real is read."""
    batch = Batch(torch.zeros(2, 3, 1), torch.full((2, 3), -100), torch.tensor([1, 0]), torch.tensor([3, 2]))
    return AnswerLogits(batch, batch.mask, torch.tensor(logits), {}, None)


def test_the_best_id_may_be_any_of_the_vocabulary():
    replies = hand_made([[0.0, 0, 9], [0, 9, 0], [9, 0, 0], [0, 0, 9], [0, 9, 0]])
    assert replies.best.tolist() == [[2, 1, 0], [2, 1, 0]]
    assert replies.greedy == [[1, 0], [2, 1]]


def test_a_row_with_one_place_that_is_no_number_is_not_finite():
    good, bad = [1.0, 2, 3], [float("nan")] * 3
    assert hand_made([good, good, bad, good, good]).finite.tolist() == [False, True]
    assert hand_made([good, good, good, bad, good]).finite.tolist() == [True, False]
    assert hand_made([good] * 5).finite.tolist() == [True, True]


@pytest.mark.parametrize("keep", [True, False])
def test_alphas_are_means_over_the_shifted_layers(backbone, keep):
    torch.manual_seed(0)
    layers = backbone.layers
    entries = {layer: torch.randn(7, WIDTH) for layer in layers}
    encoders = {layer: Encoder(WIDTH, 8, WIDTH, 2).requires_grad_(False) for layer in layers}
    patch, trace = patch_of(1, shift=latent_shift(Memory(entries, entries), encoders, top_k=3)), Trace()
    backbone.forward(backbone.run_below(backbone.encode(QUERIES)), patch, trace=trace)
    for row, alpha in enumerate(answer_logits(backbone, QUERIES, patch, keep=keep).notes["alpha"].tolist()):
        by_layer = [float(trace.notes["alpha"][layer][row]) for layer in layers]
        assert alpha == pytest.approx(sum(by_layer) / len(layers), abs=1e-5)
    assert not answer_logits(backbone, QUERIES, keep=keep).notes


@dataclass(frozen=True)
class Listener:
    """A second model that remembers what it was asked."""

    asked: list = field(default_factory=list)

    def scope(self, queries, edits):
        return torch.ones(len(queries))

    def answer(self, queries, edits, answers, read):
        self.asked.extend(queries)
        return [torch.zeros(count, len(VOCABULARY)) for count in read]


def test_a_second_model_reads_questions_without_the_contexts_of_the_first(backbone):
    listener = Listener()
    route = CounterfactualMix(listener, ((QUERIES[0],), (QUERIES[1],)), "soft", "all")
    answer_logits(backbone, QUERIES, patch_of(2, contexts=("red owl ", "on the left "), stored=route))
    assert listener.asked == QUERIES


@torch.no_grad()
def test_the_pass_that_keeps_keys_is_edited_as_the_one_that_does_not(backbone):
    torch.manual_seed(0)
    gated = backbone.decoder.names.gate is not None
    parts = {"keys": torch.randn(1, WIDTH, 2), "key_bias": torch.randn(1, 2), "values": torch.randn(1, 2, WIDTH)}
    parts |= {"up": torch.randn(1, WIDTH, 2), "up_bias": torch.randn(1, 2)} if gated else {}
    patch = patch_of(1, {backbone.layers[0]: Neurons(**parts)})
    kept, other = (answer_logits(backbone, QUERIES, patch, keep=keep) for keep in (True, False))
    torch.testing.assert_close(kept.logits, other.logits, atol=2e-5, rtol=1e-5)
    assert (kept.logits - answer_logits(backbone, QUERIES).logits).abs().max() > 1e-2
