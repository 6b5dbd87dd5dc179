"""The semantic scope against formulas written out for one row at a time, and against models that are really changed."""

import math
from dataclasses import replace

import pytest
import torch
from neuron_knowledge import backbone_of, make_knowledge, settings
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
from unike_lib.methods.fine_tune.weight_changes import WeightChanges, WeightChangesPerEdit
from unike_lib.methods.lora.settings import LoraMethod
from unike_lib.methods.shared.neurons import NEURON_AXIS, ExtraNeurons, Neurons
from unike_lib.methods.shared.per_edit import GivenShares
from unike_lib.methods.shared.semantic_scope import LEAST, SemanticScope
from unike_lib.methods.t_patcher.settings import TPatcherMethod
from unike_lib.methods.unike_scope.editor import EditEntries
from unike_lib.methods.unike_scope.settings import UnikeScopeMethod

FAST = {"neurons": 2, "steps": 2, "memory_top": 4, "learning_rate": 0.05}
REQUESTS = [make_case(number, target).request for number, target in enumerate(["hot dog", "cat", "red owl", "blue"])]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return EditorSources(make_knowledge(tmp_path_factory.mktemp("knowledge")).folder)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scope_of(sessions, edits, *, pool=False, layers=(None,), read=(4,), dead=()):
    spaces = tuple(
        ScopeSpace(layer, torch.nn.functional.normalize(drawn(3, WIDTH, seed=layer), dim=1), torch.full((3,), 0.2),
                   torch.full((3,), 0.3), {"vqa": (0.1, 0.25), "caption": (0.3, 0.5)}, None)
        for layer in read
    )  # fmt: skip
    keys, text_keys = (
        torch.nn.functional.normalize(drawn(sessions, edits, len(read), WIDTH, seed=seed), dim=3) for seed in (9, 10)
    )
    live = torch.ones(sessions, edits, dtype=torch.bool)
    for place in dead:
        live[place] = False
    cuts = drawn(sessions, edits, len(read), seed=5) / 5, torch.full((sessions, edits, len(read)), 0.25)
    return SemanticScope(spaces, layers, False, pool, False, keys, text_keys, *cuts, live)


def shares_by_hand(scope, session, state, place=0):
    """One row, number by number."""
    cosine = lambda key: float(cosine_similarity(key, state, dim=0))  # noqa: E731
    near = [
        cosine(key) if live else -9
        for key, live in zip(scope.keys[session, :, place], scope.live[session], strict=True)
    ]
    edit = near.index(max(near))
    share = 1 / (1 + math.exp(-(near[edit] - float(scope.thresholds[session, edit, place])) / 0.25))
    rivals = list(scope.spaces[place].keys) if scope.pool_competes else []
    rivals += list(scope.text_keys[session, scope.live[session], place]) if scope.text_competes else []
    if share < LEAST or max(map(cosine, rivals), default=-9) > near[edit]:
        share = 0.0
    return [share * (number == edit) for number in range(len(near))]


@pytest.mark.parametrize(("pool", "texts"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_share_is_that_of_the_formula(pool, texts):
    """Rows of two sessions, three edits each of which one failed; every number by hand; one gate opens all alike."""
    scope = replace(scope_of(2, 3, pool=pool, dead=[(1, 0)]), text_competes=texts)
    states = 3 * drawn(12, 1, WIDTH, seed=2)
    states[6] = scope.keys[1, 1] + 1.5 * scope.text_keys[1, 0]  # nearer to the failed edit's text than to what it means
    found = scope.shares(states)
    expected = torch.tensor([shares_by_hand(scope, row // 6, states[row, 0]) for row in range(12)])
    torch.testing.assert_close(found[:, 0], expected, atol=1e-6, rtol=0)
    assert not found[6:, 0, 0].any() and found.max() < 1 and (found == 0).all(2).any() == (pool or texts)
    both = replace(scope, one_gate=True).shares(states)
    torch.testing.assert_close(both[:, 0], expected.amax(1, keepdim=True), atol=1e-6, rtol=0)


def test_of_two_edits_of_the_same_question_the_last_is_meant():
    scope = scope_of(1, 3)
    scope = replace(scope, keys=scope.keys[:, [0, 1, 0]])
    assert scope.shares(scope.keys[0, :1])[0, 0].gt(0).tolist() == [False, False, True]


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
        expected = [shares_by_hand(scope, 0, states[row, place], place) for row in range(2)]
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


def test_one_share_is_that_of_all_edits(family, make_backbone):
    """Two edits' neurons with .3 for both against a model whose FFNs are really wider, its new rows scaled."""
    backbone, groups = make_backbone(family), [random_neurons(family, 2, 1, 1), random_neurons(family, 2, 2, 1)]
    part = ExtraNeurons({4: groups[0]}, 2).append(ExtraNeurons({4: groups[1]}, 2))
    patch = Patch(1, (GivenShares((None,), torch.tensor([[[0.3]]])), part))
    ours = answer_logits(backbone, QUERIES, patch).logits
    twin = make_backbone(family)
    bake_neurons(twin, 4, replace(part.layers[4], values=0.3 * part.layers[4].values), 0)
    torch.testing.assert_close(ours, answer_logits(twin, QUERIES).logits, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["neurons", "weights", "entries"])
def test_of_many_edits_a_row_runs_the_one_that_it_means(backbone, family, kind):
    """Nine edits of which rows mean none or one: as a patch of that one alone, its effect so much smaller."""
    edits = 9
    part = {
        "neurons": lambda: ExtraNeurons({4: random_neurons(family, 2 * edits, 3)}, 2),
        "weights": lambda: WeightChangesPerEdit({5: {name: 0.1 * drawn(2, edits, *shape_of(backbone, name)) for name in
                                                     backbone.decoder.layers[5].names.ffn_matrices}}),
        "entries": lambda: EditEntries(0.5, {4: drawn(2, edits, WIDTH)}, torch.ones(2, edits, dtype=torch.bool)),
    }[kind]()  # fmt: skip
    shares = torch.zeros(4, edits)
    shares[0, 7], shares[2, 4], shares[3, 0] = 0.9, 0.5, 0.4
    whole = logits_with(backbone, part, shares)
    untouched = answer_logits(backbone, QUERIES)
    plain = untouched.logits.split(untouched.where.sum(1).tolist())
    torch.testing.assert_close(whole[1], plain[1], atol=1e-6, rtol=0)
    for row, edit in ((0, 7), (2, 4), (3, 0)):
        twin = Patch(1, (alone(part, row // 2, edit, float(shares[row, edit])),))
        expected = answer_logits(backbone, [QUERIES[row]], twin).logits
        torch.testing.assert_close(whole[row], expected, atol=2e-5, rtol=1e-4)
        assert (whole[row] - plain[row]).abs().max() > 1e-3
    torch.testing.assert_close(torch.cat(logits_with(backbone, part, torch.zeros(4, edits))), torch.cat(plain))


def alone(part, session, edit, share):
    """One edit of one session as a part without any scope, so much smaller."""
    if isinstance(part, EditEntries):
        return EditEntries(0.5 * share, {4: part.layers[4][[session]][:, [edit]]}, torch.ones(1, 1, dtype=torch.bool))
    if isinstance(part, WeightChangesPerEdit):
        return WeightChanges({5: {name: share * value[[session], edit] for name, value in part.layers[5].items()}})
    columns = torch.tensor([2 * edit, 2 * edit + 1])
    own = {name: value[[session]].index_select(NEURON_AXIS[name], columns) for name, value in
           part.layers[4].tensors().items()}  # fmt: skip
    return ExtraNeurons({4: Neurons(**{**own, "values": share * own["values"]})})


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


def test_entries_without_a_scope_are_attended_to_like_a_memory(backbone):
    """Two entries of which one is dead in the second session: Hugging Face's own projections of what lives."""
    layer, inputs, outputs = backbone.decoder.layers[4], drawn(2, 3, WIDTH), drawn(2, 3, WIDTH, seed=1)
    live = torch.tensor([[True, True], [False, True]])
    part = EditEntries(0.5, {4: drawn(2, 2, WIDTH, seed=2)}, live)
    found = part.attention(layer, inputs, outputs, PassContext(torch.tensor([2, 2])))
    for row in range(2):
        known, _ = layer.attend(inputs[[row]], part.layers[4][[row]][:, live[row]])
        torch.testing.assert_close(found[[row]], 0.5 * outputs[[row]] + 0.5 * known)
    one_gate = PassContext(torch.tensor([2, 2]), shares={None: torch.tensor([[0.2], [0.6]])})
    found = part.attention(layer, inputs, outputs, one_gate)
    known, _ = layer.attend(inputs[[1]], part.layers[4][[1]][:, [1]])
    torch.testing.assert_close(found[[1]], 0.7 * outputs[[1]] + 0.3 * known)


METHODS = {
    "t-patcher": lambda: TPatcherMethod(method="t-patcher", scope="semantic", **FAST),
    "fine-tune": lambda: FineTuneMethod(method="fine-tune", scope="semantic", steps=2, learning_rate=0.05),
    "unike-scope": lambda: UnikeScopeMethod(method="unike-scope", **FAST, top_k=3, edit_alpha=0.4),
    "memory of both": lambda: UnikeScopeMethod(method="unike-scope", **FAST, top_k=3, memory_of="both"),
    "h_sem of each layer": lambda: TPatcherMethod(method="t-patcher", scope="semantic", semantic_state="paper", **FAST),
    "no rivals": lambda: TPatcherMethod(method="t-patcher", scope="semantic", rivals="none", **FAST),
    "lora": lambda: LoraMethod(method="lora", scope="semantic", steps=2, learning_rate=0.05),
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


@pytest.mark.parametrize("name", METHODS)
def test_an_edit_of_a_session_is_what_it_would_be_as_its_first(sources, name):
    backbone = backbone_of("minigpt4")
    editor = build_editor(METHODS[name](), backbone, sources, 0)
    patch = editor.start(1)
    for request in REQUESTS[:3]:
        patch = editor.edit([request], patch).patch
    assert patch.part(SemanticScope).live.shape == (1, 3)
    for number, request in enumerate(REQUESTS[:3]):
        first = editor.edit([request], editor.start(1)).patch.tensors()
        for place, value in patch.tensors().items():
            if place.startswith("ExtraNeurons"):
                axis = NEURON_AXIS[place.rsplit(".", 1)[1]]
                value = value.unflatten(axis, (3, 2)).select(axis, number)
            elif first[place].shape[1] == 1:
                value = value[:, [number]]
            torch.testing.assert_close(value, first[place], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text_rival", [True, False])
def test_an_edit_about_a_picture_is_not_meant_by_its_question_alone(sources, text_rival):
    """The question without its picture is as near to the edit as can be below it; an edit of a text is still meant."""
    backbone = backbone_of("minigpt4")
    editor = build_editor(TPatcherMethod(method="t-patcher", scope="semantic", text_rival=text_rival, rivals="none",
                                         **FAST), backbone, sources, 0)  # fmt: skip
    request = next(each for each in REQUESTS if each.image is not None)
    alone = replace(request.query, image=None, answer=None)

    def shares(request, query):
        scope = editor.edit([request], editor.start(1)).patch.part(SemanticScope)
        return float(scope.shares(prompt_states(backbone, [query], [space.layer for space in scope.spaces])))

    assert shares(request, request.query) > 0.9 and (shares(request, alone) > 0) != text_rival
    assert shares(replace(request, image=None), alone) > 0.9


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
