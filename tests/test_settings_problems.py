"""All problems of a user's settings are said in one run, each with its field: types, bounds, names, files, sections."""

import os
import re
import subprocess
from datetime import date
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from unike_lib.config.problems import field_problems
from unike_lib.config.run import Config, default_values, load_config
from unike_lib.reporting.table_text import _introduction
from unike_lib.table_parts import table_parts
from unike_lib.types import InputError

ROOT = Path(__file__).parents[1]


def said(values, files=False):
    """Return the problems of settings as one line; fail if there are none."""
    with pytest.raises(InputError) as error:
        load_config(values, "mine.yaml", files)
    text = str(error.value)
    assert text.startswith("mine.yaml: ") and "\n" not in text
    return text


def numbers(values, *path):
    """Yield the places of numbers in the default settings, and whether one stands in a list."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, *path, key)
        elif isinstance(value, list) and value and all(type(each) in (int, float) for each in value):
            yield (*path, key), True
        elif type(value) in (int, float):
            yield (*path, key), False


def test_a_switch_is_no_number_in_any_setting():
    """Python takes true for 1; a setting whose default is a number, or a list of some, refuses it by its name."""
    places = list(numbers(default_values()))
    assert len(places) > 200
    for path, listed in places[::10]:  # each takes a tenth of a second
        wrong = [True] if listed else True
        for key in reversed(path):
            wrong = {key: wrong}
        text = said(wrong)
        assert re.search(rf"{re.escape(str(path[-1]))}: expected (an integer|a number), found \[?True", text), path


def test_problems_of_all_sections_come_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = said(
        {
            "seed": -1,
            "backbones": {
                "one": {"family": "llava", "folder": "~/weights", "vqa_prompt": 'As {"answer": ...}: {}'},
                "two": {"family": "blip2", "layers": [3, 3]},
                "{y}": {"family": "blip2"},
            },
            "methods": {"unike": {"alpha": 7}},
            "benchmark": {"annotations": "$DATA/files", "images": "pictures"},
            "tables": {"table1": {"backbones": ["one", "one", "three"], "methods": ["kee"]}},
            "judge": {"prompt": "{x}", "folder": "/nowhere/judge"},
            "retention": {"methods": ["foo"]},
            "admission": {},
        },
        files=True,
    )
    for words in (
        "admission: this section has a new name",
        "seed: expected at least 0, found -1",
        "backbones.one.vqa_prompt: expected exactly one {} for the question, and other braces doubled",
        "backbones.two.layers: expected layers one after another, each once",
        "backbones: '{y}' cannot be part of a file's name",
        "methods.unike: alpha",
        "tables.table1.backbones: expected each once; one is there twice",
        "tables.table1.backbones: unknown backbone 'three'",
        "tables.table1.methods: unknown method 'kee'",
        "retention.methods: unknown method 'foo'",
        "judge.prompt: expected {question}",
        "judge.folder: /nowhere/judge: no such folder",
        f"benchmark.annotations: $DATA/files: no such folder, seen from {tmp_path}; variables are not expanded",
        f"backbones.one.folder: {tmp_path}/home/weights: no such folder",
    ):
        assert text.count(words) == 1, words
    # A variant of a wrong method, and what names a wrong backbone, say nothing more.
    assert "methods.only-intrin" not in text and "unknown backbone 'one'" not in text and " more" not in text


NO_SETTING = "no setting has this name; docs/settings.md lists those that there are"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"backbones": {"mine": {"family": "llava", "folder": "/tmp", **values}}}, f"backbones.mine.{line}")
        for values, line in (
            ({"layers": [1, 3]}, "layers: expected layers one after another, each once, such as [20, 21, 22, 23]; "
             "found [1, 3]"),
            ({"layers": [-1]}, "layers: expected 'last_four' or at least 0 as entry 0 of a list, found [-1]"),
            ({"layers": [3, 2.5]}, "layers: expected 'last_four' or an integer as entry 1 of a list, found [3, 2.5]"),
            ({"layers": []}, "layers: expected 'last_four' or a list of at least 1, found []"),
            ({"layers": "all"}, "layers: expected 'last_four' or a list, found 'all'"),
            ({"dtype": "int8"}, "dtype: expected 'float32', 'bfloat16' or 'float16', found 'int8'"),
            ({"shards": "many\nmore"}, "shards: expected an integer, found 'many\\nmore'"),
            ({"folder": 3}, "folder: expected a text, found 3"),
            ({"keep_frozen": "perhaps"}, "keep_frozen: expected true or false, found 'perhaps'"),
            ({"colour": 1}, f"colour: {NO_SETTING}"),
        )
    ]
    + [
        ({"pretrain": {"text_share": 3}}, "pretrain.text_share: expected at most 1.0, found 3"),
        ({"pretrain": {"learning_rate": 0}}, "pretrain.learning_rate: expected more than 0.0, found 0"),
        ({"pretrain": 5}, "pretrain: expected fields with values, found 5"),
        ({"pretrain": "x" * 99}, f"pretrain: expected fields with values, found '{'x' * 59} ..."),
        ({"figures": {"tasks": ["x"]}}, "figures.tasks.0: expected 'vqa' or 'caption', found 'x'"),
        ({"methods": {"unike": {"alpha": "x"}}}, "methods.unike: alpha: expected 'dynamic' or a number, found 'x'"),
        ({"methods": {"unike": {"colour": 1}}}, f"methods.unike: colour: {NO_SETTING}"),
        ({"backbones": {"mine": {}}}, "backbones.mine.family: expected a value, found nothing"),
    ],
)  # fmt: skip
def test_a_problem_is_said_once_in_our_words(values, line):
    assert said(values) == f"mine.yaml: {line}"


def test_no_setting_is_refused_in_the_words_of_a_library():
    """Every setting of every section, with values of each kind, as YAML has them."""
    default, refused = default_values(), 0
    for section, values in default.items():
        for wrong in (-(10**9), 10**9, 0.5, "x", [], {}, [{}], [None], None, True, float("nan"), {"x": 1}):
            changed = default | {section: dict.fromkeys(values, wrong) if isinstance(values, dict) else wrong}
            try:
                Config.model_validate(changed, context={"alone": True})
            except ValidationError as error:
                problems = field_problems(error, changed)
                refused += len(problems)
                assert problems and not [each for each in problems if "another value" in each or "valid" in each]
    assert refused > 1000


def test_what_has_no_words_of_ours_is_said_in_the_librarys_at_the_end():
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, date]).validate_python({"day": "today"})
    (problem,) = field_problems(caught.value, {"day": "today"})
    assert re.fullmatch(r"day: expected another value \(Input should be a valid date.*\), found 'today'", problem)


def test_of_many_problems_the_first_twenty_are_said():
    text = said({f"setting{number}": 1 for number in range(23)})
    assert "setting19: no setting has this name" in text and "setting20: " not in text and text.endswith("; and 3 more")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "{y}", "a b", ".a", "a.seed1", "a.1of2", "x" * 90, "UNIKE"])
def test_names_that_no_file_can_have_are_refused(name):
    assert f"methods: {name!r}" in said({"methods": {name: {"like": "unike"}}})
    load_config({"methods": {each: {"like": "unike"} for each in ("unike-0.1", "mine_2", "seed1", "a.seed", "été")}})


@pytest.mark.parametrize(
    ("layers", "fits"),
    [
        ([20, 21, 22, 23], True),
        ([0], True),
        ([3, 3], False),
        ([1, 3], False),
        ([2, 1], False),
        ([], False),
        ([-1], False),
    ],
)
def test_layers_are_one_after_another(layers, fits):
    values = {"backbones": {"mine": {"family": "blip2", "layers": layers}}}
    if fits:
        assert load_config(values).backbones["mine"].layers == tuple(layers)
    else:
        assert said(values).startswith("mine.yaml: backbones.mine.layers: ")


@pytest.mark.parametrize(
    "values",
    [
        {"tables": {"table1": {"ks": [1, 1]}}},
        {"tables": {"table1": {"tasks": ["vqa", "vqa"]}}},
        {"figures": {"fig2a": ["unike", "unike"]}},
        {"figures": {"sweeps": {"fig4a": {"vary": {"intrin-latent-ike": {"top_k": [8, 8]}}}}}},
        {"tuning": {"grids": {"unike": {"alpha_scale": [1.0, 1.0]}}}},
        {"retention": {"backbones": ["blip2-nano", "blip2-nano"]}},
        {"positive_control": {"alphas": [0.1, 0.1]}},
    ],
)
def test_nothing_stands_twice_in_a_list(values):
    assert "expected each once" in said(values)


@pytest.mark.parametrize("name", ["joint", "scope", "fig2a"])
def test_sweeps_have_names_that_no_other_figure_has(name):
    assert f"{name!r} cannot name a figure" in said(
        {"figures": {"sweeps": {name: {"shape": "lines", "vary": {"unike": {"top_k": [8]}}}}}}
    )


def test_files_and_folders_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("files").mkdir()
    Path("pictures").touch()
    values = {"benchmark": {"annotations": "~/files/", "images": "pictures", "triplet_sources": ["files"]}}
    values["backbones"] = {
        "mine": {"family": "llava", "folder": "hub/id"},
        "unused": {"family": "llava", "folder": "/no"},
    }
    tables = {f"table{number}": {"backbones": ["mine"]} for number in range(1, 5)}
    values |= {"tables": tables, "figures": {"backbones": ["mine"], "sweeps": {"frontier": None}}}
    assert load_config(values).benchmark.annotations == str(tmp_path / "files")
    text = said(values, files=True)
    assert f"benchmark.files.vqa.train: {tmp_path}/files/vqa_train.json: no such file" in text
    assert "benchmark.images: pictures: expected a folder, found a file" in text
    assert "benchmark.triplet_sources: files: expected a file, found a folder" in text
    assert "backbones" not in text
    values["methods"] = {"ike": {"retriever": "/no/retriever"}}
    assert "methods.ike.retriever: /no/retriever: no such folder" in said(values, files=True)
    assert "expected a path" in said({"judge": {"folder": "${HOME}/judge"}})


def test_a_users_table_speaks_of_his_benchmark(tmp_path):
    real = {"mine": {"family": "llava", "folder": "hub/id"}}
    tables = {f"table{number}": {"backbones": ["mine"]} for number in range(1, 5)}
    figures = {"backbones": ["mine"], "sweeps": {"frontier": None}}
    users = {"benchmark": {"annotations": str(tmp_path / "VQA of birds"), "images": str(tmp_path)}, "backbones": real}
    (text, *_) = _introduction(table_parts(load_config(users | {"tables": tables, "figures": figures}), "table1"))
    assert "`VQA of birds`" in text and "mbedded" not in text and "our own" not in text
    (text, *_) = _introduction(table_parts(load_config({}), "table1"))
    assert "Embedded backbones are small and their benchmark is our own" in text


def test_make_has_its_caches_where_the_home_folder_cannot_be_written(tmp_path):
    command = ["make", "--no-print-directory", "--eval", "show: ; @echo $$XDG_CACHE_HOME,$$MPLCONFIGDIR", "show"]
    found = {}
    for home in ("/dev/null/home", str(tmp_path)):
        environment = {"PATH": os.environ["PATH"], "HOME": home}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        found[home] = done.stdout.strip()
    cache = ROOT / ".snakemake" / "cache"
    assert found == {"/dev/null/home": f"{cache},{cache}/matplotlib", str(tmp_path): ","}
