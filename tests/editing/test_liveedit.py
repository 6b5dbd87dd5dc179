"""LiveEdit against values of its own code (liveedit_golden.safetensors names the commit), and by plain torch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from liveedit_twin import Hooked, below, llama_of, of_case, renamed
from safetensors.torch import load_file
from test_half_precision import in_dtype
from test_patch import through_a_file
from test_sequences import BROKEN, SEQUENCES, edited, patched_logits, requests_at, seeing_broken
from tiny_models import LAYERS, QUERIES

from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.methods.liveedit.editor import LiveEdit, untrained
from unike_lib.methods.liveedit.experts import Experts
from unike_lib.methods.liveedit.network import LiveEditNetwork, Spans, similarity, soft_weights
from unike_lib.methods.liveedit.settings import LiveEditMethod
from unike_lib.types import EditRequest, Query

LAYER = 3
SEEDS = {(LAYER, True): 44, (LAYER, False): 1, (LAYERS - 1, True): 52, (LAYERS - 1, False): 26}  # some keep some
EDITED = {"edits_one": 1, "edits_three_mixed": 1, "edits_two_last_layer": 2}
SMALL = LiveEditMethod(method="liveedit", layer=LAYER - LAYERS, width=8, heads=2, rank=3)
# What the original kept, by case and question; and behind which layer of three its experts stood.
KEPT = {
    "edits_two_last_layer": {
        "edit_0": [0], "other_words_same_picture": [0], "near_picture": [0], "other": [0],
    },
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


def live_edit(backbone, strength=1.0, layer=LAYER):
    """An editor whose prototype is a picture that lies between those of the tests: some are nearer, others not."""
    torch.manual_seed(SEEDS[layer, backbone.decoder.names.gate is None])
    network = untrained(backbone, SMALL, 3).requires_grad_(False)
    for name, value in network.named_parameters():
        value += 0.3 * torch.randn_like(value) * (5 if "outputs" in name else 1)
    batch = backbone.encode([Query("image-5", "what is this ?")])
    start = int(batch.picture[0, 0])
    network.prototype.copy_(backbone.run_below(batch, layer + 1).hidden[0, start : start + 3])
    return LiveEdit(backbone, network, layer, strength)


@pytest.mark.parametrize("name", KEPT)
def test_edits_and_questions_are_those_of_the_original(golden, monkeypatch, name):
    """Features, experts, which are kept and how far, the residual, and what the model says then."""
    case = of_case(golden, name)
    layer = EDITED[name]
    editor = LiveEdit(llama_of(case, layer, monkeypatch), network_of(case).requires_grad_(False), layer, 1.0)
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
        expected = case[f"out.q.{asked}.logits"][0]
        logits = answer_logits(editor.backbone, [query], patch, everywhere=True).logits
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        read = answer_logits(editor.backbone, [query], patch, keep=False).logits  # the last position alone
        torch.testing.assert_close(read, expected[-1:], atol=1e-4, rtol=0)
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


@pytest.mark.parametrize("layer", [LAYER, LAYERS - 1])
def test_three_edits_of_two_sessions_equal_a_hooked_hugging_face_model(family, make_backbone, cases, layer):
    """Row by row in plain torch: experts of three edits, which questions keep them, and the logits, kept states or not.

    Behind the last layer, too, where only answers are read and all of the prompt says what is kept.
    """
    backbone, kept, found = make_backbone(family), set(), 0.0
    editor = live_edit(backbone, layer=layer)
    patch = edited(editor, cases)
    for session, order in enumerate(SEQUENCES):
        twin = Hooked(make_backbone(family), editor.network.state_dict(), 2, layer)
        for number in order:
            twin.edit(cases[number].request.query)
        read = answer_logits(backbone, QUERIES, patch.select([session]), keep=False)
        answers = read.logits.split(read.where.sum(1).tolist())
        for query, ours, end in zip(QUERIES, patched_logits(backbone, patch, session), answers, strict=True):
            torch.testing.assert_close(ours, twin.logits(query), atol=1e-4, rtol=0)
            torch.testing.assert_close(end, ours[-len(end) :], atol=1e-5, rtol=0)
            kept.add(tuple(share > 0 for share in twin.last))
            found = max(found, float((ours - twin.unedited(query)).abs().max()))
    assert len(kept) > 2 and (False,) * 3 in kept and found > 0.1  # some keep some of them


def test_answers_are_written_by_what_the_prompt_keeps(make_backbone, cases):
    """Token by token behind kept states, as by whole passes; a forced answer does not change what is kept."""
    backbone = make_backbone("minigpt4")
    patch = edited(live_edit(backbone), cases)
    query = replace(QUERIES[0], answer=None)
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
    kept = second.patch.tensors()
    assert all(torch.equal(kept[name][0, :1], value[0]) for name, value in first.tensors().items())
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
    batch = backbone.encode(QUERIES)
    states = backbone.run_below(batch, LAYER + 1).hidden
    for strength in (1.0, 3.0):
        part = edited(live_edit(backbone, strength), cases).part(Experts).select([0])
        added.append(part.block(backbone.decoder.layers[LAYER], states, batch.context()) - states)
    torch.testing.assert_close(added[1], 3 * added[0], atol=1e-5, rtol=1e-4)
    assert added[0].abs().max() > 1e-3
