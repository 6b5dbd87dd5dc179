"""LiveEdit against values of its own code (liveedit_golden.safetensors names the commit), and by plain torch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from liveedit_twin import Hooked, asked_of, below, llama_of, of_case, renamed
from safetensors.torch import load_file
from test_half_precision import in_dtype
from test_patch import through_a_file
from test_sequences import BROKEN, SEQUENCES, edited, patched_logits, requests_at, seeing_broken
from tiny_models import LAYERS, QUERIES

import unike_lib.methods.liveedit.training as training
from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.editing.patch import Patch
from unike_lib.methods.liveedit.editor import LiveEdit, untrained
from unike_lib.methods.liveedit.experts import Experts
from unike_lib.methods.liveedit.network import LiveEditNetwork, Spans, similarity, soft_weights
from unike_lib.methods.liveedit.settings import LiveEditMethod
from unike_lib.types import EditRequest, Query

LAYER = 3
SMALL = LiveEditMethod(method="liveedit", layer=LAYER - LAYERS, width=8, heads=2, rank=3)
# What the original kept, by case and question.
KEPT = {
    "edits_one": {"edit_0": [0], "other_words_same_picture": [0], "near_picture": [0], "other": []},
    "edits_three_mixed": {
        "edit_0": [0, 1, 2], "other_words_same_picture": [1, 2], "near_picture": [1, 2], "other": [1, 2],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def golden():
    return load_file(Path(__file__).with_name("liveedit_golden.safetensors"))


def network_of(case):
    network = LiveEditNetwork(16, 16, 4, 4, 3)
    network.load_state_dict(renamed(below(case, "in.m.")))
    return network


def live_edit(backbone, strength=1.0):
    """An editor whose prototype is a picture that lies between those of the tests: some are nearer, others not."""
    torch.manual_seed(4 if backbone.decoder.names.gate is None else 11)
    network = untrained(backbone, SMALL, 3).requires_grad_(False)
    for name, value in network.named_parameters():
        value += 0.3 * torch.randn_like(value) * (5 if "outputs" in name else 1)
    batch = backbone.encode([Query("image-5", "what is this ?")])
    start = int(batch.picture[0, 0])
    network.prototype.copy_(backbone.run_below(batch, LAYER + 1).hidden[0, start : start + 3])
    return LiveEdit(backbone, network, LAYER, strength)


@pytest.mark.parametrize("name", KEPT)
def test_edits_and_questions_are_those_of_the_original(golden, monkeypatch, name):
    """Features, experts, which are kept and how far, the residual, and what the model says then."""
    case = of_case(golden, name)
    editor = LiveEdit(llama_of(case, 1, monkeypatch), network_of(case).requires_grad_(False), 1, 1.0)
    patch = editor.start(1)
    for number in range(len(case["out.evr_pool"])):
        names = f"in.picture_{number}", f"in.prompt_{number}", f"in.target_{number}"
        patch = editor.edit([EditRequest(str(number), "vqa", *names)], patch).patch
    experts = patch.part(Experts)
    pools = {"vision": "evr_pool", "text": "eqr_pool", "inputs": "moe_cs_pool", "outputs": "moe_rs_pool"}
    for part, pool in pools.items():
        torch.testing.assert_close(getattr(experts, part)[0], case[f"out.{pool}"], atol=1e-5, rtol=0)
    for asked, kept in KEPT[name].items():
        query = Query(f"in.q.{asked}.picture", f"in.q.{asked}.prompt", None)
        weights = weights_of(editor, experts, query)
        assert weights[0].nonzero()[:, 0].tolist() == kept
        torch.testing.assert_close(weights[:, kept], case[f"out.q.{asked}.weights"], atol=1e-5, rtol=0)
        logits = answer_logits(editor.backbone, [query], patch, everywhere=True).logits
        torch.testing.assert_close(logits, case[f"out.q.{asked}.logits"][0], atol=1e-4, rtol=0)
    text = answer_logits(editor.backbone, [Query(None, "in.prompt_0", None)], patch, everywhere=True).logits
    torch.testing.assert_close(text, case["out.text_only_logits"][0], atol=1e-4, rtol=0)


def weights_of(editor, experts, query):
    """What the experts' weights are where a question is read alone."""
    batch = editor.backbone.encode([query])
    states = editor.backbone.run_below(batch, editor.layer + 1).hidden
    return experts.weights(states, Spans.of(batch.context(), states.shape[1]))


def test_soft_weights_and_residual_are_those_of_the_original(golden):
    case = of_case(golden, "weights_and_residual")
    text = similarity(case["in.query_features"], case["in.expert_features"])
    weights = soft_weights(text, torch.ones_like(text, dtype=torch.bool))
    torch.testing.assert_close(weights, case["out.weights"], atol=1e-5, rtol=0)
    network = LiveEditNetwork(16, 16, 4, 4, 3)
    network.norm.load_state_dict(below(case, "in.norm."))
    ours = network.residual(case["in.reps"][None], case["in.U"][None], case["in.V"][None], weights[None, :1])
    torch.testing.assert_close(ours[0], case["out.residual_of_row_0"], atol=1e-5, rtol=0)


# What the original's code logged for this batch; its image locality is KL(edited || unedited).
LOGGED = {
    "loss_rel": 4.699045, "loss_t_gen": 4.635828, "loss_m_gen": 4.940480, "loss_m_loc": 0.003888298,
    "soft_routing": 2.505452, "hard_routing": 1.445060, "hard_routing_unrelated": 1.413770, "loss": 19.643522,
}  # fmt: skip


def test_a_training_step_has_the_losses_and_gradients_of_the_original(golden, monkeypatch):
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


def test_three_edits_of_two_sessions_equal_a_hooked_hugging_face_model(family, make_backbone, cases):
    """Row by row in plain torch: experts of three edits, which questions keep them, and the logits."""
    backbone, kept, found = make_backbone(family), set(), 0.0
    editor = live_edit(backbone)
    patch = edited(editor, cases)
    for session, order in enumerate(SEQUENCES):
        twin = Hooked(make_backbone(family), editor.network.state_dict(), 2, LAYER)
        for number in order:
            twin.edit(cases[number].request.query)
        for query, ours in zip(QUERIES, patched_logits(backbone, patch, session), strict=True):
            torch.testing.assert_close(ours, twin.logits(query), atol=1e-4, rtol=0)
            kept.add(tuple(share > 0 for share in twin.last))
            found = max(found, float((ours - twin.unedited(query)).abs().max()))
    assert len(kept) > 2 and (False,) * 3 in kept and found > 0.1  # some keep some of them


def test_answers_are_written_by_what_the_prompt_keeps(make_backbone, cases):
    """Token by token behind kept states, as by whole passes; a forced answer does not change what is kept."""
    backbone = make_backbone("minigpt4")
    patch = edited(live_edit(backbone), cases)
    query = replace(cases[0].request.query, answer=None)
    written = generate(backbone, [query] * 2, [[], []], patch, 4)
    for session, ids in enumerate(written):
        answer = list(ids)
        forced = answer_logits(backbone, [query], patch.select([session]), answers=[answer]).greedy[0]
        assert forced[: len(answer)] == answer
    states = torch.randn(2, 1, 16)
    experts, context = patch.part(Experts), PassContext(torch.tensor([5, 5]), positions=torch.tensor([[6]]))
    context.kept_by(experts, LAYER)["weights"] = torch.zeros(2, 3)
    assert experts.block(backbone.decoder.layers[LAYER], states, context) is states
    assert experts.block(backbone.decoder.layers[LAYER - 1], states, PassContext(torch.tensor([5, 5]))) is states


def test_an_edit_without_a_picture_is_kept_by_no_question(make_backbone, cases):
    backbone = make_backbone("blip2")
    editor = live_edit(backbone)
    text = EditRequest("text", "vqa", None, "what is a cat ?", "red")
    first = editor.edit([cases[0].request], editor.start(1)).patch
    alone, on = editor.edit([text], editor.start(1)), editor.edit([text], first)
    assert alone.failures == on.failures == (None,) and not alone.patch.part(Experts).live.any()
    for patch, before in ((alone.patch, None), (on.patch, first)):
        said = [answer_logits(backbone, [*QUERIES, text.query], each).logits for each in (patch, before)]
        torch.testing.assert_close(*said)


def test_a_failed_edit_is_undone(make_backbone, cases):
    backbone = seeing_broken(make_backbone("blip2"))
    editor = live_edit(backbone)
    start = editor.edit([BROKEN, cases[4].request], editor.start(2))
    assert start.failures == ("loss is not finite", None)
    assert all((value[0] == 0).all() for value in start.patch.tensors().values())
    first = editor.edit(requests_at(cases, 0), editor.start(2)).patch
    second = editor.edit([BROKEN, cases[4].request], first)
    on = editor.edit(requests_at(cases, 1), second.patch).patch
    beside = editor.edit(requests_at(cases, 1), editor.edit([cases[3].request, cases[4].request], first).patch).patch
    assert second.failures == ("loss is not finite", None)
    alone = editor.edit(requests_at(cases, 1), first).patch
    for session, other in ((0, alone), (1, beside)):
        for one, two in zip(*(patched_logits(backbone, patch, session) for patch in (on, other)), strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_experts_come_back_from_a_file_and_are_edited_on(make_backbone, cases, tmp_path):
    editor = live_edit(make_backbone("blip2"))
    first = editor.edit(requests_at(cases, 0), editor.start(2)).patch
    again = through_a_file(first, first, tmp_path)
    on, fresh = (editor.edit(requests_at(cases, 1), patch).patch for patch in (again, first))
    assert all(torch.equal(value, fresh.tensors()[name]) for name, value in on.tensors().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_experts_of_a_model_in_half_precision_are_in_float32(make_backbone, cases, dtype):
    backbone = in_dtype(make_backbone("blip2"), dtype)
    patch = edited(live_edit(backbone), cases)
    theirs = edited(live_edit(make_backbone("blip2")), cases)
    for name, value in patch.tensors().items():
        assert value.dtype == (torch.bool if name.endswith("live") else torch.float32)
        torch.testing.assert_close(value.float(), theirs.tensors()[name].float(), atol=0.2, rtol=0.1)
    assert answer_logits(backbone, QUERIES * 2, patch).logits.isfinite().all()


def test_strength_is_a_factor_on_the_residual(make_backbone, cases):
    backbone, added = make_backbone("minigpt4"), []
    batch = backbone.encode([cases[0].request.query])
    states = backbone.run_below(batch, LAYER + 1).hidden
    for strength in (1.0, 3.0):
        part = edited(live_edit(backbone, strength), cases).part(Experts).select([0])
        added.append(part.block(backbone.decoder.layers[LAYER], states, batch.context()) - states)
    torch.testing.assert_close(added[1], 3 * added[0], atol=1e-5, rtol=1e-4)
    assert added[0].abs().max() > 1e-3


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
