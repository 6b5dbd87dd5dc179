"""The configuration: what a table's cells are, and which settings are refused before any job runs."""

import copy

import pytest

from unike_lib.backbone_config import BackboneConfig
from unike_lib.config import EvaluationConfig, load_config
from unike_lib.table_config import tasks_of
from unike_lib.types import InputError

ROWS = {"backbones": ["one"], "methods": ["unike"]}
VALUES = {
    "benchmark": {}, "pretrain": {}, "knowledge": {}, "evaluation": {}, "statistics": {},
    "backbones": {"one": {"family": "blip2"}, "two": {"family": "minigpt4"}},
    "methods": {"unike": {"method": "unike"}, "mend": {"method": "mend"}, "ft": {"method": "fine-tune"}},
    "table1": {**ROWS}, "table2": {**ROWS, "ks": [10, 20]}, "table3": {**ROWS}, "table4": {**ROWS},
    "figures": {"backbones": ["one"], "fig2a": ["unike"], "sweeps": {}},
    "tuning": {"grids": {}},
}  # fmt: skip


def changed(place, value):
    """Return the values with one of them, named by its path, another."""
    values = copy.deepcopy(VALUES)
    *path, last = place.split(".")
    section = values
    for name in path:
        section = section.setdefault(name, {})
    section[last] = value
    return values


def test_cells_of_tables_are_tasks_and_numbers_of_edits():
    tables = load_config(changed("table1.tasks", ["caption"])).tables
    assert tables["table1"].settings == [("caption", 1)] and tables["table1"].single_tasks == ("caption",)
    assert tables["table2"].settings == [("vqa", 10), ("caption", 10), ("vqa", 20), ("caption", 20)]
    assert tables["table3"].settings == [("cross", 10)] and set(tables["table3"].single_tasks) == {"vqa", "caption"}
    assert list(tables) == ["table1", "table2", "table3", "table4"]
    assert [set(tasks_of(name)) for name in ("vqa", "cross")] == [{"vqa"}, {"vqa", "caption"}]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("seeds", [1, 2, 1], "seeds: .*every seed once"),
        ("methods.ft.by_backbone", {"two": {"steps": 0}}, r"methods\.ft: steps"),
        ("methods.ft.by_backbone", {"three": {"steps": 2}}, r"methods\.ft\.by_backbone: unknown backbone 'three'"),
        ("admission", {"method": "ft"}, r"admission\.method: expected a variant of unike"),
        ("admission", {"method": "none"}, r"admission\.method: unknown method 'none'"),
        ("tuning.grids", {"ft": {"steps": [5, -1]}}, r"methods\.ft: steps"),
        ("tuning.grids", {"fit": {"steps": [5]}}, r"tuning\.grids: unknown method 'fit'"),
        ("figures.sweeps", {"s": {"shape": "lines", "vary": {"mend": {"steps": [5, 6]}}}}, "does not train editors"),
        ("table2.methods", ["unike", "ke"], r"table2\.methods: unknown method 'ke'"),
        ("table4.backbones", ["three"], r"table4\.backbones: unknown backbone 'three'"),
        ("figures.fig2a", ["nobody"], r"figures\.fig2a: unknown method 'nobody'"),
    ],
)
def test_settings_that_do_not_fit_are_named(place, value, message):
    load_config(copy.deepcopy(VALUES))
    with pytest.raises(InputError, match=message):
        load_config(changed(place, value))


def test_backbones_are_trained_here_unless_they_come_from_files():
    assert BackboneConfig(family="blip2").made_here
    assert not BackboneConfig(family="blip2", folder="x").made_here
    original = {"qformer": "q.pth", "language_model": "opt"}
    assert not BackboneConfig(family="blip2", original=original).made_here
    for prompt in ("no place", "{} and {}"):
        with pytest.raises(ValueError, match="exactly one"):
            BackboneConfig(family="blip2", vqa_prompt=prompt)


def test_runs_judged_by_tokens_do_not_generate():
    settings = EvaluationConfig(sessions=3, max_new_tokens=7)
    quick = settings.without_generation()
    assert (quick.generate, quick.sessions, quick.max_new_tokens) == (False, 3, 7) and settings.generate
