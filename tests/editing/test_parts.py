"""The hooks of parts against hooks on Hugging Face's own layers; what a patch makes of them by hand."""

from dataclasses import dataclass, replace

import pytest
import torch
from patches import factors_of, patch_of
from test_patch import SESSIONS, dense, random_factors, random_neurons, shifted
from tiny_models import QUERIES, VISUAL_TOKENS, WIDTH

from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.editing.patch import Part, Patch, bytes_as_texts, texts_as_bytes
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.serac.counterfactual import CounterfactualMix
from unike_lib.methods.shared.low_rank import LowRankChanges
from unike_lib.methods.shared.neurons import ExtraNeurons
from unike_lib.methods.unike.latent_shift import Slots
from unike_lib.types import Query

LAYER = 4


@dataclass(frozen=True)
class Push(Part):
    """Adds a session's vector [session, d] to the states that leave a layer, on a span of tokens."""

    vectors: torch.Tensor
    span: str
    layer: int = LAYER

    @property
    def first_layer(self):
        return self.layer

    def tensors(self):
        return {"vectors": self.vectors}

    def with_tensors(self, tensors):
        return Push(tensors["vectors"], self.span, self.layer)

    def block(self, layer, hidden, context):
        if layer.index != self.layer:
            return hidden
        rows = self.vectors.repeat_interleave(len(hidden) // len(self.vectors), 0)
        return hidden + context.within(self.span, hidden.shape[1])[..., None] * rows[:, None]


def pushed(backbone, query, vector, span, layer, written=None):
    """Hugging Face's logits [token, vocabulary] of one row, a hook behind the layer."""
    batch = backbone.encode([query], None if written is None else [written])
    start = int(backbone.form.start_token_with_image) + len(backbone._ids(backbone.form.before_image))
    last, length = int(batch.last_prompt), int(batch.lengths)
    places = {
        "all": range(length),
        "prompt": range(last + 1),
        "picture": range(start, start + VISUAL_TOKENS) if query.image else [],
    }[span]
    mask = torch.tensor([float(place in places) for place in range(length)])[:, None]

    def push(module, inputs, output):
        states = output[0] if isinstance(output, tuple) else output
        moved = states + mask * vector
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = backbone.decoder.layers[layer].module.register_forward_hook(push)
    logits = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0]
    handle.remove()
    return batch, logits


@pytest.mark.parametrize("layer", [LAYER, 5])
@pytest.mark.parametrize("span", ["picture", "prompt", "all"])
def test_a_block_is_pushed_on_a_span_of_tokens(backbone, span, layer):
    """In whole passes, in those that read answers alone, and while an answer is written; also behind the last layer."""
    vectors = torch.randn(SESSIONS, WIDTH, generator=torch.Generator().manual_seed(3))
    patch = Patch(SESSIONS, (Push(vectors, span, layer),))
    for keep in (True, False):
        asked = answer_logits(backbone, QUERIES, patch, keep=keep)
        found = asked.logits.split(asked.where.sum(1).tolist())
        for row, (query, ours) in enumerate(zip(QUERIES, found, strict=True)):
            _, theirs = pushed(backbone, query, vectors[row // 2], span, layer)
            torch.testing.assert_close(ours, theirs[-len(ours) :], atol=5e-5, rtol=1e-4)
    plain = answer_logits(backbone, QUERIES)
    assert (plain.logits - asked.logits).abs().max() > 1e-2 or (span, layer) == ("picture", 5)
    answers = generate(backbone, QUERIES, [[]] * 4, patch, 4)
    for row, query in enumerate(QUERIES):
        written = []
        while len(written) < 4:
            _, logits = pushed(backbone, query, vectors[row // 2], span, layer, written)
            token = int(logits[-1].argmax())
            if token in backbone.stop_tokens:
                break
            written.append(token)
        assert answers[row] == written


def every_part(backbone, family):
    """A patch with a part of every kind, three sessions."""
    edits = tuple((Query(None, f"name {word}", word),) for word in ("cat", "red", "owl"))
    settings = {key: value for key, value in shifted(backbone, alpha=0.5).items() if key != "slots"}
    patch = patch_of(
        3, {5: random_neurons(family, 2, 1, 3)}, dense(random_factors(backbone, 2, 2, 3)), settings["shift"]
    )
    stored = CounterfactualMix(None, edits, "soft", "all")
    return patch.append(factors_part(backbone)).append(Contexts(("a ", "", "c d "))).append(stored)


def factors_part(backbone):
    return patch_of(3, factors=random_factors(backbone, 2, 3, 3)).parts[-1]


def test_every_part_folds_over_its_sessions(backbone, family):
    patch = every_part(backbone, family)
    whole, some = patch.tensors(), patch.select([2, 0]).tensors()
    assert {name.split(".")[0] for name in whole} == {type(part).__name__ for part in patch.parts} - {"LatentShift"}
    for name, value in whole.items():
        if value.dtype != torch.uint8:  # texts are as wide as their longest
            assert torch.equal(some[name], value[[2, 0]])
    again = patch.select([0]).concat([patch.select([1]), patch.select([2])])
    assert again.sessions == 3 and all(torch.equal(again.tensors()[name], value) for name, value in whole.items())
    ok = torch.tensor([True, False, True])
    both = Patch(3).append(factors_part(backbone)).append(factors_part(backbone))
    undone = both.revert(ok, Patch(3).append(factors_part(backbone)))
    rank = next(iter(next(iter(factors_of(undone).values())).values())).outputs
    assert bool((rank[1, 2:] == 0).all()) and bool((rank[[0, 2], 2:] != 0).any())


def test_a_later_edit_leaves_layers_alone_that_it_does_not_touch(backbone, family):
    factors = random_factors(backbone, 2)
    neurons = {layer: random_neurons(family, 2, layer) for layer in (3, 5)}
    shift = shifted(backbone)["shift"]
    slots = {layer: Slots(*torch.randn(2, SESSIONS, 1, WIDTH)) for layer in (3, 5)}
    for make, layers in (
        (ExtraNeurons, neurons),
        (LowRankChanges, factors),
        (WeightChanges, dense(factors)),
        (lambda own: replace(shift, own=own), slots),
    ):
        first, second = (make({layer: layers[layer]}) for layer in (3, 5))
        both, whole = first.append(second).tensors(), {**first.tensors(), **second.tensors()}
        assert both.keys() == whole.keys() and all(torch.equal(both[name], whole[name]) for name in whole)


def test_a_patch_is_empty_as_long_as_its_parts_are(backbone, family):
    assert Patch(2).empty and Patch(2, (Contexts(("", "")), CounterfactualMix(None, ((), ()), "soft", "all"))).empty
    assert all(not Patch(3, (part,)).empty for part in every_part(backbone, family).parts)


@dataclass(frozen=True)
class Scaled(Part):
    """Multiplies by a number, per session, in every hook; `told` stands in front of each question."""

    factors: torch.Tensor
    told: str = ""
    first: int | None = None

    @property
    def first_layer(self):
        return self.first

    def tensors(self):
        return {"factors": self.factors}

    def with_tensors(self, tensors):
        return replace(self, factors=tensors["factors"])

    def append(self, more):
        return replace(self, factors=self.factors * more.factors)

    def revert(self, ok, previous):
        return replace(self, factors=torch.where(ok, self.factors, previous.factors if previous else 1.0))

    def before(self, queries):
        return [replace(query, context=query.context + self.told) for query in queries]

    def act(self, values):
        return values * self.factors.repeat_interleave(len(values) // len(self.factors), 0)[:, None, None]

    def attention(self, layer, inputs, outputs, context):
        return self.act(outputs)

    def weight(self, layer, name, inputs, context):
        return self.act(inputs) if (layer, name) == (LAYER, "up") else None

    def ffn(self, layer, inputs, outputs, context):
        return self.act(outputs)

    def block(self, layer, hidden, context):
        return self.act(hidden)

    def after(self, queries, answers, read, logits):
        return 2 * logits + len(queries[0].context) + len(answers) + sum(read)


@dataclass(frozen=True)
class Moved(Scaled):
    """Adds the number instead; what comes first matters."""

    def append(self, more):
        return replace(self, factors=self.factors + more.factors)

    def act(self, values):
        return values + self.factors.repeat_interleave(len(values) // len(self.factors), 0)[:, None, None]

    def after(self, queries, answers, read, logits):
        return logits + 1


FACTORS, STEPS = torch.tensor([2.0, 3.0]), torch.tensor([10.0, 20.0])


def test_hooks_act_in_the_order_of_the_parts():
    """By hand: of 1, times 2 (session 0) or 3, plus 10 or 20; or the other way round."""
    scaled, moved = Scaled(FACTORS, "a "), Moved(STEPS, "b ")
    ones, asked = torch.ones(4, 1, 1), [Query(None, "q")] * 4
    for parts, texts, numbers, logit in (
        ((scaled, moved), "a b ", [12.0, 12.0, 23.0, 23.0], 2 * 5 + 0 + 4 + 4 + 1),
        ((moved, scaled), "b a ", [22.0, 22.0, 63.0, 63.0], 2 * (5 + 1) + 0 + 4 + 4),
    ):
        patch = Patch(2, parts)
        assert [query.context for query in patch.before(asked)] == [texts] * 4
        hooks = patch.attention(None, 0 * ones, ones, None), patch.ffn(None, 0 * ones, ones, None)
        for found in (*hooks, patch.block(None, ones, None)):
            assert found.flatten().tolist() == numbers
        # What a second model is asked has no context; all positions are read.
        assert float(patch.after(asked, [[]] * 4, [1] * 4, torch.tensor(5.0))) == logit


def test_what_parts_add_to_a_matrix_is_their_sum():
    inputs, parts = torch.ones(2, 1, 1), (Scaled(FACTORS), Contexts(("", "")), Moved(STEPS))
    added = lambda *parts: Patch(2, parts).weight(LAYER, "up", inputs, None)  # noqa: E731
    assert added(*parts).flatten().tolist() == [2 + 11, 3 + 21]
    assert added(*parts[1:]).flatten().tolist() == [11, 21] and added(parts[1]) is None and added() is None
    assert Patch(2, parts).weight(LAYER, "down", inputs, None) is None
    assert inputs.flatten().tolist() == [1, 1]


def test_further_edits_join_the_part_of_their_kind_where_it_stands():
    """A kind is a class, not what derives from it: no edit is lost, none is taken for another's."""
    patch = Patch(2).append(Moved(STEPS)).append(Scaled(FACTORS)).append(Contexts(("a ", ""))).append(Moved(STEPS))
    assert list(map(type, patch.parts)) == [Moved, Scaled, Contexts]
    assert patch.part(Moved).factors.tolist() == [20, 40] and patch.part(Scaled).factors.tolist() == [2, 3]
    fewer = patch.without(Scaled)
    assert list(map(type, fewer.parts)) == [Moved, Contexts] and fewer.part(Scaled) is None and fewer.sessions == 2
    again = fewer.append(Scaled(FACTORS))
    assert list(map(type, again.parts)) == [Moved, Contexts, Scaled]
    assert list(map(type, Patch(2).append(Scaled(FACTORS)).append(Moved(STEPS)).parts)) == [Scaled, Moved]


def test_what_failed_goes_back_kind_by_kind():
    earlier = Patch(2, (Contexts(("a ", "b ")), Moved(STEPS)))
    later = earlier.append(Moved(STEPS)).append(Scaled(FACTORS)).append(Contexts(("c ", "d ")))
    undone = later.revert(torch.tensor([False, True]), earlier)
    assert undone.sessions == 2 and list(map(type, undone.parts)) == [Contexts, Moved, Scaled]
    assert undone.part(Contexts).texts == ("a ", "d ") and undone.part(Moved).factors.tolist() == [10, 40]
    assert undone.part(Scaled).factors.tolist() == [1, 3]


def test_a_patch_knows_its_sessions_its_first_layer_and_its_tensors_by_part():
    patch = Patch(2, (Moved(STEPS, first=3), Scaled(FACTORS, first=0), Contexts(("a ", "b "))))
    assert patch.first_layer == 0 and patch.without(Scaled).first_layer == 3
    assert Patch(2, (Contexts(("a ", "b ")),)).first_layer is None is Patch(2).first_layer
    assert set(patch.tensors()) == {"Moved.factors", "Scaled.factors", "Contexts.texts"}
    other = patch.with_tensors({**patch.tensors(), "Moved.factors": torch.tensor([5.0, 6.0])})
    assert other.part(Moved).factors.tolist() == [5, 6] and other.part(Scaled).factors.tolist() == [2, 3]
    assert other.part(Moved).first == 3 and other.part(Contexts).texts == ("a ", "b ")
    assert patch.select([0, 1]) is patch and patch.select(range(2)) is patch
    swapped, four = patch.select([1, 0]), patch.select([1]).concat([patch, patch.select([0])])
    assert swapped.part(Moved).factors.tolist() == [20, 10] and swapped.part(Contexts).texts == ("b ", "a ")
    assert (swapped.sessions, four.sessions, patch.select([1]).sessions) == (2, 4, 1)
    assert four.part(Scaled).factors.tolist() == [3, 2, 3, 2] and four.part(Contexts).texts == ("b ", "a ", "b ", "a ")
    assert patch.concat([]).part(Moved).factors.tolist() == [10, 20]
    with pytest.raises(ValueError, match="shorter"):
        patch.concat([patch.without(Contexts)])


def test_a_part_that_acts_before_the_model_alone_is_the_models_own_answer_to_what_it_says(backbone):
    """No layer is edited: the pass begins where that of the unedited model does."""
    patch = Patch(2, (Contexts(("red owl ", "")),))
    for keep in (True, False):
        said = answer_logits(backbone, QUERIES, patch, keep=keep)
        ours = said.logits.split(said.where.sum(1).tolist())
        for row, (query, found) in enumerate(zip(QUERIES, ours, strict=True)):
            asked = replace(query, context="red owl " if row < 2 else "")
            whole = backbone.model.language_model(inputs_embeds=backbone.encode([asked]).embeddings).logits[0]
            torch.testing.assert_close(found, whole[-len(found) :], atol=5e-5, rtol=1e-4)
    alone = [generate(backbone, [query], [[]], patch.select([row // 2]), 4) for row, query in enumerate(QUERIES)]
    assert generate(backbone, QUERIES, [[]] * 4, patch, 4) == [answer for (answer,) in alone]


def test_a_part_changes_nothing_by_default():
    part, values, asked = Part(), torch.ones(2, 1, 1), [Query(None, "q")]
    assert part.first_layer is None and part.before(asked) is asked
    assert part.attention(None, None, values, None) is part.ffn(None, None, values, None) is values
    assert part.weight(0, "up", values, None) is None and part.block(None, values, None) is values
    assert part.after(asked, [[]], [1], values) is values


def test_texts_come_back_from_their_bytes():
    texts = ("", "a b ", "größer, 大きい ", "\n")
    assert bytes_as_texts(texts_as_bytes(texts)) == texts
    assert texts_as_bytes(texts).shape == (4, len(texts[2].encode())) and texts_as_bytes([]).shape == (0, 0)
    assert bytes_as_texts(texts_as_bytes([])) == ()
