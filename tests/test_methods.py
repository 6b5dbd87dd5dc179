"""How a variant's name becomes settings."""

import pytest
import yaml

from unike_lib.config.base import setting_text
from unike_lib.method import default_methods, method_of, resolve_method

METHODS = {
    "ft": {
        "method": "fine-tune",
        "steps": 5,
        "learning_rate": 2e-2,
        "by_backbone": {"big": {"steps": 7, "learning_rate": 1e-3}},
    },
    "ft-long": {"like": "ft", "steps": 50, "by_backbone": {"small": {"learning_rate": 1e-1}}},
    "orphan": {"like": "nobody"},
    "grandchild": {"like": "ft-long"},
    "own": {"like": "own"},
    "number": {"like": 3},
    "nothing": {"steps": 3},
    "odd": {"method": "fine-tune", "by_backbone": {"big": {"step": 1}}},
}


@pytest.mark.parametrize(
    ("name", "backbone", "steps", "rate"),
    [
        ("ft", None, 5, 2e-2),
        ("ft", "small", 5, 2e-2),
        ("ft", "big", 7, 1e-3),
        ("ft-long", "big", 50, 1e-3),
        ("ft-long", "small", 50, 1e-1),
    ],
)
def test_a_backbone_has_settings_of_its_own(name, backbone, steps, rate):
    settings = resolve_method(METHODS, name, backbone)
    assert (settings.steps, settings.learning_rate) == (steps, rate)
    assert resolve_method(METHODS, name, backbone, {"steps": 9}).steps == 9


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nobody", "unknown method 'nobody'"),
        ("orphan", "like: 'nobody'"),
        ("grandchild", "like: 'ft-long'"),
        ("own", "like: 'own' must be an entry without 'like'"),
        ("number", "like: 3"),
        ("nothing", r"methods\.nothing: method: "),
        ("odd", r"methods\.odd: step"),
    ],
)
def test_wrong_entries_are_named(name, problem):
    with pytest.raises(ValueError, match=problem):
        resolve_method(METHODS, name, "big")


def test_settings_as_text_read_back_as_yaml():
    for value in (0.0, 1e-06, 40, True, None, "dynamic", [1, "two"]):
        assert yaml.safe_load(setting_text(value)) in (value, "1e-06")  # YAML takes 1e-06 for text


def test_the_configuration_file_says_what_differs_on_a_backbone():
    """YAML reads some short words as truth values, so the key is read from a file here."""
    entry = yaml.safe_load("{method: fine-tune, steps: 5, by_backbone: {big: {steps: 7}}}")
    assert resolve_method({"ft": entry}, "ft", "big").steps == 7
    assert resolve_method({"ft": entry}, "ft").steps == 5


def test_what_is_tuned_for_a_backbone_changes_no_shipped_variant():
    """A variant with an original's values has them on every backbone."""
    entries = default_methods()
    shipped = [name for name in entries if name.endswith(("-shipped", "-easyedit", "-memeic", "-paper"))]
    assert {"lora-easyedit", "lora-memeic", "wise-shipped", "m-ore-shipped", "scope-edit-shipped"} <= set(shipped)
    searched = {name: set(method_of(entries, name).search) for name in shipped}
    for name in shipped:
        everywhere = resolve_method(entries, name).model_dump()
        for backbone in ("blip2-nano", "minigpt4-smol"):
            found = resolve_method(entries, name, backbone).model_dump()
            own = set(entries[name].get("by_backbone", {}).get(backbone, {}))
            for field in searched[name] - own:
                assert found[field] == everywhere[field], (name, backbone, field)
