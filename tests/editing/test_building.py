"""The editors of a job: settings overridden, editors read from a file or trained for each trial of a search."""

import itertools
from functools import partial

import pytest
import torch
from mmedit_records import write_stage
from patches import factors_of, stored_in

from unike_lib.backbones.speed.state_cache import StateCache
from unike_lib.benchmark.cases import read_cases
from unike_lib.config.base import MethodSection
from unike_lib.editing import building
from unike_lib.editing.building import EditorSources, build_editor, editor_builder, train_editor
from unike_lib.io import write_tensors
from unike_lib.method import resolve_method
from unike_lib.methods.serac.editor import SeracModels
from unike_lib.types import EditRequest, InputError

METHODS = {
    "mend": {
        "method": "mend", "rank": 4, "steps": 4, "batch_size": 2, "edits_per_session": 1, "eval_every": 2,
        "edit_rate": 0.05,
        "by_backbone": {"tiny": {"counterfactual_targets": 0.0}},
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
    write_stage(tmp_path / "method_vqa.json", RECORDS)
    write_stage(tmp_path / "dev_vqa.json", RECORDS[::-1])
    return read_cases(tmp_path / "method_vqa.json"), read_cases(tmp_path / "dev_vqa.json")[:2]


def settings_of(name):
    return partial(resolve_method, METHODS, name, "tiny")


def changes(editor, cases):
    patch = editor.edit([case.request for case in cases], editor.start(len(cases))).patch
    return {(layer, name): f for layer, of_layer in factors_of(patch).items() for name, f in of_layer.items()}


def test_overridden_settings_reach_the_editor_and_strength_scales_what_it_writes(make_backbone, cases, tmp_path):
    backbone = make_backbone("minigpt4")
    settings = resolve_method(METHODS, "mend", "tiny")
    weights, _ = train_editor(settings, backbone, cases, cases, 3)
    write_tensors(tmp_path / "mend.safetensors", weights, "fingerprint")
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
    backbone.cache = StateCache(backbone)
    found, editor_of = {}, editor_builder(settings_of("mend"), backbone, EditorSources(tmp_path), 3, *splits)
    for rate in (0.05, 0.2):
        with backbone.cache.remembering():
            editor = editor_of({"edit_rate": rate})
            remembered = len(backbone.cache._known)
            # Probes of development edits alone (unedited, those of locality go higher): the edits that MEND takes
            # statistics from are too many.
            assert remembered == 5 + 2
            found[rate] = changes(editor, cases)
            assert len(backbone.cache._known) == remembered + 1
        settings = resolve_method(METHODS, "mend", "tiny", {"edit_rate": rate})
        weights, _ = train_editor(settings, backbone, *splits, 3)
        write_tensors(tmp_path / "twin.safetensors", weights, "fingerprint")
        twin = build_editor(settings, backbone, EditorSources(tmp_path, trained=tmp_path / "twin.safetensors"), 3)
        for place, factors in changes(twin, cases).items():
            assert torch.equal(factors.outputs, found[rate][place].outputs)
    with monkeypatch.context() as patched:
        patched.setattr("unike_lib.editing.building.train_editor", lambda *_: pytest.fail("trained once more"))
        double = changes(editor_of({"edit_rate": 0.2, "strength": 2.0}), cases)
    for place, factors in double.items():
        assert torch.equal(factors.outputs, 2 * found[0.2][place].outputs)
    assert any(not torch.equal(found[0.05][place].outputs, found[0.2][place].outputs) for place in found[0.05])


def test_one_training_serves_all_readings_of_serac(make_backbone, tmp_path, splits, monkeypatch):
    backbone, trained = make_backbone("blip2"), []

    def train(settings, *_):
        trained.append(settings)
        return SeracModels.untrained(backbone, settings).tensors(), None

    monkeypatch.setattr(building, "train_editor", train)
    editor_of = editor_builder(settings_of("serac"), backbone, EditorSources(tmp_path), 3, *splits)
    for mixture, positions in itertools.product(("soft", "hard"), ("all", "answer")):
        editor = editor_of({"mixture": mixture, "positions": positions})
        patch = editor.edit([EditRequest("r", "vqa", "a", "name it", "owl")], editor.start(1)).patch
        route = stored_in(patch)
        assert (route.mixture, route.positions) == (mixture, positions)
    assert len(trained) == 1


ROOM = """
from unike_lib.method import Method
from unike_lib.config.base import MethodSection

METHOD = Method("told", "Told", MethodSection, build=lambda *given: given, train=lambda *given: given)
UNTRAINED = Method("untrained", "Untrained", MethodSection, build=lambda *given: given)
"""


def test_a_rooms_functions_are_handed_what_they_ask_for_in_its_order(tmp_path, splits):
    """A method of a user's own file that gives back what it was called with."""
    (tmp_path / "mine.py").write_text(ROOM)
    settings, sources = MethodSection(method=f"{tmp_path}/mine.py:METHOD"), EditorSources(tmp_path)
    assert build_editor(settings, "backbone", sources, 3) == (settings, "backbone", sources, 3)
    assert train_editor(settings, "backbone", *splits, 3) == (settings, "backbone", *splits, 3)
    untrained = MethodSection(method=f"{tmp_path}/mine.py:UNTRAINED")
    with pytest.raises(InputError, match="method 'untrained': there is nothing to train before an edit"):
        train_editor(untrained, "backbone", *splits, 3)
    with pytest.raises(InputError, match=r"mine\.py:Method: expected a Method, found type"):
        build_editor(MethodSection(method=f"{tmp_path}/mine.py:Method"), "backbone", sources, 3)


def test_a_search_trains_on_method_training_edits_and_stops_by_those_of_development(tmp_path, splits, monkeypatch):
    trained, settings = [], MethodSection(method="mend")
    monkeypatch.setattr(building, "train_editor", lambda *given: (trained.append(given), ({}, None))[1])
    monkeypatch.setattr(building, "build_editor", lambda *given: given)
    editor_of = editor_builder(lambda _: settings, "backbone", EditorSources(tmp_path), 3, *splits)
    assert editor_of({}) == (settings, "backbone", EditorSources(tmp_path, trained={}), 3)
    assert trained == [(settings, "backbone", *splits, 3)]


def test_the_method_split_is_that_of_all_its_files(tmp_path, splits):
    paths = tmp_path / "method_vqa.json", tmp_path / "dev_vqa.json"
    assert EditorSources(tmp_path, paths).method_split() == [case for path in paths for case in read_cases(path)]
    sources = EditorSources(tmp_path, paths, "general")
    assert {case.query("t_loc") for case in sources.method_split()}.isdisjoint(
        case.query("t_loc") for case in splits[0]
    )
    with pytest.raises(InputError, match="expected files of method-training edits, found none"):
        EditorSources(tmp_path).method_split()
    with pytest.raises(InputError, match="expected a trained editor, found no file"):
        EditorSources(tmp_path).trained_tensors()
