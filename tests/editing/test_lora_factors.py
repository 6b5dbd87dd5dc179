"""Factors of LoRA by themselves: their dropout in training, and those of many edits behind a scope."""

import torch
from test_lora_edits import REQUESTS, here, settings
from test_sequences import close, patched_logits
from tiny_models import QUERIES

from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.patch import Patch
from unike_lib.methods.lora.dropout import Dropout
from unike_lib.methods.lora.editor import Lora
from unike_lib.methods.lora.factors import LoraFactors, LoraFactorsPerEdit
from unike_lib.methods.shared.low_rank import LowRank
from unike_lib.methods.shared.per_edit import GivenShares


def test_dropout_takes_the_share_of_a_tokens_inputs_whatever_lies_beside_it():
    inputs = torch.ones(2, 400, 50)
    context, seeds = here(2), torch.tensor([3, 2**47])
    thinned = Dropout(0.2, seeds, 0).apply(inputs, 4, "up", context)
    kept = thinned != 0
    assert torch.equal(thinned.unique(), torch.tensor([0.0, 1 / 0.8])) and abs(float(kept.float().mean()) - 0.8) < 0.01
    for axis in ((0, 1), (0, 2)):  # no feature, no token is favoured
        assert (kept.float().mean(axis) - 0.8).abs().max() < 0.25
    # Of one session alone, of fewer tokens, or of tokens that are read in another order: the same numbers.
    one = Dropout(0.2, seeds[1:], 0)
    assert torch.equal(one.apply(inputs[1:, :7], 4, "up", here()), thinned[1:, :7])
    read = here()
    read.positions = torch.tensor([[9, 2]])
    assert torch.equal(one.apply(inputs[1:, :2], 4, "up", read), thinned[1:, [9, 2]])
    # Another step, layer, matrix, session or token: other numbers.
    others = [
        Dropout(0.2, seeds, 1).apply(inputs, 4, "up", context),
        *(Dropout(0.2, seeds, 0).apply(inputs, layer, name, context) for layer, name in ((3, "up"), (4, "down"))),
        thinned.flip(0),
        thinned.roll(1, 1),
        thinned.roll(1, 2),
    ]
    for other in others:
        assert abs(float((kept == (other != 0)).float().mean()) - (0.8**2 + 0.2**2)) < 0.02


def test_dropout_is_of_training_alone(backbone, monkeypatch):
    """Every step's own; what is left behind has none, and a matrix without factors none either."""
    editor, steps, apply = Lora(backbone, settings(dropout=0.5), 0), [], Dropout.apply
    monkeypatch.setattr(Dropout, "apply", lambda own, *given: steps.append(own.step) or apply(own, *given))
    outcome = editor.edit(REQUESTS[:2], editor.start(2))
    assert steps == [step for step in range(4) for _ in range(2 * len(backbone.layers))]
    assert outcome.patch.part(LoraFactors).dropout is None and outcome.failures == (None, None)
    plain = Lora(backbone, settings(), 0).edit(REQUESTS[:2], Patch(2)).patch
    assert not close(patched_logits(backbone, plain, 0), patched_logits(backbone, outcome.patch, 0), 0.01)
    a, b = torch.eye(4)[None], torch.eye(4)[None]
    part = Lora(None, settings(dropout=0.5, rank=4, alpha=4.0), 0).part(
        {(0, "up"): (a, b)}, Dropout(0.5, torch.tensor([1]), 0)
    )
    said = part.weight(0, "up", torch.ones(1, 30, 4), here())
    assert said.unique().tolist() == [0.0, 2.0] and part.weight(0, "down", torch.ones(1, 2, 4), here()) is None


def test_of_many_edits_a_row_runs_the_factors_of_the_one_that_it_means(backbone):
    """Two sessions of nine edits; each row against a model whose weights have that edit's change, so much smaller."""
    draw = torch.Generator().manual_seed(0)
    names = backbone.decoder.names.attention_matrices["v"], backbone.decoder.names.down
    shapes = {name: backbone.decoder.layers[4].part(name).weight.shape for name in names}
    factors = {
        (4, name): LowRank(*(torch.randn(2, 9, 2, size, generator=draw) * 0.4 for size in shape))
        for name, shape in shapes.items()
    }
    part, shares = LoraFactorsPerEdit.of(factors), torch.zeros(4, 9)
    shares[0, 7], shares[2, 4], shares[3, 0] = 0.9, 0.5, 0.4

    class RowShares(GivenShares):
        def begin(self, context):
            context.shares[None] = self.values.flatten(0, 1)

    def said(values):
        asked = answer_logits(backbone, QUERIES, Patch(2, (RowShares((None,), values.unflatten(0, (2, 2))), part)))
        return asked.logits.split(asked.where.sum(1).tolist())

    def alone(row, edits, share):
        own = {
            place: LowRank(
                f.outputs[[row // 2]][:, edits].flatten(1, 2) * share, f.inputs[[row // 2]][:, edits].flatten(1, 2)
            )
            for place, f in factors.items()
        }
        return answer_logits(backbone, [QUERIES[row]], Patch(1, (LoraFactors.of(own),))).logits

    meant = said(shares)
    for row, edit in ((0, [7]), (1, [0]), (2, [4]), (3, [0])):
        expected = alone(row, edit, float(shares[row, edit[0]]))
        torch.testing.assert_close(meant[row], expected, atol=2e-5, rtol=1e-4)
    for row, both in enumerate(said(torch.full((4, 1), 0.3))):  # one gate for all of them
        torch.testing.assert_close(both, alone(row, list(range(9)), 0.3), atol=5e-5, rtol=1e-4)
    whole = answer_logits(backbone, QUERIES, Patch(2, (part,)))
    torch.testing.assert_close(whole.logits[-1:], alone(3, list(range(9)), 1.0)[-1:], atol=5e-5, rtol=1e-4)
    nothing = torch.cat(said(torch.zeros(4, 9)))
    torch.testing.assert_close(nothing, answer_logits(backbone, QUERIES).logits, atol=1e-6, rtol=0)


def test_behind_a_scope_every_edit_has_factors_of_its_own(backbone):
    """As of a first edit, in the order of editing; where one failed they are zero, and the earlier ones stay."""
    editor = Lora(backbone, settings(scope="semantic"), 0)
    one, two = (editor.edit([REQUESTS[i], REQUESTS[2]], editor.start(2)).patch.parts[0] for i in (0, 1))
    both = one.append(two)
    assert isinstance(both, LoraFactorsPerEdit) and (one.edits, both.edits, LoraFactorsPerEdit().edits) == (1, 2, 0)
    plain = Lora(backbone, settings(), 0).edit([REQUESTS[1], REQUESTS[2]], Patch(2)).patch.part(LoraFactors)
    for name, value in plain.tensors().items():
        assert torch.equal(both.tensors()[name][:, 1], value)
    undone = both.revert(torch.tensor([False, True]), one)
    for name, value in both.tensors().items():
        assert torch.equal(undone.tensors()[name][1], value[1]) and not undone.tensors()[name][0, 1].any()
        assert torch.equal(undone.tensors()[name][0, 0], value[0, 0])
    assert not any(value[0].any() for value in one.revert(torch.tensor([False, True]), None).tensors().values())
