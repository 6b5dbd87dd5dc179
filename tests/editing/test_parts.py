"""The hooks of a part against hooks on Hugging Face's own layers; the folds of every part against plain indexing."""

from dataclasses import dataclass

import pytest
import torch
from patches import factors_of, patch_of
from test_patch import SESSIONS, dense, random_factors, random_neurons, shifted
from tiny_models import QUERIES, VISUAL_TOKENS, WIDTH

from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.editing.patch import Part, Patch
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.serac.counterfactual import CounterfactualMix
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
    stored = CounterfactualMix(None, edits)
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


def test_a_patch_is_empty_as_long_as_its_parts_are(backbone, family):
    assert Patch(2).empty and Patch(2, (Contexts(("", "")), CounterfactualMix(None, ((), ())))).empty
    assert all(not Patch(3, (part,)).empty for part in every_part(backbone, family).parts)
