"""M-ORE and ScopeEdit against values of their own code, a loop over hooked Hugging Face models, and changed weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from m_ore_twin import RANK, Golden, Twin, projector
from test_half_precision import in_dtype
from test_patch import through_a_file
from test_sequences import BROKEN, SEQUENCES, assert_answers_like, edited, patched_logits, requests_at, seeing_broken
from tiny_models import LAYERS as DEPTH

from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.method import default_methods, resolve_method
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.m_ore.pairs import Pairs, drawn_bases
from unike_lib.methods.m_ore.settings import MoreMethod
from unike_lib.methods.m_ore.writing import claimed, gate
from unike_lib.types import EditRequest, InputError, Query

LAYERS = 4
SHORT = {"layers": LAYERS, "rank": RANK, "top_k": 2, "steps": 2, "damping": 0.5}
SCOPE = {
    "split": "scope",
    "shared_share": 1 / 3,
    "shared_layers": 1,
    "shared_damping": 0.3,
    "shared_learning_rate": 0.4,
}
KINDS = {
    "m-ore": SHORT,
    "predicting": SHORT | {"key_tokens": "predicting", "teach_end": False, "layers": 99},
    "scope-edit": SHORT | SCOPE,
}


def m_ore(backbone, **settings):
    return build_editor(MoreMethod(method="m-ore", **settings), backbone, EditorSources(Path()), 0)


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("more", {"top_k": 1, "damping": 2000.0}),  # the other group that the original wrote is its projector's
        ("scope", {"top_k": 2, "split": "scope", "shared_share": 3 / 8, "shared_layers": 2}),
    ],
)
def test_two_edits_leave_what_the_original_leaves(case, settings):
    golden = Golden(case)
    editor = m_ore(golden.backbone, layers=2, rank=8, steps=1, teach_end=False, **settings)
    bases = {(int(name[0]), name[2:]): basis for name, basis in golden.of("A").items()}
    editor, patch = replace(editor, bases=bases), editor.start(1)
    for number in range(2):
        patch = editor.edit([golden.request(number)], patch).patch
        pairs = patch.part(Pairs)
        known = golden.of(f"B{number}")
        assert known
        for name, expected in known.items():
            place = int(name[0]), name[2:]
            torch.testing.assert_close(pairs.outputs[place][0], expected, atol=1e-6, rtol=1e-5)
            projector = torch.eye(8) - pairs.used[place][0]
            torch.testing.assert_close(projector, golden.of(f"P{number}")[name], atol=5e-6, rtol=0)
    query = Query("query", " ".join(golden.words("query")), "", style="plain")
    said = answer_logits(golden.backbone, [query], patch, everywhere=True).logits
    torch.testing.assert_close(said, golden.values["logits"], atol=1e-4, rtol=0)


# u_t, u_v, tau, and what LoRALinear._bridge_gate_values of the same commit gives: g, q.
GATES = [
    ([0.6127, -1.1754, -0.7646], [0.2397, -0.5132, -0.4469], 0.2, 0.15102069, [0.3886, -0.7590, -0.5223]),
    ([-1.3890, -0.2730, 0.9406], [0.8655, 0.0827, -0.9845], 0.2, 2.98275e-6, [-0.9339, -0.2711, 0.2331]),
    ([0.8631, -1.5430, -1.6754], [-1.6027, 0.8376, 0.5047], 0.0, 1.51877e-4, [-0.2310, -0.5567, -0.7980]),
    ([0.8631, -1.5430, -1.6754], [0.0, 0.0, 0.0], 0.0, 0.0, None),  # no picture
]


def test_the_gate_is_the_originals():
    for text, picture, threshold, expected, code in GATES:
        opened, claims = gate(torch.tensor([text]), torch.tensor([picture]), threshold, 10.0)
        torch.testing.assert_close(opened[0], torch.tensor(expected), atol=2e-5, rtol=1e-3)
        if code is None:
            assert opened[0] == 0
        else:
            torch.testing.assert_close(claims[0], torch.tensor(code), atol=1e-3, rtol=0)


def test_a_projector_is_the_inverse_of_what_its_codes_span():
    torch.manual_seed(0)
    codes, used = torch.randn(5, 2, 4), torch.zeros(2, 4, 4)
    for code in codes:
        used = claimed(used, code, 0.7)
    for session in range(2):
        torch.testing.assert_close(torch.eye(4) - used[session], projector(codes[:, session], 0.7))


@pytest.mark.parametrize("kind", KINDS)
def test_three_edits_of_two_sessions_equal_a_loop_and_changed_weights(family, make_backbone, cases, kind):
    backbone = make_backbone(family)
    editor = m_ore(backbone, **KINDS[kind])
    patch = edited(editor, cases)
    pairs = patch.part(Pairs)
    layers = min(KINDS[kind]["layers"], DEPTH)  # as many as there are
    assert patch.first_layer == DEPTH - layers and len(pairs.bases) == 2 * layers
    for session, order in enumerate(SEQUENCES):
        twin = Twin(make_backbone(family), editor)
        for number in order:
            twin.edit(cases[number].request)
        for place, expected in twin.outputs.items():
            torch.testing.assert_close(pairs.outputs[place][session], expected, atol=1e-5, rtol=1e-4)
        twin.bake()
        assert_answers_like(backbone, patch, session, twin.backbone)
    moved = max(float(value.abs().max()) for value in pairs.outputs.values())
    assert moved > 1e-2


def test_sessions_are_edited_apart_whatever_the_length_of_their_rows(make_backbone, cases):
    """Text beside pictures, long answers beside short ones: padding is no token, and a picture is that of its row."""
    backbone = make_backbone("minigpt4")
    editor = m_ore(backbone, **SHORT | SCOPE)
    text = EditRequest("", "vqa", None, "what is a cat ?", "red owl on the left")
    requests = [cases[1].request, text, cases[2].request]
    together = editor.edit(requests, editor.start(3)).patch.tensors()
    for session, request in enumerate(requests):
        alone = editor.edit([request], editor.start(1)).patch.tensors()
        for name, value in together.items():
            torch.testing.assert_close(value[session], alone[name][0], atol=1e-5, rtol=1e-4)
    common = slice(RANK - 2, RANK)
    outputs = editor.edit(requests, editor.start(3)).patch.part(Pairs).outputs.values()
    assert all((value[1, :, common] == 0).all() for value in outputs)  # no picture, nothing to share
    assert any((value[0, :, common] != 0).any() for value in outputs)


def test_an_edit_is_made_on_top_of_whatever_else_a_session_has(make_backbone, cases):
    backbone, other = make_backbone("blip2"), make_backbone("blip2")
    editor, weight = m_ore(backbone, **SHORT), other.decoder.layers[4].part("fc2").weight
    change = torch.randn(1, *weight.shape, generator=torch.Generator().manual_seed(0))
    weight.data += change[0]
    previous = editor.start(1).append(WeightChanges({4: {"fc2": change}}))
    pairs = editor.edit([cases[0].request], previous).patch.part(Pairs)
    twin = Twin(other, editor)
    twin.edit(cases[0].request)
    for place, expected in twin.outputs.items():
        torch.testing.assert_close(pairs.outputs[place][0], expected, atol=1e-5, rtol=1e-4)


def test_only_the_strongest_layers_are_written(backbone, cases):
    patch = m_ore(backbone, **SHORT | {"steps": 1}).edit([cases[0].request], m_ore(backbone, **SHORT).start(1)).patch
    pairs = patch.part(Pairs)
    touched = {layer for (layer, _), value in pairs.outputs.items() if (value != 0).any()}
    assert len(touched) == 2 == len({layer for (layer, _), value in pairs.used.items() if (value != 0).any()})


def test_what_is_written_after_an_edit_spares_its_code(make_backbone, cases):
    """With little damping, a later edit's change is nothing along the codes of the earlier one."""
    backbone = make_backbone("blip2")
    editor = m_ore(backbone, **SHORT | {"steps": 1, "damping": 1e-6, "top_k": LAYERS})
    first = editor.edit([cases[0].request], editor.start(1)).patch
    second = editor.edit([cases[1].request], first).patch
    twin = Twin(make_backbone("blip2"), editor)
    twin.edit(cases[0].request)
    for place, (code,) in twin.codes.items():
        change = second.part(Pairs).outputs[place][0] - first.part(Pairs).outputs[place][0]
        assert (change @ code).norm() < 1e-3 * change.norm() * code.norm()


@pytest.mark.parametrize("kind", ["m-ore", "scope-edit"])
def test_a_failed_second_edit_leaves_pairs_and_projectors_as_they_were(make_backbone, cases, kind):
    backbone = seeing_broken(make_backbone("blip2"))
    editor = m_ore(backbone, **KINDS[kind])
    start = editor.edit([BROKEN, cases[4].request], editor.start(2))
    assert start.failures == ("loss is not finite", None)
    assert all((value[0] == 0).all() for value in start.patch.tensors().values())
    first = editor.edit(requests_at(cases, 0), editor.start(2)).patch
    second = editor.edit([BROKEN, cases[4].request], first)
    assert second.failures == ("loss is not finite", None)
    beside = editor.edit([cases[3].request, cases[4].request], first).patch.tensors()
    for name, value in second.patch.tensors().items():
        assert torch.equal(value[0], first.tensors()[name][0])
        torch.testing.assert_close(value[1], beside[name][1], atol=1e-5, rtol=1e-4)


def test_pairs_come_back_from_a_file_and_are_edited_on(make_backbone, cases, tmp_path):
    backbone = make_backbone("blip2")
    editor = m_ore(backbone, **SHORT)
    first = editor.edit(requests_at(cases, 0), editor.start(2)).patch
    again = through_a_file(first, first, tmp_path)
    on, fresh = (editor.edit(requests_at(cases, 1), patch).patch for patch in (again, first))
    assert all(torch.equal(value, fresh.tensors()[name]) for name, value in on.tensors().items())


def test_bases_have_orthogonal_rows_and_are_those_of_the_seed():
    places = {(0, "up"): 16, (0, "down"): 32}
    bases = drawn_bases(places, 6, "orthogonal", 3)
    for place, width in places.items():
        torch.testing.assert_close(bases[place] @ bases[place].T, torch.eye(6), atol=1e-5, rtol=0)
        assert bases[place].shape == (6, width) and torch.equal(
            bases[place], drawn_bases(places, 6, "orthogonal", 3)[place]
        )
    wide = drawn_bases({(0, "up"): 500}, 300, "xavier", 3)[0, "up"]
    torch.testing.assert_close(wide.std(), torch.tensor((2 / 800) ** 0.5), atol=0, rtol=0.01)
    assert not torch.equal(bases[0, "up"], drawn_bases(places, 6, "orthogonal", 4)[0, "up"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pairs_of_a_model_in_half_precision_are_in_float32(make_backbone, cases, dtype):
    backbone = in_dtype(make_backbone("blip2"), dtype)
    editor = m_ore(backbone, **KINDS["scope-edit"])
    outcome = editor.edit(requests_at(cases, 0), editor.start(2))
    assert outcome.failures == (None, None)
    assert all(value.dtype == torch.float32 for value in outcome.patch.tensors().values())
    single = m_ore(make_backbone("blip2"), **KINDS["scope-edit"])
    theirs = single.edit(requests_at(cases, 0), single.start(2)).patch
    said, expected = (
        torch.cat(patched_logits(b, p, 0)) for b, p in ((backbone, outcome.patch), (single.backbone, theirs))
    )
    assert (said - expected).abs().mean() < 0.2


def test_shipped_values_are_variants():
    more, scope, plain = (
        resolve_method(default_methods(), f"{name}") for name in ("m-ore-shipped", "scope-edit-shipped", "m-ore")
    )
    for shipped in (more, scope):
        assert (shipped.rank, shipped.scale, shipped.top_k, shipped.learning_rate) == (512, 2, 7, 0.1)
        assert (shipped.layers, shipped.steps, shipped.key_tokens, shipped.teach_end) == (12, 5, "target", False)
    assert (more.split, more.shared_rank, more.damping, more.basis) == ("none", 0, 2000, "xavier")
    assert (scope.split, scope.shared_rank, scope.damping, scope.basis) == ("scope", 64, 1, "orthogonal")
    assert (scope.shared_layers, scope.shared_learning_rate, scope.shared_damping) == (6, 1, 1)
    assert (scope.gate_threshold, scope.gate_slope) == (0.2, 10)
    assert (plain.rank, plain.split) == (32, "none")
    assert MoreMethod(method="m-ore", split="scope", rank=4).shared_rank == 1


def test_layers_on_several_devices_are_refused(backbone, monkeypatch):
    monkeypatch.setattr(type(backbone.decoder.layers[0]), "device", property(lambda layer: f"cuda:{layer.index % 2}"))
    with pytest.raises(InputError, match="layers: the last 2 layers lie on cuda:0, cuda:1"):
        m_ore(backbone, layers=2)
