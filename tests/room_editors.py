"""The editor of any variant of the default run on a tiny model: its settings made small, its training brief."""

from unike_lib.benchmark.cases import write_cases
from unike_lib.editing.building import EditorSources, build_editor, train_editor
from unike_lib.method import default_methods, method_of, resolve_method

# Sizes for a tiny model, of whatever method has such a setting; a training takes one step.
SMALL = {
    "steps": 2, "neurons": 2, "top_k": 3, "memory_top": 4, "demonstrations": 2, "rank": 4, "hidden": 8, "condition": 12,
    "width": 8, "heads": 2, "scope_layers": 1, "counterfactual_layers": 1,
}  # fmt: skip
# An untrained LiveEdit writes little: values of states whose norm is one, a tenth of them, at most half of that.
# A tiny Qwen3-VL adds pictures behind its first two layers of four, where nothing is edited.
ALONE = {"liveedit": {"strength": 16.0}, "m-ore": {"layers": 2}}
BRIEF = {"steps": 1, "batch_size": 2, "edits_per_session": 1, "eval_every": 1, "patience": 1}


def small_settings(name):
    """The settings of a variant, small."""
    method = method_of(default_methods(), name)
    own = (SMALL | (BRIEF if method.train else {}) | ALONE.get(method.name, {})).items()
    small = {field: value for field, value in own if field in method.settings.model_fields}
    return resolve_method(default_methods(), name, None, small)


def room_sources(settings, backbone, folder, split, kind=EditorSources):
    """What its editor reads: knowledge in a folder, the method split, weights trained on half of it.

    split: edits; the later half of them are the development edits of a training.
    """
    if not (folder / "method_vqa.json").exists():
        write_cases(folder / "method_vqa.json", "method", "vqa", split)
    half, trained = len(split) // 2, None
    if method_of(default_methods(), settings.method).train:
        trained, _ = train_editor(settings, backbone, split[:half], split[half:], 0)
    return kind(folder, (folder / "method_vqa.json",), trained=trained)


def room_editor(name, backbone, folder, split):
    """The editor of a variant."""
    settings = small_settings(name)
    return build_editor(settings, backbone, room_sources(settings, backbone, folder, split), 0)
