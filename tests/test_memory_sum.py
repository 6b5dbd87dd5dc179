"""The sum of what editing keeps in memory: term by term against the tensors of a tiny model; the document's tables."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from patches import factors_of

from bench import gpu_stage, memory_sum
from unike_lib.backbones.batch import IGNORED
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.editor import request_trunk
from unike_lib.methods.fine_tune import editor as fine_tune
from unike_lib.methods.m_ore.settings import MoreMethod
from unike_lib.methods.shared import neuron_training as neurons
from unike_lib.methods.shared.hypernetwork import edit_gradients
from unike_lib.methods.shared.semantic_scope import SemanticScope
from unike_lib.methods.unike_scope.editor import EditEntries

ROOT = Path(__file__).parents[1]
BACKBONES = ["blip2-opt-2.7b", "minigpt4-vicuna-7b"]


def size(*tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.fixture(scope="module", params=BACKBONES)
def tiny(request):
    """A tiny stage, its configuration, and the setting that describes it."""
    stage = gpu_stage.build_stage(request.param, True, "cpu")
    trunk = request_trunk(stage.backbone, [case.request for case in stage.cases[:2]])
    setting = memory_sum.Setting(
        tokens=trunk.hidden.shape[1],
        answer=int((trunk.batch.targets != IGNORED).sum(1).max()),
        entries=stage.scale.entries,
        states=stage.scale.states,
        rank=stage.scale.rank,
        picture=stage.backbone.images(["0.png"]).shape[1],
        store=len(stage.cases),
        small=stage.scale.width,
        scope_layers=stage.scale.layers[0],
        answer_layers=stage.scale.layers[1],
        live=stage.scale.width,
    )
    return stage, memory_sum.geometry(request.param, True), setting, trunk


def test_the_model_is_counted_byte_by_byte(tiny):
    stage, config, _, _ = tiny
    assert memory_sum.weights(config) == size(*stage.backbone.model.parameters())


def test_what_a_method_reads_is_counted_byte_by_byte(tiny):
    stage, config, setting, _ = tiny
    made = {name: make(stage.backbone) for name, make in gpu_stage.editors(stage).items() if name in memory_sum.METHODS}
    unike = made["unike"]
    inputs = size(*made["t-patcher"].trainer.ffn_inputs.values())
    shift = [part for layer in stage.backbone.layers
             for part in (unike.shift.memory.keys[layer], unike.shift.memory.values[layer], *unike.zetas[layer],
                          *unike.shift.encoders[layer].parameters())]  # fmt: skip
    networks = {name: made[name].network for name in ("mend", "ke")}
    found = {name: size(*network.parameters(), *network.buffers()) for name, network in networks.items()}
    found |= {"fine-tune": 0, "t-patcher": inputs, "unike": inputs + size(*shift)}
    assert found == {name: memory_sum.knowledge(config, name, setting) for name in memory_sum.METHODS}


def made_by(stage, method):
    return gpu_stage.editors(stage)[method](stage.backbone)


def test_what_the_scope_and_the_stores_of_edits_read_is_counted_byte_by_byte(tiny):
    stage, config, setting, _ = tiny
    scoped = made_by(stage, "unike-scope")
    unike, (space,) = scoped.editor.unike, scoped.scope.spaces
    assert unike.shift is None
    zetas = [part for zeta in unike.zetas.values() for part in zeta]
    read = [*unike.trainer.ffn_inputs.values(), *zetas, space.keys, space.thresholds, space.temperatures]
    assert size(*read) == memory_sum.knowledge(config, "unike-scope", setting)
    assert size(made_by(stage, "ike").index.vectors) == memory_sum.knowledge(config, "ike", setting)


@pytest.mark.parametrize("method", ["serac", "serac-multimodal", "liveedit"])
def test_trained_models_beside_the_backbone_are_counted_byte_by_byte(tiny, method):
    stage, config, setting, _ = tiny
    editor = made_by(stage, method)
    modules = [editor.network] if method == "liveedit" else editor.models.parts.values()
    found = size(*(value for module in modules for value in module.state_dict().values()))
    assert found == memory_sum.knowledge(config, method, setting)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("method", ["ike", "serac", "serac-multimodal", "liveedit"])
def test_edits_without_descent_keep_what_is_counted_and_nothing_for_a_backward_pass(tiny, method, count):
    """Beside the text of an edit, and whether it is live."""
    stage, config, setting, _ = tiny
    editor, kept = made_by(stage, method), []
    requests = [case.request for case in stage.cases[:count]]
    saved = saved_bytes(lambda: kept.append(editor.edit(requests, editor.start(count)).patch), [])
    numbers = [each for part in kept[0].parts for each in part.tensors().values() if each.is_floating_point()]
    assert size(*numbers) == count * memory_sum.learned(config, method, setting)
    assert saved == 0 == memory_sum.graph(config, method, setting)


@pytest.mark.parametrize("method", ["fine-tune", "t-patcher", "unike", "unike-scope"])
def test_what_an_edit_learns_is_counted_with_gradients_and_moments(tiny, method, monkeypatch):
    stage, config, setting, _ = tiny
    kept = []

    def counting(parameters, losses, optimiser, steps):
        finite = plain(parameters, losses, optimiser, steps)
        moments = [state[name] for state in optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
        kept.append(size(*parameters, *(parameter.grad for parameter in parameters), *moments))
        return finite

    home = fine_tune if method == "fine-tune" else neurons
    plain = home.descend
    monkeypatch.setattr(home, "descend", counting)
    editor = made_by(stage, method)
    for count in (1, 3):
        made = editor.edit([case.request for case in stage.cases[:count]], editor.start(count)).patch
        beside = [part for kind in (EditEntries, SemanticScope) if (part := made.part(kind))]
        kept[-1] += size(*(each for part in beside for each in part.tensors().values() if each.is_floating_point()))
        assert kept[-1] == count * memory_sum.learned(config, method, setting)


def test_m_ores_pairs_are_counted_byte_by_byte(tiny):
    """What stays of a session is B and the room that is used; B's gradient and the next B come on top."""
    stage, config, setting, _ = tiny
    setting = replace(setting, pairs_layers=len(stage.backbone.editable))
    editor = build_editor(MoreMethod(method="m-ore"), stage.backbone, EditorSources(Path()), 0)
    assert size(*editor.bases.values()) == memory_sum.knowledge(config, "m-ore", setting)
    for count in (1, 3):
        made = editor.edit([case.request for case in stage.cases[:count]], editor.start(count)).patch
        (pairs,) = made.parts
        found = 3 * size(*pairs.outputs.values()) + size(*pairs.used.values())
        assert found == count * memory_sum.learned(config, "m-ore", setting)


def test_factors_are_within_their_bound(tiny):
    """Tokens of the question that feed no answer token have no gradient and are left out: never more than all."""
    stage, config, setting, _ = tiny
    for name in ("mend", "ke"):
        editor = gpu_stage.editors(stage)[name](stage.backbone)
        patch = editor.edit([case.request for case in stage.cases[:2]], editor.start(2)).patch
        factors = [
            part for changes in factors_of(patch).values() for f in changes.values() for part in vars(f).values()
        ]
        bound = 2 * memory_sum.learned(config, name, setting)
        assert bound / setting.tokens <= size(*factors) <= bound


def saved_bytes(work, ignored):
    """Return the bytes that a forward pass keeps for its backward pass, each storage once, weights left out."""
    known, found = {tensor.untyped_storage().data_ptr() for tensor in ignored}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(count for count, _ in found.values())


def test_the_graph_of_m_ores_pass_is_within_its_bound_and_of_its_order(tiny):
    stage, config, setting, _ = tiny
    setting = replace(setting, pairs_layers=len(stage.backbone.editable))
    editor = build_editor(MoreMethod(method="m-ore", steps=1), stage.backbone, EditorSources(Path()), 0)
    requests = [case.request for case in stage.cases[:2]]
    ignored = [*stage.backbone.model.parameters(), *editor.bases.values()]
    found = saved_bytes(lambda: editor.edit(requests, editor.start(2)), ignored)
    bound = 2 * memory_sum.graph(config, "m-ore", setting)
    assert bound / 6 <= found <= bound


@pytest.mark.parametrize("method", ["t-patcher", "unike", "unike-scope"])
def test_the_graph_of_a_step_is_within_its_bound_and_of_its_order(tiny, method, monkeypatch):
    stage, config, setting, _ = tiny
    editor, found = made_by(stage, method), []
    own = editor.editor.unike if method == "unike-scope" else editor
    ignored = [*stage.backbone.model.parameters(), *own.trainer.ffn_inputs.values()]
    if method == "unike":
        ignored += [part for encoder in own.shift.encoders.values() for part in encoder.parameters()]

    def measuring(parameters, losses, optimiser, steps):
        found.append(saved_bytes(losses, [*ignored, *parameters]))
        return plain(parameters, losses, optimiser, steps)

    plain = neurons.descend
    monkeypatch.setattr(neurons, "descend", measuring)
    editor.edit([case.request for case in stage.cases[:2]], editor.start(2))
    bound = 2 * memory_sum.graph(config, method, setting)
    assert bound / 6 <= found[0] <= bound


def test_the_graph_of_mends_pass_is_within_its_bound_and_of_its_order(tiny):
    stage, config, setting, _ = tiny
    matrices = made_by(stage, "mend").network.matrices
    lower = request_trunk(stage.backbone, [case.request for case in stage.cases[:2]], matrices[0].layer)
    ignored = [*stage.backbone.model.parameters()]
    found = saved_bytes(lambda: edit_gradients(stage.backbone, lower, matrices), ignored)
    bound = 2 * memory_sum.graph(config, "mend", setting)
    assert bound / 6 <= found <= bound


def test_editing_eight_sessions_at_7b_fits_in_24_gb():
    config = memory_sum.geometry("minigpt4-vicuna-7b")
    assert all(memory_sum.total(config, method, 8) <= 24e9 for method in memory_sum.METHODS)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_document_shows_the_sum(name):
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert memory_sum.table(name) in text
