"""Every room of a method, found as the workflow finds it: what it says of itself, and what its edits leave behind.

A method that is added is held by these tests without a line of its own; so is a new kind of part.
"""

import re
from dataclasses import replace
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import walk_packages
from typing import NamedTuple, get_args

import pytest
import torch
from neuron_knowledge import backbone_of, make_knowledge
from patches import changes_of, factors_of, neurons_of, trained_factors_of
from room_editors import room_sources, small_settings
from test_patch import bake_neurons
from tiny_models import LAYERS, QUERIES, make_case, tiny_images

import unike_lib.methods
from unike_lib.backbones.forward import answer_logits
from unike_lib.config.base import MethodSection, about
from unike_lib.config.sources import SOURCES
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.editor import Editor
from unike_lib.editing.patch import Part, Patch
from unike_lib.evaluation.sessions import install
from unike_lib.method import Kind, default_entries, default_methods, method_of, methods
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.lora.factors import LoraFactors
from unike_lib.methods.m_ore.pairs import Pairs
from unike_lib.methods.shared.low_rank import LowRankChanges
from unike_lib.methods.shared.neurons import ExtraNeurons
from unike_lib.types import EditRequest

TESTS = Path(__file__).parents[1]
IN_WEIGHTS = (
    ExtraNeurons,
    WeightChanges,
    LowRankChanges,
    LoraFactors,
    Pairs,
)  # a changed model says the same
NEEDS = ("ffn_inputs", "encoders", "memory", "method_split", "scope")
CASES = [make_case(index, target) for index, target in enumerate(["hot dog", "cat", "red owl left", "blue"])]
REQUESTS = [CASES[1].request, CASES[2].request]
ASKED = [*QUERIES, *(request.query for request in REQUESTS)]  # some edits act on their own question alone


@pytest.fixture(scope="module")
def seen():
    """The kinds of parts that any patch had."""
    kinds, init = set(), Patch.__init__

    def remember(patch, *args, **named):
        init(patch, *args, **named)
        kinds.update(map(type, patch.parts))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Patch, "__init__", remember)
        yield kinds


class Watched(EditorSources):
    """Sources that remember which of them were read."""

    def __getattribute__(self, name):
        if name in NEEDS:
            vars(self).setdefault("read", set()).add(name)
        return super().__getattribute__(name)


class Edits(NamedTuple):
    """A variant: settings, the patch before any edit, both edits side by side, each alone, what it read, its editor.

    pictures: those that it asked about, beside those of its edits.
    """

    settings: MethodSection
    start: Patch
    both: Patch
    single: list[Patch]
    sources: Watched
    editor: Editor
    pictures: set[str]


@pytest.fixture(scope="module")
def edits(tmp_path_factory, seen):
    """Every variant of the default run, with edits of a tiny model."""
    torch.set_num_threads(1)
    folder = make_knowledge(tmp_path_factory.mktemp("knowledge")).folder
    found, backbone, asked = {}, backbone_of("minigpt4"), []
    backbone.images = lambda names: asked.extend(names) or tiny_images(names)
    for name in default_methods():
        settings = small_settings(name)
        sources = room_sources(settings, backbone, folder, CASES, Watched)
        asked.clear()
        editor = build_editor(settings, backbone, sources, 0)
        both = editor.edit(REQUESTS, editor.start(2))
        single = [editor.edit([request], editor.start(1)) for request in REQUESTS]
        assert [both.failures, *(each.failures for each in single)] == [(None, None), (None,), (None,)], name
        patches, others = [each.patch for each in single], {*asked} - {request.image for request in REQUESTS}
        found[name] = Edits(settings, editor.start(1), both.patch, patches, sources, editor, others)
    return found


def test_a_room_says_what_its_editor_reads_and_where_it_begins(edits):
    """By settings: a need that is not said has no file, one too many is waited for; frozen states end at the edit."""
    layers = backbone_of("minigpt4").layers
    begins = {None: layers[0], 0: None}
    for name, each in edits.items():
        method = method_of(default_methods(), name)
        assert set(method.needs_of(each.settings)) == vars(each.sources).get("read", set()), name
        assert method.asks_pictures(each.settings) == bool(each.pictures), name
        first = method.first_layer(each.settings)
        assert each.both.first_layer == begins.get(first, max(0, LAYERS + (first or 0))), name
        assert (method.reading(each.settings) is None) == (
            method.name != "unike-scope"
            and (method.name != "unike" or not (each.settings.intrinsic and each.settings.latent))
        ), name


def said(backbone, patch, session):
    """Return what a session says to all questions, [position, vocabulary]."""
    return answer_logits(backbone, ASKED, patch.select([session])).logits


@pytest.mark.parametrize("name", methods())
def test_a_room_says_what_it_is(name):
    method, room = methods()[name], name.replace("-", "_")
    module = import_module(f"unike_lib.methods.{room}")
    assert module.METHOD is method and module.__doc__ and method.title and method.kind in get_args(Kind)
    assert issubclass(method.settings, MethodSection) and method.settings.__doc__
    for field, info in method.settings.model_fields.items():
        if field != "method":
            known = about(method.settings, field)
            assert info.description and known.source in SOURCES and not info.is_required(), field
    assert {*method.search, *method.editing_alone} <= set(method.settings.model_fields)
    assert all(method_of(default_methods(), entry) is method for entry in method.entries) and name in method.entries
    assert all(entry.sentence for entry in method.entries.values()) and set(method.entries) <= set(default_entries())
    tests = [file for file in TESTS.rglob("test_*.py") if file != Path(__file__)]
    words = re.compile(rf'unike_lib\.methods\.{room}\b|"{name}"')
    assert any(words.search(file.read_text()) for file in tests)


def test_a_session_does_not_depend_on_the_one_beside_it(edits):
    """And none of it would hold if edits did nothing."""
    backbone = backbone_of("minigpt4")
    for name, (_, start, both, single, *_) in edits.items():
        assert both.sessions == 2 and list(map(type, both.parts)) == list(map(type, single[1].parts))
        for session in range(2):
            ours = said(backbone, both, session)
            torch.testing.assert_close(ours, said(backbone, single[session], 0), atol=1e-2, rtol=0, msg=name)
            moved = (ours - said(backbone, start, 0)).abs().max()
            least = 1e-3 if name == "lora-memeic" else 0.04  # two steps at its rate of 1e-4
            assert moved > least or name in ("base", "only-latent-ike"), name


def test_a_second_edit_at_the_same_place_is_one_more_edit_and_leaves_the_session_beside_it_alone(edits):
    """Text only, on top of the first; then both sessions are edited again. Each against its edits made alone."""
    backbone, second = backbone_of("minigpt4"), EditRequest("more", "vqa", None, "what is a cat ?", "red owl")
    places = [[replace(CASES[1], then=(second,)), CASES[2]], [CASES[0], CASES[3]]]
    of_a_kind = {tuple(map(type, each.both.parts)): name for name, each in edits.items()}
    for name in of_a_kind.values():
        each, patch = edits[name], edits[name].editor.start(2)
        for cases in places:
            patch, installed = install(each.editor, cases, patch, backbone.device)
            assert [failure for failure, _ in installed] == [None, None], name
        for session, requests in enumerate([[second, CASES[0].request], [CASES[3].request]]):
            alone = each.single[session]
            for request in requests:
                alone = each.editor.edit([request], alone).patch
            expected = said(backbone, alone, 0)
            torch.testing.assert_close(said(backbone, patch, session), expected, atol=1e-2, rtol=0, msg=name)


def test_what_changes_weights_has_a_twin_whose_weights_are_changed(edits, make_backbone):
    for name, (settings, _, both, *_) in edits.items():
        kinds = [kind for kind in IN_WEIGHTS if both.part(kind) is not None]
        if not kinds or getattr(settings, "scope", "none") != "none":  # these act in a part of the rows alone
            continue
        rest = both
        for kind in kinds:
            rest = rest.without(kind)
        for session in range(2):
            twin = baked(make_backbone("minigpt4", backbone_of("minigpt4").layers), both, session)
            ours = said(backbone_of("minigpt4"), both, session)
            torch.testing.assert_close(ours, said(twin, rest, session), atol=1e-4, rtol=0, msg=name)


def baked(backbone, patch, session):
    """Write a session's weight changes, factors, pairs and extra neurons into a model."""
    for layer, changes in changes_of(patch).items():
        for matrix, change in changes.items():
            backbone.decoder.layers[layer].part(matrix).weight.data += change[session]
    for layer, factors in (*factors_of(patch).items(), *trained_factors_of(patch).items()):
        for matrix, each in factors.items():
            backbone.decoder.layers[layer].part(matrix).weight.data += each.outputs[session].T @ each.inputs[session]
    if (pairs := patch.part(Pairs)) is not None:
        for (layer, matrix), outputs in pairs.outputs.items():
            weight = backbone.decoder.layers[layer].part(matrix).weight
            weight.data += pairs.scale * outputs[session] @ pairs.bases[layer, matrix]
    for layer, group in neurons_of(patch).items():
        bake_neurons(backbone, layer, group, session)
    return backbone


def test_every_kind_of_part_is_of_some_method(edits, seen):
    for module in walk_packages(unike_lib.methods.__path__, "unike_lib.methods."):
        import_module(module.name)
    kinds = {kind for kind in kinds_below(Part) if kind.__module__.startswith("unike_lib.methods.")}
    assert {kind for kind in kinds if not isabstract(kind)} <= seen


def kinds_below(kind):
    return {each for own in kind.__subclasses__() for each in (own, *kinds_below(own))}


def test_a_patch_is_what_its_tensors_say_beside_what_sessions_share(edits):
    backbone = backbone_of("minigpt4")
    for name, each in edits.items():
        start, both = each.start, each.both
        again = both.with_tensors(both.tensors())
        assert again.first_layer == both.first_layer, name
        assert torch.equal(said(backbone, again, 1), said(backbone, both, 1)), name
        scoped = getattr(each.settings, "scope", "none") != "none"
        # The memory of triplets acts without any edit.
        assert start.empty == (not start.parts or scoped or name.startswith("serac")), name


def test_a_part_says_how_it_is_exported(edits):
    """But for those that docs/export.md names: a text in front, a second model, a network."""
    parts = {type(part): part for each in edits.values() for part in each.both.select([0]).parts if not part.empty}
    left = {kind.__name__ for kind, part in parts.items() if part.in_weights() is None and part.standalone() is None}
    assert left == {"Contexts", "CounterfactualMix", "Experts"}
