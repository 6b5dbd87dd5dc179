"""The editors of a job: settings overridden, editors read from a file or trained for each trial of a search."""

import itertools
from functools import partial

import pytest
import torch

from unike_lib.benchmark.mmedit import read_cases
from unike_lib.editing import registry
from unike_lib.editing.registry import EditorSources, build_editor, editor_builder, train_editor
from unike_lib.editing.serac import SeracModels
from unike_lib.io import write_json, write_tensors
from unike_lib.methods import resolve_method
from unike_lib.types import EditRequest

METHODS = {
    "mend": {
        "method": "mend", "rank": 4, "steps": 4, "batch": 2, "check_every": 2, "edit_rate": 0.05,
        "by_backbone": {"tiny": {"swapped": 0.0}},
    },
    "serac": {"method": "serac", "width": 8, "heads": 2, "scope_layers": 1, "counterfactual_layers": 1},
}  # fmt: skip
RECORDS = [
    {
        "src": "name it", "rephrase": "what is this ?", "alt": answer, "image": "a", "image_rephrase": "b",
        "loc": "what is a cat ?", "loc_ans": "red", "m_loc": "c", "m_loc_q": "name it", "m_loc_a": "dog",
    }
    for answer in ("owl", "red cat", "blue")
]  # fmt: skip


@pytest.fixture
def splits(tmp_path):
    """Training and development edits, read from files."""
    write_json(tmp_path / "method_vqa.json", RECORDS)
    write_json(tmp_path / "dev_vqa.json", RECORDS[::-1])
    return read_cases(tmp_path / "method_vqa.json"), read_cases(tmp_path / "dev_vqa.json")[:2]


def settings_of(name):
    return partial(resolve_method, METHODS, name, "tiny")


def changes(editor, cases):
    patch = editor.edit([case.request for case in cases], editor.start(len(cases))).patch
    return {(layer, name): f for layer, of_layer in patch.low_rank.items() for name, f in of_layer.items()}


def test_overridden_settings_reach_the_editor_and_strength_scales_what_it_writes(make_backbone, cases, tmp_path):
    backbone = make_backbone("minigpt4")
    settings = resolve_method(METHODS, "mend", "tiny")
    weights, _ = train_editor(settings, backbone, cases, cases, 3)
    write_tensors(tmp_path / "mend.safetensors", weights, "mark")
    sources = EditorSources(tmp_path, trained=tmp_path / "mend.safetensors")
    editor_of = editor_builder(settings_of("mend"), backbone, sources, 3)
    whole, double = (changes(editor_of(overrides), cases) for overrides in ({}, {"strength": 2.0}))
    own = changes(build_editor(settings, backbone, sources, 3), cases)
    assert whole.keys() == double.keys() == own.keys()
    for place, factors in whole.items():
        assert torch.equal(factors.outputs, own[place].outputs) and factors.outputs.abs().max() > 0
        assert torch.equal(double[place].outputs, 2 * factors.outputs)
        assert torch.equal(double[place].inputs, factors.inputs)


def test_a_search_trains_an_editor_for_every_setting_that_training_reads(
    make_backbone, cases, tmp_path, splits, monkeypatch
):
    backbone = make_backbone("minigpt4")
    found, editor_of = {}, editor_builder(settings_of("mend"), backbone, EditorSources(tmp_path), 3, *splits)
    for rate in (0.05, 0.2):
        with backbone.remembering():
            editor = editor_of({"edit_rate": rate})
            remembered = len(backbone._known)
            # Probes of the development edits alone: the edits that MEND takes statistics from are too many.
            assert remembered == 5
            found[rate] = changes(editor, cases)
            assert len(backbone._known) == remembered + 1
        settings = resolve_method(METHODS, "mend", "tiny", {"edit_rate": rate})
        weights, _ = train_editor(settings, backbone, *splits, 3)
        write_tensors(tmp_path / "twin.safetensors", weights, "mark")
        twin = build_editor(settings, backbone, EditorSources(tmp_path, trained=tmp_path / "twin.safetensors"), 3)
        for place, factors in changes(twin, cases).items():
            assert torch.equal(factors.outputs, found[rate][place].outputs)
    with monkeypatch.context() as patched:
        patched.setattr("unike_lib.editing.registry.train_editor", lambda *_: pytest.fail("trained once more"))
        double = changes(editor_of({"edit_rate": 0.2, "strength": 2.0}), cases)
    for place, factors in double.items():
        assert torch.equal(factors.outputs, 2 * found[0.2][place].outputs)
    assert any(not torch.equal(found[0.05][place].outputs, found[0.2][place].outputs) for place in found[0.05])


def test_one_training_serves_all_readings_of_serac(make_backbone, tmp_path, splits, monkeypatch):
    backbone, trained = make_backbone("blip2"), []

    def train(settings, *_):
        trained.append(settings)
        return SeracModels.untrained(backbone, settings).tensors(), None

    monkeypatch.setattr(registry, "train_editor", train)
    editor_of = editor_builder(settings_of("serac"), backbone, EditorSources(tmp_path), 3, *splits)
    for mixture, positions in itertools.product(("soft", "hard"), ("all", "answer")):
        editor = editor_of({"mixture": mixture, "positions": positions})
        route = editor.edit([EditRequest("r", "vqa", "a", "name it", "owl")], editor.start(1)).patch.route
        assert (route.mixture, route.positions) == (mixture, positions)
    assert len(trained) == 1
