"""A patch against the same edit baked into a physically modified copy of the model."""

import copy

import pytest
import torch
from patches import factors_of, latent_shift, neurons_of, patch_of, with_slots
from tiny_models import QUERIES, WIDTH
from torch import nn

from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.editing.patch import Patch
from unike_lib.io import read_tensors, write_tensors
from unike_lib.knowledge.memory import Memory
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.shared.low_rank import LowRank, LowRankChanges
from unike_lib.methods.shared.neurons import ExtraNeurons, Neurons
from unike_lib.methods.unike.latent_shift import LatentShift, Slots

SESSIONS = 2


def random_neurons(family: str, count: int, seed: int = 0, sessions: int = SESSIONS) -> Neurons:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator) * 0.5  # noqa: E731
    parts = {"keys": draw(sessions, WIDTH, count), "key_bias": draw(sessions, count)}
    parts["values"] = draw(sessions, count, WIDTH)
    if family == "minigpt4":
        parts |= {"up": draw(sessions, WIDTH, count), "up_bias": draw(sessions, count)}
    return Neurons(**parts)


def random_factors(backbone, rank: int, seed: int = 0, sessions: int = SESSIONS) -> dict[int, dict[str, LowRank]]:
    """Factors for both FFN matrices of two layers."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda size: torch.randn(sessions, rank, size, generator=generator) * 0.3  # noqa: E731
    return {
        layer.index: {
            name: LowRank(*map(draw, layer.part(name).weight.shape)) for name in backbone.decoder.names.ffn_matrices
        }
        for layer in (backbone.decoder.layers[i] for i in (3, 5))
    }


def dense(factors):
    """The same changes as full matrices."""
    return {
        layer: {name: torch.einsum("sro,sri->soi", f.outputs, f.inputs) for name, f in group.items()}
        for layer, group in factors.items()
    }


def logits(backbone, patch=None):
    """[session, query, token, vocabulary]: every query once per session, rows ordered by session."""
    batch = backbone.encode(QUERIES * (patch.sessions if patch else 1))
    return backbone.forward(backbone.run_below(batch), patch).unflatten(0, (-1, len(QUERIES)))


def widen(linear: nn.Linear, weight: torch.Tensor, bias: torch.Tensor | None, rows: bool) -> nn.Linear:
    """A linear layer with more outputs (rows) or more inputs."""
    old_bias = linear.bias if linear.bias is not None else torch.zeros(linear.out_features)
    new_weight = torch.cat([linear.weight, weight], 0 if rows else 1)
    new_bias = torch.cat([old_bias, bias]) if rows and bias is not None else old_bias
    wide = nn.Linear(new_weight.shape[1], new_weight.shape[0])
    wide.weight, wide.bias = nn.Parameter(new_weight), nn.Parameter(new_bias)
    return wide


def bake_neurons(backbone, layer: int, group: Neurons, session: int) -> None:
    """Replace the FFN of a layer by one that is n neurons wider."""
    module, names = backbone.decoder.layers[layer].module, backbone.decoder.names
    part = lambda name: module.get_submodule(name)  # noqa: E731
    first = names.gate or names.up
    module.set_submodule(first, widen(part(first), group.keys[session].T, group.key_bias[session], rows=True))
    if names.gate:
        module.set_submodule(names.up, widen(part(names.up), group.up[session].T, group.up_bias[session], rows=True))
    module.set_submodule(names.down, widen(part(names.down), group.values[session].T, None, rows=False))


def test_identity_is_the_unedited_model(backbone):
    torch.testing.assert_close(logits(backbone, Patch(1)), logits(backbone), atol=0, rtol=0)


def test_neurons_equal_a_widened_ffn(family, make_backbone):
    backbone = make_backbone(family)
    patch = patch_of(SESSIONS, {layer: random_neurons(family, 3, layer) for layer in (3, 5)})
    patched = logits(backbone, patch)
    for session in range(SESSIONS):
        baked = make_backbone(family)
        for layer, group in neurons_of(patch).items():
            bake_neurons(baked, layer, group, session)
        torch.testing.assert_close(patched[session], logits(baked)[0], atol=1e-5, rtol=0)
    assert (patched[0] - patched[1]).abs().max() > 1e-2


def test_deltas_equal_changed_weights(family, make_backbone):
    backbone = make_backbone(family)
    layer = backbone.decoder.layers[-1]
    changes = {
        name: torch.randn(SESSIONS, *layer.part(name).weight.shape, generator=torch.Generator().manual_seed(i)) * 0.3
        for i, name in enumerate(layer.names.ffn_matrices)
    }
    patched = logits(backbone, patch_of(SESSIONS, changes={layer.index: changes}))
    for session in range(SESSIONS):
        baked = make_backbone(family)
        for name, change in changes.items():
            baked.decoder.layers[-1].part(name).weight.data += change[session]
        torch.testing.assert_close(patched[session], logits(baked)[0], atol=1e-5, rtol=0)


def test_patches_leave_no_trace_even_after_an_exception(backbone, family):
    before = logits(backbone)
    patch = patch_of(SESSIONS, {5: random_neurons(family, 2)})
    logits(backbone, patch)
    with pytest.raises(ValueError, match="do not divide"):
        backbone.forward(backbone.run_below(backbone.encode(QUERIES[:3])), patch)
    torch.testing.assert_close(logits(backbone), before, atol=0, rtol=0)


def test_adding_neurons_twice_equals_adding_them_at_once(backbone, family):
    first, second = random_neurons(family, 2, 1), random_neurons(family, 3, 2)
    step = Patch(SESSIONS).append(ExtraNeurons({4: first})).append(ExtraNeurons({4: second}))
    once = patch_of(SESSIONS, {4: first.widened(second)})
    torch.testing.assert_close(logits(backbone, step), logits(backbone, once), atol=0, rtol=0)
    assert neurons_of(step)[4].keys.shape[2] == 5


def test_a_session_does_not_depend_on_the_others(backbone, family):
    both = patch_of(SESSIONS, {5: random_neurons(family, 3)})
    second = patch_of(1, {5: Neurons(**{name: value[1:] for name, value in neurons_of(both)[5].tensors().items()})})
    torch.testing.assert_close(logits(backbone, both)[1], logits(backbone, second)[0], atol=1e-5, rtol=0)


def test_kept_undoes_the_last_edit_of_failed_sessions(backbone, family):
    layer = backbone.decoder.layers[-1]
    name = layer.names.ffn_matrices[0]
    change = torch.ones(SESSIONS, *layer.part(name).weight.shape) * 0.1
    earlier = patch_of(SESSIONS, {5: random_neurons(family, 2, 1)}, {5: {name: change}})
    broken = random_neurons(family, 2, 2)
    broken.values[0] = torch.nan
    later = earlier.append(ExtraNeurons({5: broken})).append(WeightChanges({5: {name: change}}))
    kept = later.revert(torch.tensor([False, True]), earlier)
    torch.testing.assert_close(logits(backbone, kept)[0], logits(backbone, earlier)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(logits(backbone, kept)[1], logits(backbone, later)[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("alpha", ["dynamic", 0.6])
def test_kept_undoes_the_memory_entries_of_failed_sessions(backbone, alpha, temperature):
    """Those of the last edit alone: session 0 answers as before it, session 1 as after it."""
    parts = shifted(backbone, alpha=alpha, retrieval_temperature=temperature, alpha_scale=2.0)
    earlier, draw = patch_of(SESSIONS, **parts), torch.Generator().manual_seed(9)
    more = {layer: Slots(*(torch.randn(SESSIONS, 2, WIDTH, generator=draw) for _ in range(2))) for layer in (3, 5)}
    later = with_slots(earlier, more)
    kept = later.revert(torch.tensor([False, True]), earlier)
    old, new, found = (logits(backbone, patch) for patch in (earlier, later, kept))
    torch.testing.assert_close(found[0], old[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], new[1], atol=1e-5, rtol=0)
    assert (new[0] - old[0]).abs().max() > 1e-3
    torch.testing.assert_close(logits(backbone, kept.select([0]))[0], old[0], atol=1e-5, rtol=0)


def test_save_and_load(tmp_path, backbone, family):
    layer = backbone.decoder.layers[-1]
    name = layer.names.ffn_matrices[1]
    change = torch.randn(SESSIONS, *layer.part(name).weight.shape)
    states = {4: torch.randn(6, WIDTH)}
    shift = latent_shift(Memory(states, states), {}, alpha=0.4)
    live = torch.tensor([[True, False], [True, True]])
    slots = {4: Slots(*(torch.randn(SESSIONS, 2, WIDTH) for _ in range(2)), live)}
    patch = patch_of(SESSIONS, {4: random_neurons(family, 2)}, {5: {name: change}}, shift, slots)
    start = Patch(SESSIONS, (ExtraNeurons(), WeightChanges(), shift))
    loaded = through_a_file(patch, start, tmp_path)
    assert not torch.allclose(logits(backbone, loaded), logits(backbone, patch.without(LatentShift).append(shift)))
    torch.testing.assert_close(logits(backbone, loaded), logits(backbone, patch), atol=0, rtol=0)
    assert set(loaded.tensors()) == set(patch.tensors())


def through_a_file(patch, start, folder):
    """What a patch of the same parts becomes by the tensors of another, written and read."""
    write_tensors(folder / "patch.safetensors", patch.tensors(), "fingerprint")
    return start.with_tensors(read_tensors(folder / "patch.safetensors", "fingerprint"))


def test_gradients_equal_those_of_the_baked_model(family, make_backbone):
    backbone = make_backbone(family)
    group = random_neurons(family, 2, sessions=1)
    baked = copy.deepcopy(backbone)
    bake_neurons(baked, 5, group, 0)
    values = group.values.clone().requires_grad_(True)
    patched = Neurons(**{**group.tensors(), "values": values})
    where = backbone.encode(QUERIES).targets != IGNORED
    ours = backbone.forward(backbone.run_below(backbone.encode(QUERIES)), patch_of(1, {5: patched}), where)
    ours.logsumexp(-1).sum().backward()
    weight = baked.decoder.layers[5].part(baked.decoder.names.down).weight.requires_grad_(True)
    baked.forward(baked.run_below(baked.encode(QUERIES)), None, where).logsumexp(-1).sum().backward()
    torch.testing.assert_close(values.grad[0], weight.grad[:, -2:].T, atol=1e-5, rtol=1e-4)


def test_selected_sessions_answer_as_they_do_among_all(family, make_backbone):
    backbone = make_backbone(family)
    neurons = {layer: random_neurons(family, 3, layer, sessions=3) for layer in (3, 5)}
    up = backbone.decoder.names.up
    shape = backbone.decoder.layers[5].part(up).weight.shape
    patch = patch_of(3, neurons, {5: {up: torch.randn(3, *shape, generator=torch.Generator().manual_seed(1)) * 0.1}})
    torch.testing.assert_close(logits(backbone, patch.select([2, 0])), logits(backbone, patch)[[2, 0]])
    endless = generate(backbone, QUERIES * 3, [[]] * 12, patch, max_new_tokens=7)
    backbone.model.generation_config.eos_token_id = [answer[2 + i % 3] for i, answer in enumerate(endless)][:2]
    together = generate(backbone, QUERIES * 3, [[]] * 12, patch, max_new_tokens=7)
    alone = [generate(backbone, QUERIES, [[5]] * 4, patch.select([s]), max_new_tokens=7) for s in range(3)]
    assert together == [answer for answers in alone for answer in answers]
    assert len({len(answer) for answer in together}) > 1  # rows finish at different passes


def shifted(backbone, **settings):
    """A shift over a random memory, with a session's own entries beside it."""
    generator = torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    memory = Memory(*({layer: draw(9, WIDTH) for layer in (3, 5)} for _ in range(2)))
    encoders = {layer: torch.nn.Linear(WIDTH, WIDTH) for layer in (3, 5)}
    slots = {3: Slots(draw(SESSIONS, 2, WIDTH), draw(SESSIONS, 2, WIDTH))}
    return {"shift": latent_shift(memory, encoders, 4, rotate_memory=True, **settings), "slots": slots}


@pytest.mark.parametrize("kind", ["neurons", "deltas", "low_rank", "contexts", "fixed", "dynamic", "raw"])
def test_generation_behind_kept_keys_and_values_equals_whole_passes(family, make_backbone, kind):
    """Greedy decoding that asks the patched model anew, with the whole text, for each token."""
    backbone = make_backbone(family)
    backbone.model.generation_config.eos_token_id = 6
    neurons = {layer: random_neurons(family, 3, layer) for layer in (3, 5)}
    factors = random_factors(backbone, 2)
    patch = {
        "neurons": lambda: patch_of(SESSIONS, neurons),
        "deltas": lambda: patch_of(SESSIONS, changes=dense(factors)),
        "low_rank": lambda: patch_of(SESSIONS, factors=factors),
        "contexts": lambda: patch_of(SESSIONS, neurons, contexts=("a red cat ", "")),
        "fixed": lambda: patch_of(SESSIONS, neurons, **shifted(backbone, alpha=0.6)),
        "dynamic": lambda: patch_of(SESSIONS, **shifted(backbone, alpha_scale=3.0)),
        "raw": lambda: patch_of(
            SESSIONS, **shifted(backbone, alpha=0.9, attention_kind="raw", retrieval_temperature=0.2)
        ),
    }[kind]()
    expected = []
    for row in range(len(QUERIES)):
        session = row // 2
        alone, written = patch.select([session]), []
        while len(written) < 6:
            queries = alone.before([QUERIES[row]])
            token = int(
                backbone.forward(backbone.run_below(backbone.encode(queries, [written])), alone)[0, -1].argmax()
            )
            if token in backbone.stop_tokens:
                break
            written.append(token)
        expected.append(written)
    assert expected != generate(backbone, QUERIES, [[]] * 4, None, 6)
    for drafts in ([[]] * 4, [[5, 5], [], [9], [4]], expected, [[*answer[:3], 7, 8, 9] for answer in expected]):
        assert generate(backbone, QUERIES, drafts, patch, 6) == expected
        for answers in (drafts, [[4, 9], [5], [], [7, 7, 7]]):
            asked = answer_logits(backbone, QUERIES, patch, answers, everywhere=True)
            assert generate(backbone, QUERIES, drafts, patch, 6, asked) == expected


def test_a_trunk_up_to_a_later_layer_changes_nothing(backbone):
    batch = backbone.encode(QUERIES)
    later = backbone.forward(backbone.run_below(batch, len(backbone.decoder.layers) - 1))
    torch.testing.assert_close(later, backbone.forward(backbone.run_below(batch)), atol=0, rtol=0)


def test_low_rank_changes_equal_the_same_dense_changes(backbone, family):
    first, second = random_factors(backbone, 2, 1), random_factors(backbone, 3, 2)
    base = patch_of(SESSIONS, {5: random_neurons(family, 2)}, dense(random_factors(backbone, 4, 3)))
    patch = base.append(LowRankChanges(first)).append(LowRankChanges(second))
    twin = base.append(WeightChanges(dense(first))).append(WeightChanges(dense(second)))
    assert factors_of(patch)[3][backbone.decoder.names.up].outputs.shape[1] == 5
    torch.testing.assert_close(logits(backbone, patch), logits(backbone, twin), atol=2e-5, rtol=0)
    assert (logits(backbone, patch) - logits(backbone, base.append(LowRankChanges(first)))).abs().max() > 1e-2


def test_low_rank_sessions_do_not_depend_on_each_other(backbone):
    patch = patch_of(3, factors=random_factors(backbone, 3, sessions=3))
    together = logits(backbone, patch)
    for session in range(3):
        torch.testing.assert_close(logits(backbone, patch.select([session]))[0], together[session], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(backbone, patch.select([2, 0])), together[[2, 0]], atol=1e-5, rtol=0)


def test_kept_undoes_the_last_low_rank_edit_of_failed_sessions(backbone):
    earlier = patch_of(SESSIONS, factors=random_factors(backbone, 2, 1))
    broken = random_factors(backbone, 3, 2)
    broken[5][backbone.decoder.names.up].inputs[0] = torch.nan
    later = earlier.append(LowRankChanges(broken))
    for before in (earlier, Patch(SESSIONS)):
        after = later if before is earlier else before.append(LowRankChanges(broken))
        kept = after.revert(torch.tensor([False, True]), before)
        torch.testing.assert_close(logits(backbone, kept)[0], logits(backbone, before)[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(logits(backbone, kept)[1], logits(backbone, after)[1], atol=1e-5, rtol=0)


def test_low_rank_changes_are_saved(tmp_path, backbone):
    patch = patch_of(SESSIONS, factors=random_factors(backbone, 2))
    loaded = through_a_file(patch, Patch(SESSIONS, (LowRankChanges(),)), tmp_path)
    torch.testing.assert_close(logits(backbone, loaded), logits(backbone, patch), atol=0, rtol=0)


def test_compacted_factors_are_the_same_change(backbone):
    factors = random_factors(backbone, 6)[5][backbone.decoder.names.up]
    factors.outputs[0, [0, 2, 3]], factors.inputs[1, [1, 2, 3, 5]] = 0, 0
    small = factors.compacted()
    assert small.outputs.shape[1] == small.inputs.shape[1] == 3
    assert small.present.sum(1).tolist() == [3, 2]
    torch.testing.assert_close(dense({5: {"": small}}), dense({5: {"": factors}}), atol=1e-6, rtol=0)
