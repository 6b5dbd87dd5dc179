"""The semantic scope against formulas written out for one row at a time, and against models that are really changed."""

import math
from dataclasses import replace

import pytest
import torch
from neuron_knowledge import backbone_of, make_knowledge, settings
from patches import neurons_of
from test_patch import bake_neurons, random_neurons
from tiny_models import QUERIES, WIDTH, make_case
from torch.nn.functional import cosine_similarity

from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.patch import Patch
from unike_lib.knowledge.scope import ScopeSpace
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.shared.neurons import NEURON_AXIS, ExtraNeurons, Neurons
from unike_lib.methods.shared.per_edit import NEAREST, GivenShares, WeightChangesPerEdit
from unike_lib.methods.shared.semantic_scope import LEAST, SemanticScope
from unike_lib.methods.t_patcher.settings import TPatcherMethod
from unike_lib.methods.unike_scope.editor import EditEntries
from unike_lib.methods.unike_scope.settings import UnikeScopeMethod
from unike_lib.types import EditRequest

FAST = {"neurons": 2, "steps": 2, "memory_top": 4, "learning_rate": 0.05}
REQUESTS = [make_case(number, target).request for number, target in enumerate(["hot dog", "cat", "red owl", "blue"])]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return EditorSources(make_knowledge(tmp_path_factory.mktemp("knowledge")).folder)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scope_of(sessions, edits, one_gate=False, layers=(None,), read=(4,), dead=()):
    spaces = tuple(
        ScopeSpace(layer, torch.nn.functional.normalize(drawn(5, WIDTH, seed=layer), dim=1), torch.full((5,), 0.2),
                   torch.full((5,), 0.3), {"vqa": (0.1, 0.25), "caption": (0.3, 0.5)}, None)
        for layer in read
    )  # fmt: skip
    keys = torch.nn.functional.normalize(drawn(sessions, edits, len(read), WIDTH, seed=9), dim=3)
    live = torch.ones(sessions, edits, dtype=torch.bool)
    for place in dead:
        live[place] = False
    cuts = torch.full((sessions, edits, len(read)), 0.1), torch.full((sessions, edits, len(read)), 0.25)
    return SemanticScope(spaces, layers, one_gate, keys, *cuts, live)


def share_by_hand(scope, session, edit, state, place=0):
    """One row and one edit, number by number."""
    weights = []
    for number, key in enumerate(scope.keys[session, :, place]):
        z = (float(cosine_similarity(key, state, dim=0)) - 0.1) / 0.25
        weights.append(math.exp(z) if scope.live[session, number] else 0.0)
    mine = (float(cosine_similarity(scope.keys[session, edit, place], state, dim=0)) - 0.1) / 0.25
    space = scope.spaces[place]
    others = [math.exp((float(cosine_similarity(key, state, dim=0)) - 0.2) / 0.3) for key in space.keys]
    share = weights[edit] / (sum(weights) + sum(others)) / (1 + math.exp(-mine))
    return share if share >= LEAST else 0.0


def test_a_share_is_that_of_the_formula():
    """Rows of two sessions, three edits each of which one failed; every number by hand; one gate is their sum."""
    scope, states = scope_of(2, 3, dead=[(1, 0)]), 3 * drawn(6, 1, WIDTH, seed=2)
    found = scope.shares(states)
    for row in range(6):
        expected = [share_by_hand(scope, row // 3, edit, states[row, 0]) for edit in range(3)]
        assert found[row, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert not found[3:, 0, 0].any() and found.max() < 1
    both = replace(scope, one_gate=True).shares(states)
    kept = torch.tensor([[sum(share_by_hand(replace(scope), row // 3, edit, states[row, 0]) for edit in range(3))]
                         for row in range(6)])  # fmt: skip
    torch.testing.assert_close(both[:, 0], kept, atol=3 * LEAST, rtol=0)


def test_a_share_below_a_thousandth_is_none():
    scope, states = scope_of(1, 2), -5 * drawn(1, 1, WIDTH, seed=2)
    scope = replace(scope, temperatures=torch.full((1, 2, 1), 0.05), thresholds=torch.full((1, 2, 1), 0.6))
    assert scope.shares(states).tolist() == [[[0.0, 0.0]]]


def test_shares_that_are_given_hold():
    context = PassContext(torch.zeros(2, dtype=torch.long), unedited=drawn(2, 1, WIDTH))
    context.shares = {None: torch.tensor([[0.25, 0.5], [0.75, 1.0]])}
    scope_of(1, 2).begin(context)
    assert context.shares_at(3).tolist() == [[0.25, 0.5], [0.75, 1.0]]


def test_each_edited_layer_may_have_a_share_of_its_own():
    scope, states = scope_of(1, 2, layers=(3, 5), read=(3, 5)), drawn(2, 2, WIDTH, seed=4)
    context = PassContext(torch.zeros(2, dtype=torch.long), unedited=states)
    scope.begin(context)
    for place, layer in enumerate((3, 5)):
        expected = [[share_by_hand(scope, 0, edit, states[row, place], place) for edit in range(2)] for row in range(2)]
        torch.testing.assert_close(context.shares_at(layer), torch.tensor(expected), atol=1e-6, rtol=0)
    assert context.shares_at(4) is None


def test_prompt_states_are_what_hugging_face_sees_before_a_layer(backbone):
    """Its own hidden states behind its own norm, one question at a time; answers make no difference."""
    found = prompt_states(backbone, QUERIES, (2, 5))
    for row, query in enumerate(QUERIES):
        batch = backbone.encode([replace(query, answer=None)])
        every = backbone.model.language_model(inputs_embeds=batch.embeddings, output_hidden_states=True).hidden_states
        for place, layer in enumerate((2, 5)):
            entering = every[layer][0, -1]
            torch.testing.assert_close(
                found[row, place], backbone.decoder.layers[layer].attention_input(entering), atol=1e-5, rtol=1e-5
            )


def behind(parts, shares):
    """A patch of one session whose edits have such shares [edit]."""
    return Patch(1, (GivenShares((None,), torch.tensor(shares)[None, None]), *parts))


def test_neurons_with_a_share_are_neurons_whose_values_are_so_much_smaller(family, make_backbone):
    """Two edits with shares .3 and 1 against a model whose FFNs are really wider, its new rows scaled."""
    backbone, groups = make_backbone(family), [random_neurons(family, 2, 1, 1), random_neurons(family, 2, 2, 1)]
    part = ExtraNeurons({4: groups[0]}, 2).append(ExtraNeurons({4: groups[1]}, 2))
    ours = answer_logits(backbone, QUERIES, behind([part], [0.3, 1.0])).logits
    twin = make_backbone(family)
    scaled = part.layers[4].values.clone()
    scaled[:, :2] *= 0.3
    bake_neurons(twin, 4, replace(part.layers[4], values=scaled), 0)
    torch.testing.assert_close(ours, answer_logits(twin, QUERIES).logits, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["neurons", "weights", "entries"])
def test_of_many_edits_only_the_nearest_run_and_the_result_is_the_same(backbone, family, kind):
    """Nine edits of which rows mean none, one or three: as if the patch had these edits alone."""
    edits = 9
    part = {
        "neurons": lambda: ExtraNeurons({4: random_neurons(family, 2 * edits, 3)}, 2),
        "weights": lambda: WeightChangesPerEdit({5: {name: 0.1 * drawn(2, edits, *shape_of(backbone, name)) for name in
                                                     backbone.decoder.layers[5].names.ffn_matrices}}),
        "entries": lambda: EditEntries(0.5, {4: drawn(2, edits, WIDTH)}, torch.ones(2, edits, dtype=torch.bool)),
    }[kind]()  # fmt: skip
    shares = torch.zeros(4, edits)
    shares[0, 7], shares[2, [1, 4, 8]], shares[3, 0] = 0.9, torch.tensor([0.5, 0.2, 1.0]), 0.4
    whole = logits_with(backbone, part, shares)
    for row in range(4):
        place = shares[row].nonzero()[:, 0]
        twin = patch_alone(part, row // 2, place, shares[row, place])
        expected = answer_logits(backbone, [QUERIES[row]], twin).logits
        torch.testing.assert_close(whole[row], expected, atol=2e-5, rtol=1e-4)
    plain = logits_with(backbone, part, torch.zeros(4, edits))
    untouched = answer_logits(backbone, QUERIES).logits
    torch.testing.assert_close(torch.cat(plain), untouched, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole[1], plain[1], atol=1e-6, rtol=0)
    assert all((whole[row] - plain[row]).abs().max() > 1e-3 for row in (0, 2, 3))


def patch_alone(part, session, edits, shares):
    """A patch of the edits of one session that a row means, as tensors that are so much smaller; no scope."""
    if isinstance(part, EditEntries):  # attention is not linear in entries: the share of one edit is its alpha
        own = EditEntries(0.5, {4: part.layers[4][[session]][:, edits]}, torch.ones(1, len(edits), dtype=torch.bool))
        return Patch(1, (GivenShares((None,), shares[None, None]), own)) if len(edits) else None
    own = part.select([session])
    if isinstance(part, WeightChangesPerEdit):
        changes = {name: (value[:, edits] * shares[:, None, None]).sum(1) for name, value in own.layers[5].items()}
        return Patch(1, (WeightChanges({5: changes}),))
    columns = torch.tensor([2 * edit + step for edit in edits.tolist() for step in (0, 1)], dtype=torch.long)
    by_axis = {name: value.index_select(NEURON_AXIS[name], columns) for name, value in own.layers[4].tensors().items()}
    by_axis["values"] = by_axis["values"] * shares.repeat_interleave(2)[:, None]
    return Patch(1, (ExtraNeurons({4: Neurons(**by_axis)}),))


def shape_of(backbone, name):
    return backbone.decoder.layers[5].part(name).weight.shape


def test_shares_hold_while_an_answer_is_written(backbone, family):
    """Greedy decoding that asks anew, with the whole text, for each token."""
    backbone.model.generation_config.eos_token_id = 6
    part = ExtraNeurons({4: random_neurons(family, 2, 3)}, 2)
    patch = Patch(2, (scope_of(2, 1), part))
    written = generate(backbone, QUERIES, [[]] * 4, patch, 5)
    for row, query in enumerate(QUERIES):
        alone, expected = patch.select([row // 2]), []
        while len(expected) < 5:
            token = int(answer_logits(backbone, [query], alone, [expected]).logits[-1].argmax())
            if token in backbone.stop_tokens:
                break
            expected.append(token)
        assert written[row] == expected
    assert written != generate(backbone, QUERIES, [[]] * 4, None, 5)


class RowShares(GivenShares):
    """Shares of every row [row, edit]."""

    def begin(self, context):
        context.shares[None] = self.values.flatten(0, 1)


def logits_with(backbone, part, shares):
    patch = Patch(2, (RowShares((None,), shares.unflatten(0, (2, 2))), part))
    asked = answer_logits(backbone, QUERIES, patch)
    return asked.logits.split(asked.where.sum(1).tolist())


def test_an_entry_is_attended_to_as_far_as_its_share_reaches(backbone):
    """Two entries, shares .2 and .6: softmax of logits plus log share, mixed in by alpha times the largest."""
    layer, inputs, outputs = backbone.decoder.layers[4], drawn(1, 3, WIDTH), drawn(1, 3, WIDTH, seed=1)
    part = EditEntries(0.5, {4: drawn(1, 2, WIDTH, seed=2)}, torch.ones(1, 2, dtype=torch.bool))
    context = PassContext(torch.tensor([2]), shares={None: torch.tensor([[0.2, 0.6]])})
    found = part.attention(layer, inputs, outputs, context)
    known, _ = layer.attend(inputs, part.layers[4], None, torch.log(torch.tensor([[0.2, 0.6]])))
    torch.testing.assert_close(found, 0.7 * outputs + 0.3 * known)
    everywhere = part.attention(layer, inputs, outputs, PassContext(torch.tensor([2])))
    known, _ = layer.attend(inputs, part.layers[4])
    torch.testing.assert_close(everywhere, 0.5 * outputs + 0.5 * known)


METHODS = {
    "t-patcher": lambda: TPatcherMethod(method="t-patcher", scope="semantic", **FAST),
    "fine-tune": lambda: FineTuneMethod(method="fine-tune", scope="semantic", steps=2, learning_rate=0.05),
    "unike-scope": lambda: UnikeScopeMethod(method="unike-scope", **FAST, top_k=3, edit_alpha=0.4),
    "memory of both": lambda: UnikeScopeMethod(method="unike-scope", **FAST, top_k=3, memory_of="both"),
    "h_sem of each layer": lambda: TPatcherMethod(method="t-patcher", scope="semantic", semantic_state="paper", **FAST),
    "one gate": lambda: TPatcherMethod(method="t-patcher", scope="semantic", gate="any", **FAST),
}


@pytest.mark.parametrize("name", METHODS)
def test_sequential_edits_behind_a_scope_equal_a_loop(sources, name):
    """Sessions side by side equal each alone; what an edit said stays when other questions are edited behind it."""
    backbone = backbone_of("minigpt4")
    editor = build_editor(METHODS[name](), backbone, sources, 0)
    both, singles = editor.start(2), [editor.start(1), editor.start(1)]
    for pair in (REQUESTS[:2], REQUESTS[2:]):
        both = editor.edit(pair, both).patch
        singles = [editor.edit([each], patch).patch for each, patch in zip(pair, singles, strict=True)]
    for session in range(2):
        ours = answer_logits(backbone, QUERIES, both.select([session])).logits
        alone = answer_logits(backbone, QUERIES, singles[session]).logits
        torch.testing.assert_close(ours, alone, atol=5e-3, rtol=0)
    answers = generate(backbone, QUERIES, [[]] * 4, both, 4)
    assert answers == [
        answer for session in range(2)
        for answer in generate(backbone, QUERIES[2 * session : 2 * session + 2], [[]] * 2, singles[session], 4)
    ]  # fmt: skip


def test_a_long_session_carries_the_nearest_edits_along_and_keeps_all(sources):
    """Six edits: the patch has every one, in order; each is as if it alone had been made, where scopes are apart."""
    backbone = backbone_of("minigpt4")
    editor = build_editor(METHODS["t-patcher"](), backbone, sources, 0)
    requests = [EditRequest(f"r{n}", "vqa", f"picture-{n}", "what is this ?", "cat") for n in range(NEAREST + 2)]
    editor = replace(
        editor,
        scope=replace(
            editor.scope, spaces=tuple(replace(space, by_task={"vqa": (2.0, 0.01)}) for space in editor.scope.spaces)
        ),
    )  # no edit means any other
    patch = editor.start(1)
    for request in requests:
        patch = editor.edit([request], patch).patch
    assert patch.part(SemanticScope).live.shape == (1, NEAREST + 2)
    for number, request in enumerate(requests):
        alone = neurons_of(editor.edit([request], editor.start(1)).patch)
        for layer, group in neurons_of(patch).items():
            own = group.values[:, 2 * number : 2 * number + 2]
            torch.testing.assert_close(own, alone[layer].values, atol=1e-4, rtol=1e-4)


def test_a_failed_edit_means_nothing_and_leaves_the_session_as_it_was(sources, monkeypatch):
    backbone = backbone_of("minigpt4")
    editor = build_editor(METHODS["unike-scope"](), backbone, sources, 0)
    before = editor.edit(REQUESTS[:2], editor.start(2)).patch
    descend = "unike_lib.methods.shared.neuron_training.descend"
    import unike_lib.methods.shared.neuron_training as training

    real = training.descend
    monkeypatch.setattr(descend, lambda *args: real(*args) & torch.tensor([False, True]))
    outcome = editor.edit(REQUESTS[2:], before)
    assert outcome.failures[0] is not None and outcome.failures[1] is None
    assert outcome.patch.part(SemanticScope).live.tolist() == [[True, False], [True, True]]
    for session, same in ((0, True), (1, False)):
        queries = [REQUESTS[2 + session].query]
        old = answer_logits(backbone, queries, before.select([session])).logits
        new = answer_logits(backbone, queries, outcome.patch.select([session])).logits
        assert torch.allclose(old, new, atol=1e-6) == same


def test_a_layer_goes_with_the_late_state_alone():
    with pytest.raises(ValueError, match="semantic_layer: 4 needs semantic_state: late"):
        TPatcherMethod(method="t-patcher", semantic_state="paper", semantic_layer=4)
    assert settings("t-patcher").scope == "none"
