"""Editors against autograd twins that change a real copy of the model, one session at a time."""

from dataclasses import replace

import pytest
import torch
from patches import changes_of, contexts_of, latent_shift, neurons_of, slots_of
from taught import taught_losses
from tiny_models import WIDTH
from torch.nn.functional import cross_entropy

from unike_lib.backbones.batch import IGNORED
from unike_lib.editing.editor import edit_loss, request_trunk
from unike_lib.editing.patch import Patch
from unike_lib.knowledge.encoders import Encoder, LayerEncoders
from unike_lib.knowledge.memory import Memory
from unike_lib.methods.fine_tune.editor import ON_CPU, FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.ike.editor import Ike
from unike_lib.methods.ike.settings import IkeMethod
from unike_lib.methods.shared.neuron_training import NeuronTrainer
from unike_lib.methods.t_patcher.editor import TPatcher
from unike_lib.methods.t_patcher.settings import TPatcherMethod
from unike_lib.methods.unike.editor import Unike, zeta_and_map
from unike_lib.methods.unike.latent_shift import LatentShift
from unike_lib.methods.unike.settings import UnikeMethod

LAYERS = (2, 3, 4, 5)


def ffn_inputs():
    return {layer: torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(layer)) for layer in LAYERS}


def tpatcher(backbone, **settings):
    method = TPatcherMethod(method="t-patcher", **{"steps": 5, "neurons": 3, "memory_top": 10, **settings})
    return TPatcher(NeuronTrainer(backbone, method, ffn_inputs(), 0))


def layer_encoders(seed):
    torch.manual_seed(seed)
    make = lambda width: Encoder(WIDTH, 8, width, 2).requires_grad_(False)  # noqa: E731
    zetas = {"truthfulness": torch.randn(6), "semantic": torch.randn(WIDTH)}
    maps = {"truthfulness": torch.randn(6, WIDTH), "semantic": torch.randn(WIDTH, WIDTH)}
    return LayerEncoders(make(6), make(WIDTH), zetas, maps)


def unike(backbone, **settings):
    method = UnikeMethod(
        method="unike", **{"steps": 5, "learning_rate": 1e-2, "neurons": 3, "memory_top": 10, "top_k": 4, **settings}
    )
    encoders = {layer: layer_encoders(layer) for layer in LAYERS}
    states = {layer: torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(9)) for layer in LAYERS}
    shift = latent_shift(Memory(states, states), {l: e.semantic for l, e in encoders.items()}, top_k=4)  # noqa: E741
    zetas = {l: zeta_and_map(e, method.zeta, l) for l, e in encoders.items() if method.zeta != "off"}  # noqa: E741
    return Unike(NeuronTrainer(backbone, method, ffn_inputs(), 0), method, shift if method.latent else None, zetas)


def fine_tune(backbone, **settings):
    return FineTune(backbone, FineTuneMethod(method="fine-tune", **{"steps": 4, "learning_rate": 1e-2, **settings}))


EDITORS = {"fine-tune": fine_tune, "t-patcher": tpatcher, "unike": unike}


def edited(editor, requests):
    return editor.edit(requests, editor.start(len(requests)))


def loss_after(backbone, requests, patch):
    return edit_loss(backbone, request_trunk(backbone, requests), patch).detach()


def test_edit_loss_is_the_mean_over_answer_tokens(backbone, cases):
    requests = [case.request for case in cases]
    losses = loss_after(backbone, requests, None)
    for request, loss in zip(requests, losses, strict=True):
        batch = backbone.encode([request.query])
        logits = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0]
        asked = batch.targets[0] != IGNORED
        torch.testing.assert_close(loss, cross_entropy(logits[asked], batch.targets[0][asked]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("ends", [True, False])
def test_fine_tuning_equals_adamw_on_the_real_weights(family, make_backbone, cases, ends):
    requests = [case.request for case in cases[:3]]
    outcome = edited(fine_tune(make_backbone(family), teach_end=ends), requests)
    for session, request in enumerate(requests):
        twin = make_backbone(family)
        layer = twin.decoder.layers[-1]
        weights = [layer.part(name).weight.requires_grad_(True) for name in layer.names.ffn_matrices]
        before = [weight.detach().clone() for weight in weights]
        optimiser = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0)
        for _ in range(4):
            batch = twin.encode([request.query])
            logits = twin.model.language_model(inputs_embeds=batch.embeddings).logits
            optimiser.zero_grad()
            taught_losses(logits[0], twin.answer_ids(request.target), ends).mean().backward()
            optimiser.step()
        for name, weight, old in zip(layer.names.ffn_matrices, weights, before, strict=True):
            change = changes_of(outcome.patch)[layer.index][name][session]
            torch.testing.assert_close(change, (weight - old).detach(), atol=2e-3, rtol=0)
            assert change.abs().max() > 1e-2


@pytest.mark.parametrize("name", EDITORS)
def test_editing_lowers_the_loss_and_a_session_does_not_depend_on_its_batch(backbone, cases, name):
    requests = [case.request for case in cases]
    editor = EDITORS[name](backbone, steps=20, **({"memory_weight": 0.05} if name != "fine-tune" else {}))
    outcome = edited(editor, requests)
    after = loss_after(backbone, requests, outcome.patch)
    assert outcome.failures == (None,) * 5
    assert (after < loss_after(backbone, requests, editor.start(5)) - 0.1).all()
    alone = loss_after(backbone, requests[2:3], edited(editor, requests[2:3]).patch)
    torch.testing.assert_close(alone[0], after[2], atol=2e-2, rtol=0)


@pytest.mark.parametrize("kind", ["random", "semantic", "truthfulness"])
def test_zeta_moves_all_values_by_beta_times_its_image(backbone, cases, kind):
    """With a learning rate that moves nothing, values are exactly beta zeta'."""
    editor = unike(backbone, zeta=kind, beta=0.3, learning_rate=1e-12, steps=1)
    patch = edited(editor, [cases[0].request]).patch
    for layer in LAYERS:
        zeta, fitted = zeta_and_map(layer_encoders(layer), kind, layer)
        expected = (0.3 * zeta @ fitted).expand(3, -1)
        torch.testing.assert_close(neurons_of(patch)[layer].values[0], expected, atol=1e-6, rtol=1e-5)


def test_random_zeta_has_the_length_of_the_true_one():
    parts = layer_encoders(1)
    images = [zeta @ fitted for zeta, fitted in (zeta_and_map(parts, k, 0) for k in ("random", "truthfulness"))]
    torch.testing.assert_close(images[0].norm(), images[1].norm())
    assert not torch.allclose(*images)


def test_per_edit_map_starts_at_the_fitted_one_and_learns(backbone, cases):
    frozen = edited(unike(backbone, zeta_map="per_edit", learning_rate=1e-12, steps=1), [cases[0].request]).patch
    fitted = edited(unike(backbone, learning_rate=1e-12, steps=1), [cases[0].request]).patch
    torch.testing.assert_close(neurons_of(frozen)[5].values, neurons_of(fitted)[5].values, atol=1e-6, rtol=1e-5)
    outcome = edited(unike(backbone, zeta_map="per_edit"), [cases[0].request, cases[1].request])
    assert outcome.failures == (None, None)


def test_only_latent_edits_nothing_intrinsic(backbone, cases):
    patch = edited(unike(backbone, intrinsic=False), [cases[0].request]).patch
    assert neurons_of(patch) == {} and patch.part(LatentShift) is not None


def test_intrin_and_ike_train_neurons_behind_the_context(backbone, cases):
    requests = [case.request for case in cases[:2]]
    told = Ike.from_cases(backbone, IkeMethod(method="ike", demonstrations=1), cases[2:])
    editor = replace(unike(backbone, latent=False, zeta="off", memory_weight=0.05, steps=20), ike=told)
    outcome = edited(editor, requests)
    context = edited(told, requests).patch
    assert contexts_of(outcome.patch) == contexts_of(context) and outcome.patch.part(LatentShift) is None
    for session, request in enumerate(requests):
        asked = replace(request.query, context=contexts_of(context)[session], style="plain")
        batch, group = backbone.encode([asked]), outcome.patch.select([session])
        logits = [backbone.forward(backbone.run_below(batch), patch)[0] for patch in (None, group)]
        before, after = (cross_entropy(each, batch.targets[0], ignore_index=IGNORED) for each in logits)
        assert after < before - 0.1
        alone = neurons_of(edited(editor, [request]).patch)[5].values
        torch.testing.assert_close(alone, neurons_of(group)[5].values, atol=5e-2, rtol=0)
    without = edited(replace(editor, ike=None), requests).patch
    assert not torch.allclose(neurons_of(without)[5].values, neurons_of(outcome.patch)[5].values, atol=1e-2)


def test_behind_long_contexts_sessions_are_edited_in_parts(backbone, cases, monkeypatch):
    """Two edits per session, one session at a time and all at once."""
    told = Ike.from_cases(backbone, IkeMethod(method="ike", demonstrations=0), cases)
    scoped = {"edit_slots": True, "retrieval_temperature": 0.5}
    editor = replace(unike(backbone, steps=1, **scoped), ike=told)
    found = []
    for tokens in (10_000, 1):
        monkeypatch.setattr("unike_lib.methods.unike.editor.TOKENS_PER_STEP", tokens)
        first = edited(editor, [case.request for case in cases[:3]])
        found.append(editor.edit([case.request for case in cases[1:4]], first.patch))
    whole, parts = found
    assert whole.failures == parts.failures and contexts_of(whole.patch) == contexts_of(parts.patch)
    assert whole.patch.part(Contexts).plain and parts.patch.part(Contexts).plain
    assert whole.patch.sessions == parts.patch.sessions == 3
    for layer, group in neurons_of(whole.patch).items():
        for name, value in group.tensors().items():
            torch.testing.assert_close(value, neurons_of(parts.patch)[layer].tensors()[name], atol=2e-3, rtol=0)
        for name, value in vars(slots_of(whole.patch)[layer]).items():
            torch.testing.assert_close(value, vars(slots_of(parts.patch)[layer])[name], atol=1e-5, rtol=0)


def test_sequential_edits_keep_earlier_neurons_and_add_new_ones(backbone, cases):
    editor = tpatcher(backbone)
    first = edited(editor, [cases[0].request]).patch
    second = editor.edit([cases[1].request], first).patch
    assert neurons_of(second)[5].keys.shape[2] == 6
    torch.testing.assert_close(neurons_of(second)[5].keys[:, :, :3], neurons_of(first)[5].keys, atol=0, rtol=0)


def test_a_session_that_explodes_fails_alone(backbone, cases):
    requests = [case.request for case in cases[:2]]
    editor = tpatcher(backbone, steps=3)
    good = edited(editor, requests)
    trainer = editor.trainer
    spoiled = NeuronTrainer(trainer.backbone, trainer.settings, trainer.ffn_inputs, 0)
    fresh = spoiled.new_neurons(requests, request_trunk(backbone, requests), Patch(2))
    for group in fresh.values():
        group.keys.data[0] = torch.nan
    object.__setattr__(spoiled, "new_neurons", lambda *_: fresh)
    outcome = edited(TPatcher(spoiled), requests)
    assert outcome.failures == ("loss is not finite", None)
    before = loss_after(backbone, requests, Patch(2))
    after = loss_after(backbone, requests, outcome.patch)
    torch.testing.assert_close(after[0], before[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(after[1], loss_after(backbone, requests, good.patch)[1], atol=1e-3, rtol=0)


@pytest.mark.parametrize("h_pos", ["last", "answer_mean"])
@pytest.mark.parametrize("memory_keys", ["h_sem", "encoded"])
def test_edit_slots_are_the_states_of_the_unedited_model(backbone, cases, memory_keys, h_pos):
    requests = [case.request for case in cases[:3]]
    editor = unike(backbone, intrinsic=False, edit_slots=True, memory_keys=memory_keys, h_pos=h_pos)
    patch = edited(editor, requests).patch
    assert not neurons_of(patch) and set(slots_of(patch)) == set(LAYERS)
    for session, request in enumerate(requests):
        batch = backbone.encode([request.query])
        output = backbone.model.language_model(inputs_embeds=batch.embeddings, output_hidden_states=True)
        start, length = int(batch.last_prompt), int(batch.lengths)
        for layer in LAYERS:
            module = backbone.decoder.layers[layer]
            states = module.part(module.names.attention_norm)(output.hidden_states[layer][0])
            value = states[-1] if h_pos == "last" else states[start + 1 : length].mean(0)
            key = states[start] if memory_keys == "h_sem" else editor.shift.encoders[layer](value)
            slots = slots_of(patch)[layer]
            torch.testing.assert_close(slots.values[session, 0], value, atol=1e-5, rtol=0)
            torch.testing.assert_close(slots.keys[session, 0], key, atol=1e-5, rtol=0)
    twice = editor.edit(requests, patch).patch
    assert slots_of(twice)[LAYERS[0]].keys.shape[1] == 2


def test_fine_tuning_gives_the_same_however_many_sessions_are_trained_at_once(backbone, cases, monkeypatch):
    """Five sessions that already have changes: all at once, and by two because the optimiser's room is small."""
    editor = FineTune(backbone, FineTuneMethod(method="fine-tune", steps=3, learning_rate=0.01))
    requests, again = [case.request for case in cases], [case.request for case in reversed(cases)]
    previous = editor.edit(requests, editor.start(5)).patch
    whole = editor.edit(again, previous)
    numbers = sum(value[0].numel() for changes in changes_of(previous).values() for value in changes.values())
    monkeypatch.setattr("unike_lib.methods.fine_tune.editor.OPTIMISER_BYTES", ON_CPU * 2 * 16 * numbers)
    asked = []
    monkeypatch.setattr(
        "unike_lib.methods.fine_tune.editor.request_trunk",
        lambda *args, **known: asked.append(len(args[1])) or request_trunk(*args, **known),
    )
    parts = editor.edit(again, previous)
    assert asked == [2, 2, 1] and parts.failures == whole.failures
    for layer, changes in changes_of(whole.patch).items():
        for name, change in changes.items():
            assert (changes_of(parts.patch)[layer][name] - change).norm() < 1e-3 * change.norm()
