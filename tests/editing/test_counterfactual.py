"""Routed answers against the mixture computed by hand, position by position, and against step-by-step decoding."""

from dataclasses import dataclass, replace

import pytest
import torch
from patches import contexts_of, patch_of, stored_in
from tiny_models import QUERIES, VOCABULARY

from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.editing.patch import Patch
from unike_lib.io import read_tensors, write_tensors
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.serac.counterfactual import CounterfactualMix
from unike_lib.types import Query

REACH = 4  # positions in front of the last prompt token that the second model has something to say about
EDITS = tuple(Query(None, prompt, answer) for prompt, answer in [("name it", "owl"), ("a photo of", "red cat")])


@dataclass(frozen=True)
class HandMade:
    """Scope scores by the edit's prompt; logits that depend on edit, question and the tokens so far."""

    scores: dict[str, float]

    def scope(self, queries, edits):
        return torch.tensor([self.scores[edit.prompt] for edit in edits])

    def answer(self, queries, edits, answers, read):
        for query, edit, answer, count in zip(queries, edits, answers, read, strict=True):
            rows = [self.one(query, edit, [place]) for place in range(-REACH, 0)]
            rows += [self.one(query, edit, answer[:given]) for given in range(len(answer) + 1)]
            yield torch.stack(rows[-count:])

    def one(self, query, edit, given):
        seed = sum(map(ord, query.prompt + edit.prompt + edit.answer)) * 31 + sum(i * t for i, t in enumerate(given, 7))
        return 4 * torch.randn(len(VOCABULARY), generator=torch.Generator().manual_seed(seed))


def routed(scores, edits=EDITS, sessions=2, **say):
    router = HandMade(dict(zip((edit.prompt for edit in EDITS), scores, strict=True)))
    return patch_of(
        sessions,
        stored=CounterfactualMix(
            router, ((edits[:1]), (edits[1:]))[:sessions], **({"mixture": "soft", "positions": "all"} | say)
        ),
    )


def positions(replies):
    """Yield (index into the logits, row, position after the last prompt token or a negative one)."""
    for index, (row, token) in enumerate(replies.where.nonzero().tolist()):
        yield index, row, token - int(replies.batch.last_prompt[row])


def second_at(patch, backbone, row, step):
    """The second model's logits a number of steps after the last prompt token; None where it has none."""
    query, edit = QUERIES[row], EDITS[row // 2]
    if step < 0:
        return stored_in(patch).router.one(query, edit, [step]) if step >= -REACH else None
    return stored_in(patch).router.one(query, edit, backbone.answer_ids(query.answer)[:step] if query.answer else [])


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("reach", ["all", "answer"])
def test_soft_mixes_probabilities_by_the_score(backbone, everywhere, reach):
    scores = (0.3, 0.8)
    patch = routed(scores, positions=reach)
    plain, mixed = (answer_logits(backbone, QUERIES, p, everywhere=everywhere) for p in (Patch(2), patch))
    seen = set()
    for index, row, step in positions(mixed):
        before, share = plain.logits[index], scores[row // 2]
        other = second_at(patch, backbone, row, step)
        seen.add((step < 0, other is None))
        if other is None or (step < 0 and reach == "answer"):
            assert torch.equal(mixed.logits[index], before)
            continue
        expected = (1 - share) * before.softmax(-1) + share * other.softmax(-1)
        torch.testing.assert_close(mixed.logits[index].softmax(-1), expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(mixed.logits[index].exp().sum(), torch.tensor(1.0))
    assert seen == ({(False, False), (True, False), (True, True)} if everywhere else {(False, False)})


@pytest.mark.parametrize("reach", ["all", "answer"])
def test_hard_takes_whole_rows_above_a_half(backbone, reach):
    """A score of exactly 0.5 keeps the backbone (the toolkit's own comparison)."""
    scores = (0.5, 0.5000001)
    patch = routed(scores, mixture="hard", positions=reach)
    plain, switched = (answer_logits(backbone, QUERIES, p, everywhere=True) for p in (None, patch))
    for index, row, step in positions(switched):
        other = second_at(patch, backbone, row, step)
        keeps = row < 2 or other is None or (step < 0 and reach == "answer")
        assert torch.equal(switched.logits[index], plain.logits[index] if keeps else other)


def test_some_rows_read_whole_and_others_from_their_last_prompt_token_on(backbone):
    patch, whole = routed((0.3, 0.8)), [True, False, False, True]
    everywhere, mixed = (answer_logits(backbone, QUERIES, patch, everywhere=rows) for rows in (True, whole))
    wanted = [
        index for index, row, step in positions(everywhere) if whole[row] or step >= 0
    ]  # answers alone of the others
    torch.testing.assert_close(mixed.logits, everywhere.logits[wanted], atol=1e-5, rtol=1e-5)


def test_score_zero_is_the_backbone_and_score_one_the_second_model(backbone):
    patch = routed((0.0, 1.0))
    plain, mixed = (answer_logits(backbone, QUERIES, p, everywhere=True) for p in (None, patch))
    for index, row, step in positions(mixed):
        other = second_at(patch, backbone, row, step)
        if row < 2 or other is None:
            assert torch.equal(mixed.logits[index], plain.logits[index])
        else:
            torch.testing.assert_close(mixed.logits[index], other.log_softmax(-1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("scores", "winner"), [((0.9, 0.4), 0), ((0.4, 0.9), 1), ((0.5, 0.5), 1)])
def test_the_best_edit_answers_and_of_equal_ones_the_latest(backbone, scores, winner):
    both = patch_of(1, stored=replace(stored_in(routed(scores)), edits=(EDITS,)))
    alone = patch_of(1, stored=replace(stored_in(both), edits=(EDITS[winner : winner + 1],)))
    assert torch.equal(*(answer_logits(backbone, QUERIES, patch).logits for patch in (both, alone)))


def test_sessions_without_edits_stay_as_they_are(backbone):
    patch = patch_of(2, stored=replace(stored_in(routed((0.7, 0.7))), edits=((), EDITS)))
    plain, mixed = (answer_logits(backbone, QUERIES, p) for p in (None, patch))
    first = mixed.where.nonzero()[:, 0] < 2
    assert torch.equal(mixed.logits[first], plain.logits[first])
    assert not torch.allclose(mixed.logits[~first].softmax(-1), plain.logits[~first].softmax(-1), atol=1e-3)


def test_generation_is_step_by_step_argmax_of_the_mixture(backbone):
    scores = (0.55, 0.9)
    patch, length = routed(scores), 5
    backbone.model.generation_config.eos_token_id = 5
    expected = []
    for row, query in enumerate(QUERIES):
        given: list[int] = []
        while len(given) < length:
            batch = backbone.encode([query], [given])
            before = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0, -1]
            other = stored_in(patch).router.one(query, EDITS[row // 2], given)
            mixture = (1 - scores[row // 2]) * before.softmax(-1) + scores[row // 2] * other.softmax(-1)
            if int(mixture.argmax()) in backbone.stop_tokens:
                break
            given.append(int(mixture.argmax()))
        expected.append(given)
    assert generate(backbone, QUERIES, [[]] * 4, patch, length) == expected
    assert generate(backbone, QUERIES, [[9, 9]] * 4, patch, length) == expected
    # The first session ends at once, the second model is asked about the other one's questions.
    assert generate(backbone, QUERIES, [*expected[:2], [], []], patch, length) == expected
    assert expected != generate(backbone, QUERIES, [[]] * 4, None, length)


def test_patches_keep_contexts_and_routes(tmp_path, backbone):
    patch = routed((0.3, 0.8), mixture="hard", positions="answer").append(Contexts(("red owl ", "on the left ")))
    whole = answer_logits(backbone, QUERIES, patch)
    half = answer_logits(backbone, QUERIES[2:], patch.select([1]))
    torch.testing.assert_close(half.logits, whole.logits[whole.where.nonzero()[:, 0] >= 2], atol=1e-5, rtol=0)
    write_tensors(tmp_path / "patch.safetensors", patch.tensors(), "fingerprint")
    start = Patch(2, (replace(stored_in(patch), edits=((), ())), Contexts(("", ""))))
    assert start.with_tensors(read_tensors(tmp_path / "patch.safetensors")) == patch
    assert patch.select([1]).concat([patch.select([0])]) == patch.select([1, 0])


def test_kept_returns_failed_sessions_to_their_earlier_contexts_and_edits():
    later = routed((0.3, 0.8)).append(Contexts(("a b ", "c d ")))
    keep = torch.tensor([False, True])
    assert contexts_of(later.revert(keep, Patch(2))) == ("", "c d ")
    assert stored_in(later.revert(keep, Patch(2))).edits == ((), EDITS[1:])
    earlier = Patch(2, (replace(stored_in(later), edits=((EDITS[1],), ())), Contexts(("a ", "c "))))
    assert contexts_of(later.revert(keep, earlier)) == ("a ", "c d ")
    assert stored_in(later.revert(keep, earlier)).edits == ((EDITS[1],), EDITS[1:])
