"""Training of LiveEdit: a step of its own code (liveedit_golden.safetensors), losses by hand, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from liveedit_twin import Hooked, asked_of, below, llama_of, of_case, renamed
from taught import taught_losses
from test_liveedit import LAYER, SMALL, golden, live_edit, network_of  # noqa: F401

import unike_lib.methods.liveedit.training as training
from unike_lib.editing.building import EditorSources, build_editor, train_editor
from unike_lib.editing.patch import Patch
from unike_lib.method import default_methods, resolve_method
from unike_lib.methods.liveedit.editor import LiveEdit, edited_layer, untrained
from unike_lib.methods.liveedit.settings import LiveEditMethod
from unike_lib.types import EditRequest, InputError

# What the original's code logged for this batch; its image locality is KL(edited || unedited).
LOGGED = {
    "loss_rel": 4.699045, "loss_t_gen": 4.635828, "loss_m_gen": 4.940480, "loss_m_loc": 0.003888298,
    "soft_routing": 2.505452, "hard_routing": 1.445060, "hard_routing_unrelated": 1.413770, "loss": 19.643522,
}  # fmt: skip


def test_a_training_step_has_the_losses_and_gradients_of_the_original(golden, monkeypatch):  # noqa: F811
    """Its rows pass the edited layer twice: given as they are, the rest of the step is the same."""
    case = of_case(golden, "train_three")
    backbone, network = llama_of(case, 1, monkeypatch), network_of(case)
    settings = LiveEditMethod(method="liveedit", width=16, heads=4)
    recipe = training.LiveEditRecipe(LiveEdit(backbone, network, 1, 1.0), settings, 0)
    kinds = ("rel", "gen.text_rephrase", "gen.image_rephrase"), ("loc.image_loc",)
    given = iter([asked_of(case, each, 3, network, backbone, 1) for each in kinds])
    masks = iter([case[f"in.mask.{kind}"].bool() for kind in ("reliability", "generality", "locality")])
    # Which pairs the original drew: 0 the edit, 2 with its other picture, 1 with other words, 3 image locality.
    pairs = torch.tensor([[[0, 2, 0], [0, 0, 2]], [[1, 3, 3], [3, 0, 2]]])
    monkeypatch.setattr(recipe, "_asked", lambda trunk: next(given))
    monkeypatch.setattr(recipe, "_pairs", lambda edits: (pairs[0], pairs[1]))
    monkeypatch.setattr(training, "probe_trunk", lambda *_: None)
    monkeypatch.setattr(training, "drawn_experts", lambda *_: next(masks))
    losses = recipe.losses(Patch(3), [None] * 3)
    assert {name: float(value.detach()) for name, value in losses.items()} == pytest.approx(LOGGED, rel=1e-4, abs=1e-6)
    losses["loss"].backward()
    expected, own = renamed(below(case, "out.grad.")), dict(network.named_parameters())
    largest = max(float(value.abs().max()) for value in expected.values())
    assert expected.keys() == own.keys()
    for name, value in expected.items():
        torch.testing.assert_close(own[name].grad, value, atol=1e-5 * largest, rtol=0)
    assert len(recipe.optimiser.param_groups[0]["params"]) == len(own)


def test_losses_are_those_of_a_model_whose_rows_pass_each_layer_once(family, make_backbone, cases, monkeypatch):
    """Each question under its own edit's expert alone: cross-entropy of targets, KL(edited || unedited) of locality."""
    editor = live_edit(make_backbone(family))
    twin = Hooked(make_backbone(family), editor.network.state_dict(), 2, LAYER)
    twin.plain.always = True  # in training experts are switched on, not chosen
    monkeypatch.setattr(training, "drawn_experts", lambda edits, own, generator: torch.eye(edits).bool())
    losses = training.LiveEditRecipe(editor, SMALL, 0).losses(Patch(3), cases[:3])
    expected = dict.fromkeys(("rel", "t_gen", "m_gen", "m_loc"), 0.0)
    for case in cases[:3]:
        twin.experts = []
        twin.edit(case.request.query)
        for kind in expected:
            query = case.query(kind)
            ids = twin.backbone.answer_ids(query.answer)
            after, before = twin.logits(query), twin.unedited(query)
            if kind == "m_loc":
                places = slice(len(after) - len(ids) - 1, -1)
                edited_, plain = after[places].log_softmax(1), before[places].log_softmax(1)
                loss = (edited_.exp() * (edited_ - plain)).sum(1)
            else:
                loss = taught_losses(after, ids, teach_end=False)
            expected[kind] += float(loss.mean()) / 3
    for kind, loss in expected.items():
        assert float(losses[f"loss_{kind}"]) == pytest.approx(loss, rel=1e-4, abs=1e-6)
    terms = [value for name, value in losses.items() if name != "loss"]
    assert float(losses["loss"]) == pytest.approx(float(sum(terms)), rel=1e-5) and len(terms) == 7


def test_pairs_are_of_one_fact_or_of_two_and_the_first_experts_are_on(make_backbone):
    recipe = training.LiveEditRecipe(live_edit(make_backbone("blip2")), SMALL, 0)
    near, far = (torch.cat(drawn, 1).T.tolist() for drawn in zip(*(recipe._pairs(50) for _ in range(8)), strict=True))
    assert {*map(tuple, near)} == {(a, b) for a in range(3) for b in range(3)} | {(3, 3)}
    assert {*map(tuple, far)} == {(a, 3) for a in range(3)} | {(3, b) for b in range(3)}
    for own in (True, False):
        drawn = torch.cat([training.drawn_experts(3, own, recipe.generator)[1:2] for _ in range(60)])
        first = {(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)}
        assert {*map(tuple, drawn.int().tolist())} == ({(a, 1, c) for a, _, c in first} if own else first)


def test_training_lowers_the_loss_and_its_network_is_the_editors(make_backbone, cases):
    """Edits without a picture are left out; the weights that come back are those of the best check."""
    backbone, text = make_backbone("minigpt4"), EditRequest("text", "vqa", None, "what is a cat ?", "red")
    settings = SMALL.model_copy(update={"steps": 12, "batch_size": 2, "eval_every": 4, "learning_rate": 0.02})
    split = [replace(cases[0], request=text), *cases[:2]]
    tensors, course = train_editor(settings, backbone, split, cases[3:], 0)
    assert course["step"].tolist() == [4, 8, 12] and course["loss"].iloc[-1] < course["loss"].iloc[0]
    assert tensors["prototype"].shape == (3, 16)
    editor = build_editor(settings, backbone, EditorSources(Path(), trained=tensors), 0)
    assert all(torch.equal(value, tensors[name]) for name, value in editor.network.state_dict().items())
    assert not any(value.requires_grad for value in editor.network.parameters())
    with pytest.raises(InputError, match="method-training edits: expected at least one"):
        train_editor(settings, backbone, split[:1], cases[3:], 0)
    with pytest.raises(InputError, match="trained with other settings or for another backbone"):
        wide = settings.model_copy(update={"width": 16})
        build_editor(wide, backbone, EditorSources(Path(), trained=tensors), 0)
    with pytest.raises(InputError, match="expected a trained editor of LiveEdit"):
        build_editor(settings, backbone, EditorSources(Path(), trained={}), 0)


def test_settings_that_do_not_fit_are_refused(make_backbone):
    with pytest.raises(InputError, match="layer: expected one before the last of 6 layers, found layer 5"):
        edited_layer(make_backbone("blip2", (5,)), LiveEditMethod(method="liveedit"))
    assert edited_layer(make_backbone("blip2", (2, 4)), LiveEditMethod(method="liveedit")) == 2
    with pytest.raises(InputError, match="heads: expected a divisor of the backbone's width 16, found 3"):
        untrained(make_backbone("blip2"), LiveEditMethod(method="liveedit", width=9, heads=3), 3)
    with pytest.raises(ValueError, match="heads: expected a divisor of the width 10, found 8"):
        LiveEditMethod(method="liveedit", width=10)


def test_shipped_values_are_a_variant(make_backbone):
    shipped = resolve_method(default_methods(), "liveedit-shipped")
    assert (shipped.layer, shipped.width, shipped.heads, shipped.rank) == (-11, 1024, 8, 4)
    assert (shipped.learning_rate, shipped.counterfactual_targets, shipped.teach_end) == (1e-4, 0, False)
    assert edited_layer(make_backbone("blip2"), shipped) == 0  # of models with fewer layers, the first
