"""The configuration: its one source, what a table's cells are, and which settings are refused before any job runs."""

import copy
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.base import Original, setting
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.config.run import Config, default_values, load_config
from unike_lib.config.setting_list import settings_of
from unike_lib.config.tables import tasks_of
from unike_lib.method import resolve_method
from unike_lib.types import InputError

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("write_settings", ROOT / "tools" / "write_settings.py")
write_settings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write_settings)

ROWS = {"backbones": ["one"], "methods": ["unike"]}
VALUES = {
    "benchmark": {}, "pretrain": {}, "knowledge": {}, "evaluation": {}, "statistics": {},
    "backbones": {"one": {"family": "blip2"}, "two": {"family": "minigpt4"}},
    "methods": {"unike": {"method": "unike"}, "mend": {"method": "mend"}, "ft": {"method": "fine-tune"}},
    "tables": {"table2": {"ks": [10, 20], **ROWS}, **{f"table{number}": {**ROWS} for number in (1, 3, 4)}},
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


def reversed_order(value):
    """The same mappings with their entries in the opposite order."""
    if not isinstance(value, dict):
        return value
    return {key: reversed_order(each) for key, each in reversed(value.items())}


def test_files_are_what_the_settings_say():
    files = write_settings.written()
    assert set(files) == {"config.yaml", "config.schema.json", "docs/settings.md"}
    for name, text in files.items():
        assert (ROOT / name).read_text() == text, f"{name} is out of date: run make config"


def test_the_library_and_the_workflow_run_the_same():
    text = (ROOT / "config.yaml").read_text()
    values = yaml.safe_load(text)
    assert values == default_values()
    assert Config() == load_config({}) == load_config(values) == load_config(reversed_order(values))
    assert max(map(len, text.splitlines())) <= 140


def test_values_are_laid_over_the_default_run_as_snakemake_lays_files():
    config = load_config({"methods": {"ike": {"demonstrations": 3}, "mine": {"like": "mend"}}, "seeds": [4, 5]})
    assert resolve_method(config.methods, "ike").model_dump() == {
        **resolve_method(Config().methods, "ike").model_dump(),
        "demonstrations": 3,
    }
    assert set(config.methods) == {*Config().methods, "mine"} and config.seeds == (4, 5)
    assert config.model_copy(update={"methods": {}, "seeds": ()}) == Config().model_copy(
        update={"methods": {}, "seeds": ()}
    )
    without = load_config({"figures": {"sweeps": {"fig4a": None, "frontier": {"vary": {"unike": None}}}}})
    assert "fig4a" not in without.figures.sweeps and set(without.figures.sweeps["frontier"].vary) == {
        "fine-tune",
        "t-patcher",
    }


def test_every_setting_is_one_short_sentence_with_a_source():
    for each in settings_of(default_values()):
        if each.kind is not None and each.is_leaf and each.path[-1] != "method":
            assert each.source and each.sentence.endswith("."), each.path
            assert len(each.sentence) < 170 and not re.search(r"\. [A-Z]", each.sentence), each
    with pytest.raises(ValueError, match="expected a source"):
        setting(3, "A setting.", "somebody")
    with pytest.raises(ValueError, match="expected a source"):
        setting(3, "A setting.", original=Original("MMEdit", 4))


def test_the_schema_takes_what_the_configuration_takes():
    check = jsonschema.Draft202012Validator(write_settings.schema())
    for path in (ROOT / "config.yaml", *(ROOT / "presets").glob("*.yaml")):
        assert not [error.message for error in check.iter_errors(yaml.safe_load(path.read_text()))], path
    for wrong in (
        "seed: -1",
        "methods: {unike: {top_l: 3}}",
        "methods: {unike: {by_backbone: {blip2-nano: {alpha: 2.0}}}}",
        "methods: {mine: {method: nobody}}",
        "backbones: {mine: {family: blip3}}",
        "figures: {sweeps: {fig4a: {shape: circle}}}",
    ):
        assert not check.is_valid(yaml.safe_load(wrong)), wrong
    assert check.is_valid(yaml.safe_load("methods: {mine: {like: ike, demonstrations: 2}}"))


def test_planning_loads_neither_torch_nor_pandas():
    code = (
        "import sys, unike_lib.config.run, unike_lib.config.setting_list; print({'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_cells_of_tables_are_tasks_and_numbers_of_edits():
    tables = load_config(changed("tables.table1.tasks", ["caption"])).tables
    assert tables["table1"].settings == [("caption", 1)] and tables["table1"].single_tasks == ("caption",)
    assert tables["table2"].settings == [("vqa", 10), ("caption", 10), ("vqa", 20), ("caption", 20)]
    assert tables["table3"].settings == [("cross", 10)] and set(tables["table3"].single_tasks) == {"vqa", "caption"}
    assert list(tables) == [f"table{number}" for number in range(1, 6)] and tables["table5"].settings == []
    assert [table.several for table in tables.values()] == [False, True, True, False, False]
    both = {"title": "Both", "ks": [1, 4], **ROWS}
    config = load_config(changed("tables", dict.fromkeys(("table1", "table2", "table5")) | {"both": both}))
    assert (config.first_table(several=False), config.first_table(several=True)) == ("table4", "table3")
    assert config.tables["both"].settings == [("vqa", 1), ("caption", 1), ("vqa", 4), ("caption", 4)]
    assert [set(tasks_of(name)) for name in ("vqa", "cross")] == [{"vqa"}, {"vqa", "caption"}]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("seeds", [1, 2, 1], "seeds: .*every seed once"),
        ("methods.ft.by_backbone", {"two": {"steps": 0}}, r"methods\.ft: steps"),
        ("methods.ft.by_backbone", {"three": {"steps": 2}}, r"methods\.ft\.by_backbone: unknown backbone 'three'"),
        ("positive_control", {"method": "ft"}, r"positive_control\.method: expected a variant of unike"),
        ("positive_control", {"method": "none"}, r"positive_control\.method: unknown method 'none'"),
        ("tuning.grids", {"ft": {"steps": [5, -1]}}, r"methods\.ft: steps"),
        ("tuning.grids", {"fit": {"steps": [5]}}, r"tuning\.grids: unknown method 'fit'"),
        ("figures.sweeps", {"s": {"shape": "lines", "vary": {"mend": {"steps": [5, 6]}}}}, "does not train editors"),
        ("tables.table2.methods", ["unike", "kee"], r"tables\.table2\.methods: unknown method 'kee'"),
        ("tables.table4.backbones", ["three"], r"tables\.table4\.backbones: unknown backbone 'three'"),
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
