"""Training of LiveEdit: a step of its own code (liveedit_golden.safetensors), losses by hand, and what is refused."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from liveedit_twin import Hooked, asked_of, below, llama_of, of_case, renamed
from taught import taught_losses
from test_liveedit import LAYER, SMALL, golden, live_edit, network_of  # noqa: F401
from tiny_models import LAYERS

import unike_lib.methods.liveedit.training as training
from unike_lib.editing.building import EditorSources, build_editor, train_editor
from unike_lib.editing.patch import Patch
from unike_lib.method import default_methods, resolve_method
from unike_lib.methods.liveedit.editor import LiveEdit, edited_layer, untrained
from unike_lib.methods.liveedit.network import LiveEditNetwork
from unike_lib.methods.liveedit.settings import LiveEditMethod
from unike_lib.types import EditRequest, InputError

# What the original's code logged for its batches; its image locality is KL(edited || unedited).
LOGGED = {
    "train_three": {
        "loss_rel": 4.699045, "loss_t_gen": 4.635828, "loss_m_gen": 4.940480, "loss_m_loc": 0.003888298,
        "soft_routing": 2.505452, "hard_routing": 1.445060, "hard_routing_unrelated": 1.413770, "loss": 19.643522,
    },
    "train_two_other_layer": {
        "loss_rel": 5.361414, "loss_t_gen": 5.079846, "loss_m_gen": 4.803986, "loss_m_loc": 0.001524576,
        "soft_routing": 2.150129, "hard_routing": 1.166062, "hard_routing_unrelated": 0.989636, "loss": 19.552599,
    },
}  # fmt: skip
# Which pairs it drew: 0 the edit, 1 with other words, 2 with its other picture, 3 image locality.
PAIRS = {
    "train_three": [[[0, 2, 0], [0, 0, 2]], [[1, 3, 3], [3, 0, 2]]],
    "train_two_other_layer": [[[3, 0], [3, 0]], [[3, 0], [1, 3]]],
}


@pytest.mark.parametrize(("name", "layer", "edits"), [("train_three", 1, 3), ("train_two_other_layer", 2, 2)])
def test_a_training_step_has_the_losses_and_gradients_of_the_original(golden, monkeypatch, name, layer, edits):  # noqa: F811
    """Its rows pass the edited layer twice (the last one, too): given as they are, the rest is the same."""
    case = of_case(golden, name)
    backbone, network = llama_of(case, layer, monkeypatch), network_of(case)
    settings = LiveEditMethod(method="liveedit", width=16, heads=4)
    recipe = training.LiveEditRecipe(LiveEdit(backbone, network, layer, 1.0), settings, 0)
    kinds = ("rel", "gen.text_rephrase", "gen.image_rephrase"), ("loc.image_loc",)
    given = iter([asked_of(case, each, edits, network, backbone, layer) for each in kinds])
    masks = iter([case[f"in.mask.{kind}"].bool() for kind in ("reliability", "generality", "locality")])
    pairs = torch.tensor(PAIRS[name])
    monkeypatch.setattr(recipe, "_asked", lambda trunk: next(given))
    monkeypatch.setattr(recipe, "_pairs", lambda edits: (pairs[0], pairs[1]))
    monkeypatch.setattr(training, "probe_trunk", lambda *_: None)
    monkeypatch.setattr(training, "drawn_experts", lambda *_: next(masks))
    losses = recipe.losses(Patch(edits), [None] * edits)
    values = {term: float(value.detach()) for term, value in losses.items()}
    assert values == pytest.approx(LOGGED[name], rel=1e-4, abs=1e-6)
    losses["loss"].backward()
    expected, own = renamed(below(case, "out.grad.")), dict(network.named_parameters())
    largest = max(float(value.abs().max()) for value in expected.values())
    assert expected.keys() == own.keys()
    for weight, value in expected.items():
        torch.testing.assert_close(own[weight].grad, value, atol=1e-5 * largest, rtol=0)
    assert len(recipe.optimiser.param_groups[0]["params"]) == len(own)


@pytest.mark.parametrize("layer", [LAYER, LAYERS - 1])
def test_losses_are_those_of_a_model_whose_rows_pass_each_layer_once(family, make_backbone, cases, monkeypatch, layer):
    """Each question under its own edit's expert alone: cross-entropy of targets, KL(edited || unedited) of locality."""
    editor = live_edit(make_backbone(family), layer=layer)
    twin = Hooked(make_backbone(family), editor.network.state_dict(), 2, layer)
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


def test_pairs_are_drawn_as_often_as_in_the_original_and_the_first_experts_are_on(make_backbone):
    """A pair of one fact: a third unrelated questions, each with itself; else the edit 1/2, a rephrasing 1/4 each."""
    recipe = training.LiveEditRecipe(live_edit(make_backbone("blip2")), SMALL, 0)
    near, far = (Counter(map(tuple, drawn.T.tolist())) for drawn in recipe._pairs(20000))
    shares = {0: 1 / 2, 1: 1 / 4, 2: 1 / 4}
    expected = {(a, b): 2 / 3 * shares[a] * shares[b] for a in shares for b in shares} | {(3, 3): 1 / 3}
    assert {pair: count / 20000 for pair, count in near.items()} == pytest.approx(expected, abs=0.01)
    expected = {(a, 3): share / 2 for a, share in shares.items()} | {(3, a): share / 2 for a, share in shares.items()}
    assert {pair: count / 20000 for pair, count in far.items()} == pytest.approx(expected, abs=0.01)
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
    assert edited_layer(make_backbone("blip2"), LiveEditMethod(method="liveedit", layer=-1)) == 5
    assert edited_layer(make_backbone("blip2", (2, 4)), LiveEditMethod(method="liveedit")) == 2
    with pytest.raises(InputError, match="heads: expected a divisor of the backbone's width 16, found 3"):
        untrained(make_backbone("blip2"), LiveEditMethod(method="liveedit", width=9, heads=3), 3)
    with pytest.raises(ValueError, match="heads: expected a divisor of the width 10, found 8"):
        LiveEditMethod(method="liveedit", width=10)


def test_weights_have_the_shapes_and_the_spread_of_the_original():
    """A model 48 wide, features of 32: its `Attention(module_dim, d, qk=module_dim, v=d)`; variance 2 / size."""
    torch.manual_seed(0)
    shapes = {name: tuple(value.shape) for name, value in LiveEditNetwork(48, 32, 4, 6, 500).named_parameters()}
    for who in ("of_edits", "of_questions"):
        assert shapes[f"{who}.vision_queries"] == shapes[f"{who}.text_queries"] == (4, 32)
        for part in ("of_prompt", "of_picture", "of_text"):
            widths = {"query": (32, 32), "key": (32, 48), "value": (32, 48)}
            assert {each: shapes[f"{who}.{part}.{each}.weight"] for each in widths} == widths
    for side in ("inputs", "outputs"):
        assert shapes[f"{side}.queries"] == (6, 32)
        widths = {"query": (32, 32), "key": (32, 48), "value": (48, 48)}
        assert {each: shapes[f"{side}.attention.{each}.weight"] for each in widths} == widths
    assert shapes["prototype"] == (500, 48)
    network = LiveEditNetwork(48, 1024, 4, 4, 500)
    learned = network.of_edits.vision_queries, network.of_edits.text_queries, network.inputs.queries
    for values in (*learned, network.outputs.queries):
        assert float(values.detach().std()) == pytest.approx((2 / 4 / 1024) ** 0.5, rel=0.1)
    assert float(network.prototype.detach().std()) == pytest.approx((2 / 500 / 48) ** 0.5, rel=0.1)


def test_the_learning_rate_is_a_tenth_after_some_steps(make_backbone):
    settings = SMALL.model_copy(update={"cut_after": 2, "learning_rate": 0.5})
    recipe = training.LiveEditRecipe(live_edit(make_backbone("blip2")), settings, 0)
    rates = []
    for _ in range(4):
        rates.append(recipe.optimiser.param_groups[0]["lr"])
        recipe.step()
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05]) and LiveEditMethod(method="liveedit").cut_after == 10000


def test_shipped_values_are_a_variant(make_backbone):
    shipped = resolve_method(default_methods(), "liveedit-shipped")
    assert (shipped.layer, shipped.width, shipped.heads, shipped.rank) == (-11, 1024, 8, 4)
    assert (shipped.learning_rate, shipped.counterfactual_targets, shipped.teach_end) == (1e-4, 0, False)
    assert edited_layer(make_backbone("blip2"), shipped) == 0  # of models with fewer layers, the first
