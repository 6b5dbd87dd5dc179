"""New neurons, their losses and their training: by hand, and against a model that is widened for real (neuron_twin)."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from neuron_knowledge import BETA, LAYERS, NEURONS, backbone_of, make_knowledge, settings
from neuron_twin import Twin, session, steered, total_loss, train
from patches import neurons_of

from unike_lib.config.base import about
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.editor import request_trunk
from unike_lib.editing.optimise import descend, failures
from unike_lib.methods.shared import neuron_training as under_test
from unike_lib.methods.shared.neuron_training import NeuronSource, activation_loss, memory_loss
from unike_lib.methods.t_patcher.settings import TPatcherMethod
from unike_lib.methods.unike.editor import SteeredNeurons
from unike_lib.methods.unike.latent_shift import LatentShift
from unike_lib.types import EditRequest


@pytest.fixture
def backbone(family):
    return backbone_of(family)


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory):
    return make_knowledge(tmp_path_factory.mktemp("knowledge"))


def editor_of(backbone, method, knowledge, seed=0):
    return build_editor(method, backbone, EditorSources(knowledge.folder), seed)


def requests_of(cases):
    """Answers of one, two and three tokens: fewer than, as many as, and more than there are neurons."""
    chosen = [cases[1].request, cases[0].request, cases[2].request]
    assert [len(request.target.split()) for request in chosen] == [1, 2, 3]
    return chosen


def row_of(backbone, request):
    batch = backbone.encode([request.query])
    return batch.embeddings[0], request.target, int(batch.last_prompt)


def noisy(groups, seed, size=0.3):
    """Neurons on their way: nothing is zero, no two are equal."""
    generator = torch.Generator().manual_seed(seed)
    for group in groups.values():
        for value in group.tensors().values():
            value.data += size * torch.randn(value.shape, generator=generator)
    return groups


def test_activation_loss_by_hand():
    """u = (2, -1, 0.5): exp(-u) = (0.135, 2.718, 0.607), of which the two largest are averaged."""
    own = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, -2.0]])
    assert activation_loss(own, 2).tolist() == pytest.approx([1.6624, (math.e**2 + 1) / 2], abs=1e-4)
    assert activation_loss(own, 1).tolist() == pytest.approx([math.e, math.e**2])
    assert float(activation_loss(own, 9)[0]) == pytest.approx((math.exp(-2) + math.e + math.exp(-0.5)) / 3)


def test_memory_loss_by_hand():
    """Two neurons, two states: u_m + 3 = (3, 4, 2, 5), u_m - u_e + 2 = (-1, 0, 1, 4); each sum has its own largest."""
    memory, own = torch.tensor([[[0.0, 1.0], [-1.0, 2.0]]]), torch.tensor([[3.0, 0.0]])
    method = lambda top: settings("t-patcher", memory_top=top, memory_margin=-3.0, difference_margin=2.0)  # noqa: E731
    e = math.exp
    assert float(memory_loss(memory, own, method(1))) == pytest.approx(e(5) + e(4))
    assert float(memory_loss(memory, own, method(2))) == pytest.approx((e(5) + e(4)) / 2 + (e(4) + e(1)) / 2)
    every = (e(3) + e(4) + e(2) + e(5) + e(-1) + e(0) + e(1) + e(4)) / 4
    assert float(memory_loss(memory, own, method(1000))) == pytest.approx(every)


def test_the_paper_s_weights_and_margins_are_the_originals():
    """T-Patcher's released settings: top5_exp, top1000_exp, weights 1 and 5, margins 3 and -3, Adam 1e-2."""
    released = {"activation_top": 5, "memory_top": 1000, "activation_weight": 1, "memory_weight": 5}
    released |= {"memory_margin": -3, "difference_margin": 3, "learning_rate": 0.01}
    assert {name: about(TPatcherMethod, name).original.value for name in released} == released


@pytest.mark.parametrize("steps", [1, 3])
def test_a_session_fails_where_its_loss_or_what_it_learned_is_not_finite(steps):
    """Session 0: an infinite loss with a fine gradient; 1: a loss of zero whose gradient is infinite; 2: nothing."""
    learned = torch.tensor([[1.0], [0.0], [1.0]], requires_grad=True)
    extra = torch.ones(3, 2, requires_grad=True)
    losses = lambda: torch.stack([learned[0, 0] + math.inf, learned[1, 0].sqrt(), (learned + extra).square()[2].sum()])  # noqa: E731
    finite = descend([extra, learned], losses, torch.optim.Adam([extra, learned], lr=0.1), steps)
    assert finite.tolist() == [False, False, True]
    assert failures(finite) == ("loss is not finite", "loss is not finite", None)
    torch.testing.assert_close(learned[2].detach(), torch.tensor([1 - 0.1 * steps]), atol=0.01, rtol=0)


HALVES = {
    "t-patcher": ("t-patcher", {}),
    "no end": ("t-patcher", {"teach_end": False}),
    "shift": ("unike", {"zeta": "off"}),
    "zeta": ("unike", {"latent": False, "zeta_map": "per_edit"}),
    "both": ("unike", {}),
}


def midway(editor, fresh, method):
    """The neurons as they act after some training, with the learned scale or W_zeta where there is one."""
    if getattr(method, "zeta", "off") == "off":
        return NeuronSource(noisy(fresh, 2)), {}
    source = SteeredNeurons(noisy(fresh, 2), editor.zetas, BETA, method.zeta_map == "per_edit")
    generator = torch.Generator().manual_seed(77)
    for learned in source.learned.values():
        learned.data += 0.5 * torch.randn(learned.shape, generator=generator)
    return source, source.learned


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("half", HALVES)
def test_losses_equal_loops_over_a_widened_model(backbone, family, cases, knowledge, half, earlier):
    """The whole loss in every combination of weights and k, and its gradient; answers of one, two, three tokens."""
    name, changes = HALVES[half]
    method, requests = settings(name, **changes), requests_of(cases)
    editor = editor_of(backbone, method, knowledge)
    trunk, previous = request_trunk(backbone, requests, teach_end=method.teach_end), editor.start(3)
    if earlier:
        others = editor.trainer.new_neurons([requests[i] for i in (1, 2, 0)], trunk, previous)
        previous = previous.append(NeuronSource(noisy(others, 1)).detached())
    source, learned = midway(editor, editor.trainer.new_neurons(requests, trunk, previous), method)
    zetas = knowledge.zetas["truthfulness"]
    passes, groups, scales = [], [], []
    for number, request in enumerate(requests):
        twin = Twin(family, LAYERS, knowledge.shift() if previous.part(LatentShift) else None)
        groups.append(session(source.fresh, number))
        scales.append({layer: value[number].detach().clone().requires_grad_(True) for layer, value in learned.items()})
        for layer in LAYERS:
            new = steered(groups[-1][layer], BETA, zetas[layer], scales[-1].get(layer))
            twin.widen(layer, [*([session(neurons_of(previous), number)[layer]] if earlier else []), new])
        passes.append(twin.run(*row_of(backbone, request), neurons=NEURONS, teach_end=method.teach_end))
    for (w_a, k_a), (w_m, k_m) in itertools.product([(0, 1), (0.7, 1), (0.7, 5)], [(0, 4), (0.2, 4), (0.2, 1000)]):
        weights = {"activation_weight": w_a, "activation_top": k_a, "memory_weight": w_m, "memory_top": k_m}
        trainer = replace(editor.trainer, settings=method.model_copy(update=weights))
        with torch.no_grad():
            ours = trainer.losses(trunk, previous, source())
            theirs = [
                total_loss(*pair, knowledge.unrelated, trainer.settings) for pair in zip(passes, groups, strict=True)
            ]
        torch.testing.assert_close(ours, torch.stack(theirs), atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(editor.trainer.losses(trunk, previous, source()).sum(), source.parameters)
    for number, (seen, group, scale) in enumerate(zip(passes, groups, scales, strict=True)):
        leaves = [value for parts in group.values() for value in parts.values()] + list(scale.values())
        theirs = torch.autograd.grad(total_loss(seen, group, knowledge.unrelated, method), leaves)
        for mine, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine[number], expected, atol=1e-5, rtol=1e-3)


TRAINED = {
    "t-patcher": ("t-patcher", {}, {}),
    "no end": ("t-patcher", {"teach_end": False}, {}),
    "unike": ("unike", {}, {}),
    "per edit": ("unike", {"zeta_map": "per_edit", "zeta": "semantic", "top_k": 2}, {"top_k": 2}),
    "no shift": ("unike", {"shift_in_training": False, "beta": 0.9}, None),
    "encoded": (
        "unike",
        {"memory_keys": "encoded", "h_pos": "answer_mean", "zeta": "off"},
        {"keys": "encoded", "values": "h_pos_mean"},
    ),
}


@pytest.mark.parametrize("kind", TRAINED)
def test_editing_equals_adam_on_a_widened_model(backbone, family, cases, knowledge, kind):
    """Two edits, one on top of the other, in two sessions; every loss is on. Independent of the editors' own code."""
    name, changes, memory = TRAINED[kind]
    method = settings(name, **changes)
    editor = editor_of(backbone, method, knowledge)
    patch, frozen = editor.start(2), [{layer: [] for layer in LAYERS} for _ in range(2)]
    short, _, long = requests_of(cases)
    for requests in ((short, long), (long, short)) if kind in ("t-patcher", "unike") else ((short, long),):
        unseen = patch if kind != "no shift" else patch.without(LatentShift)
        start = editor.trainer.new_neurons(requests, request_trunk(backbone, requests), unseen)
        outcome = editor.edit(requests, patch)
        assert outcome.failures == (None, None) and outcome.patch.part(LatentShift) == patch.part(LatentShift)
        for number, request in enumerate(requests):
            shift = None if name == "t-patcher" or memory is None else knowledge.shift(**memory)
            space = getattr(method, "zeta", "off")
            known = knowledge.unrelated, knowledge.zetas.get(space, {})
            twin, new = Twin(family, LAYERS, shift), session(start, number)
            new = train(twin, new, frozen[number], row_of(backbone, request), known, method)
            for layer, groups in frozen[number].items():
                groups.append(new[layer])
                for part, value in neurons_of(outcome.patch)[layer].tensors().items():
                    expected = torch.cat([group[part] for group in groups], 0 if part == "values" else -1)
                    torch.testing.assert_close(value[number], expected, atol=2e-3, rtol=0)
        patch = outcome.patch


@pytest.mark.parametrize("name", ["t-patcher", "unike"])
def test_a_failed_edit_leaves_what_was_before_it(backbone, cases, knowledge, monkeypatch, name):
    """The second edit of session 0 fails though every number stays finite: its first edit acts as it did, no other."""
    editor, (short, _, long) = editor_of(backbone, settings(name), knowledge), requests_of(cases)
    before = editor.edit([short, long], editor.start(2)).patch
    sound = editor.edit([long, short], before).patch
    train = type(editor.trainer).train
    monkeypatch.setattr(type(editor.trainer), "train", lambda *args: train(*args) & torch.tensor([False, True]))
    outcome = editor.edit([long, short], before)
    assert outcome.failures == ("loss is not finite", None)
    ours, earlier, whole = (
        backbone.forward(request_trunk(backbone, [long, short]), patch) for patch in (outcome.patch, before, sound)
    )
    torch.testing.assert_close(ours[0], earlier[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[1], whole[1], atol=1e-5, rtol=0)
    assert (earlier[0] - whole[0]).abs().max() > 1e-2 and (earlier[1] - whole[1]).abs().max() > 1e-2


def fresh_neurons(backbone, knowledge, requests, name="t-patcher", seed=0, previous=None, **changes):
    editor = editor_of(backbone, settings(name, **changes), knowledge, seed)
    previous = editor.start(len(requests)) if previous is None else previous
    return editor.trainer.new_neurons(requests, request_trunk(backbone, requests), previous)


@pytest.mark.parametrize("name", ["t-patcher", "unike"])
def test_new_neurons_answer_their_own_token_with_one(backbone, family, cases, knowledge, monkeypatch, name):
    """T-Patcher's start: key h / |h|^2, so that u = 1 at the token's own h; behind the shift and earlier edits.

    Five neurons: answers of one, two and three tokens are taken again from their first token on.
    """
    monkeypatch.setattr(under_test, "KEY_NOISE", 0.0)
    requests = requests_of(cases)
    earlier = noisy(fresh_neurons(backbone, knowledge, requests), 5)
    previous = editor_of(backbone, settings(name), knowledge).start(3).append(NeuronSource(earlier).detached())
    fresh = fresh_neurons(backbone, knowledge, requests, name, previous=previous, neurons=5)
    assert set(fresh) == set(LAYERS)
    for number, request in enumerate(requests):
        twin = Twin(family, LAYERS, knowledge.shift() if name == "unike" else None)
        for layer in LAYERS:
            twin.widen(layer, [session(earlier, number)[layer]])
        seen, length = twin.run(*row_of(backbone, request)), len(request.target.split())
        for layer, group in fresh.items():
            for j in range(5):
                h = seen.ffn_inputs[layer][seen.answered[0] + j % length]
                torch.testing.assert_close(group.keys[number, :, j], h / (h @ h), atol=1e-5, rtol=1e-4)


def test_new_neurons_add_nothing_and_are_learned_whole(backbone, family, cases, knowledge):
    """Values start at zero, biases too; a gated FFN's second factor starts at one wherever it is asked."""
    group = fresh_neurons(backbone, knowledge, requests_of(cases))[LAYERS[0]]
    assert not group.values.any() and not group.key_bias.any()
    assert (group.up is None) == (family == "blip2") and all(part.requires_grad for part in group.tensors().values())
    if group.up is not None:
        assert not group.up.any() and (group.up_bias == 1).all()


def test_neurons_of_one_token_differ_by_a_tenth(backbone, cases, knowledge):
    """Noise of a tenth of the key's length; drawn by request, layer, seed and neuron, never by the batch."""
    requests = [cases[1].request, replace(cases[1].request, id="vqa-other")]
    draws = {seed: fresh_neurons(backbone, knowledge, requests, seed=seed, neurons=40) for seed in (0, 1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(under_test, "KEY_NOISE", 0.0)
        plain = fresh_neurons(backbone, knowledge, requests, neurons=40)
    noises = []
    for draw in draws.values():
        for layer in LAYERS:
            for number in range(2):
                start = plain[layer].keys[number].detach()
                noise = (draw[layer].keys[number].detach() - start) / start.norm(dim=0)
                assert float(noise.norm(dim=0).mean()) == pytest.approx(0.1, rel=0.15)
                assert noise.mean(1).norm() < 0.05
                noises += list(noise.T)
    directions = torch.nn.functional.normalize(torch.stack(noises), dim=1)
    assert (directions @ directions.T - torch.eye(len(noises))).max() < 0.95
    alone = fresh_neurons(backbone, knowledge, requests[1:], neurons=40)
    torch.testing.assert_close(alone[5].keys[0], draws[0][5].keys[1], atol=1e-6, rtol=0)


def test_random_keys_know_nothing_of_the_question(backbone, cases, knowledge):
    """Two questions of one id: keys of the same directions, of about the length 1 / |h| (so that u is of order one)."""
    one = cases[1].request
    other = EditRequest(one.id, one.task, "image-7", "name it", "red owl left")
    fresh, plain = (
        fresh_neurons(backbone, knowledge, [one, other], neurons=12, key_init=init) for init in ("random", "query")
    )
    for layer, group in fresh.items():
        keys = torch.nn.functional.normalize(group.keys.detach(), dim=1)
        torch.testing.assert_close(keys[0], keys[1], atol=1e-5, rtol=0)
        assert (keys[0].T @ keys[0] - torch.eye(12)).abs().max() < 0.95
        lengths = group.keys.norm(dim=1) / plain[layer].keys.norm(dim=1)
        assert lengths.min() > 0.4 and lengths.max() < 2.5


def test_a_random_zeta_is_drawn_by_layer_and_seed(backbone, knowledge):
    """The control of Fig. 4c: as long a zeta' as the true one's in every layer, in directions of their own."""
    drawn = []
    for seed in (0, 1):
        for layer, (zeta, fitted) in editor_of(
            backbone, settings("unike", zeta="random"), knowledge, seed
        ).zetas.items():
            true, same = knowledge.zetas["truthfulness"][layer]
            torch.testing.assert_close((zeta @ fitted).norm(), (true @ same).norm())
            drawn.append(torch.nn.functional.normalize(zeta, dim=0))
    assert (torch.stack(drawn) @ torch.stack(drawn).T - torch.eye(4)).abs().max() < 0.99


def test_settings_reach_the_shift(backbone, knowledge):
    """None is at its default: a setting that were not passed on would be seen."""
    scoped = {"edit_slots": True, "retrieval_temperature": 0.2}
    chosen = {
        "top_k": 2, "alpha_scale": 0.5, "alpha_convention": "printed", "alpha_operands": "attention_outputs",
        "attention": "raw", "rotate_memory": True, **scoped,
    }  # fmt: skip
    shift = editor_of(backbone, settings("unike", **chosen), knowledge).shift
    chosen["attention_kind"] = chosen.pop("attention")
    del chosen["edit_slots"]
    assert {name: getattr(shift, name) for name in chosen} == chosen
    assert editor_of(backbone, settings("unike", alpha=0.3), knowledge).shift.alpha == 0.3
    assert editor_of(backbone, settings("unike", latent=False), knowledge).shift is None
